"""An adaptation: make queries and lists, ask the ensemble, train, average, measure, and say whether it was worth it."""

from dataclasses import dataclass
from pathlib import Path

from rerank_plugin.errors import InvalidValueError
from rerank_plugin.evaluation.calibrate import check_calibration
from rerank_plugin.progress import ProgressCallback, counts_of
from rerank_plugin.scoring.calibration import FILE_NAME
from rerank_plugin.scoring.loading.spec import resolve_model
from rerank_plugin.training.adapting.card import Story, write_adaptation_card
from rerank_plugin.training.adapting.corpus import open_corpus
from rerank_plugin.training.adapting.material import make_queries, with_judgements
from rerank_plugin.training.adapting.measuring import METHOD, measure_and_calibrate, measured_queries
from rerank_plugin.training.adapting.opinions import Ensemble, is_server
from rerank_plugin.training.adapting.request import AdaptRequest
from rerank_plugin.training.adapting.taught import FORMAT, RunFolder
from rerank_plugin.training.adapting.teaching import general_material, teach, training_config
from rerank_plugin.training.adapting.verdict import Check, Verdict, judge
from rerank_plugin.training.fingerprints import fingerprint_model
from rerank_plugin.training.fitting.load import fetch_base
from rerank_plugin.training.fitting.train import check_installed, train
from rerank_plugin.training.output.average import average_weights
from rerank_plugin.training.output.save import save_half
from rerank_plugin.training.recipe.config import TrainingConfig
from rerank_plugin.training.writing import writing_to

WORK = "adapting"
REMEDY = "free some space, and run the same command again: it resumes"
# Weight of the trained model in the average with its start.
SHARE = 0.6


@dataclass(frozen=True)
class Adaptation:
    """
    The result of a run.

    :param model: The model's folder.
    :param base: The model that was adapted.
    :param lists: Lists about the corpus that were trained on.
    :param checks: What was measured.
    :param verdict: Whether the adapted model should be used.
    """

    model: str
    base: str
    lists: int
    checks: list[Check]
    verdict: Verdict


def run_adaptation(request: AdaptRequest, *, on_progress: ProgressCallback | None = None) -> Adaptation:
    """
    Adapt a reranker to a corpus.

    An interrupted run resumes: where the ensemble was asked, or from the last checkpoint.

    :param request: The run.
    :param on_progress: Called with the current step, the work done and the total work.
    :returns: The model, and whether it is worth using.
    :raises InputFileError: If a source cannot be read.
    :raises InvalidValueError: If a value is wrong, the corpus is too small, or the output has a run with other settings.
    :raises MissingDependencyError: If a package of the extras `train` and `eval` is not installed.
    :raises ModelError: If a model cannot be loaded.
    :raises OutputError: If the output cannot be written.
    :raises ServerError: If a teacher's server or the language model does not answer.
    """
    check_installed(TrainingConfig())
    check_calibration(METHOD, request.output / FILE_NAME)
    with writing_to(request.output, remedy=REMEDY):
        corpus = open_corpus(request, on_progress)
        _check_output(request.output, [corpus.model, *request.teachers])
        request = with_judgements(request, corpus.index)
        base = fetch_base(corpus.model)
        settings = {
            **request.settings(),
            "base": fingerprint_model(corpus.model),
            "teachers": list(request.teachers),
            "format": FORMAT,
        }
        folder = RunFolder(request.output / WORK, settings)
        queries = make_queries(corpus, request, folder, on_progress)
        ensemble = Ensemble(corpus.model, request.teachers, request.language)
        taught, plan = teach(corpus, request, queries.training, folder, ensemble, on_progress)
        general = general_material(request, taught, ensemble)
        ensemble.close()
        pairs = [pair for one in [*taught, *general] for pair in one.pairs()]
        config = training_config(corpus.model, plan, request.seed)
        result = train(pairs, config, folder.training, on_progress=counts_of(on_progress, "Training"))
        save_half(result.model, request.output, base=base)
        average_weights(Path(base), request.output, share=SHARE)
        devs = measured_queries(corpus, request, queries.held_out, plan, on_progress)
        checks, calibrated = measure_and_calibrate(corpus.model, request.output, devs, on_progress)
        story = Story(
            base=corpus.model,
            plan=plan,
            taught=taught,
            general=len(general),
            teachers=ensemble.names,
            share=SHARE,
            calibrated=calibrated,
            checks=checks,
            verdict=judge(checks),
        )
        write_adaptation_card(request, story)
    return Adaptation(str(request.output), corpus.model, len(taught), checks, story.verdict)


def _check_output(output: Path, models: list[str]) -> None:
    """Refuse an output folder that is also an input: the model would be overwritten."""
    for model in models:
        if not is_server(model) and Path(resolve_model(model)).resolve() == output.resolve():
            raise InvalidValueError(f"output {output} is the folder of the model {model}: choose another output")
