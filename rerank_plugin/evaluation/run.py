"""`rerank eval`: from the request to the result; the report is written elsewhere."""

from collections.abc import Mapping, Sequence

from rerank_plugin.collections.runs import Runs
from rerank_plugin.evaluation.collection import Collection, count_languages
from rerank_plugin.evaluation.comparison import compare_evaluations
from rerank_plugin.evaluation.costs import latencies, pairs_scored
from rerank_plugin.evaluation.curves import depth_curves, pipelines_without_curve
from rerank_plugin.evaluation.experiment import Experiment, ExperimentSettings
from rerank_plugin.evaluation.measures import Evaluation, evaluate
from rerank_plugin.evaluation.outcomes import Outcome
from rerank_plugin.evaluation.plan import EvaluationPlan, fit_to_index, indexed_groups, plan_evaluation
from rerank_plugin.evaluation.request import EvalRequest
from rerank_plugin.evaluation.result import EvalResult
from rerank_plugin.evaluation.stages import StagedPipeline
from rerank_plugin.progress import ProgressCallback, counts_of

# Folder of the kept answers in the output folder.
ANSWERS = "answers"


def run_evaluation(request: EvalRequest, *, on_progress: ProgressCallback | None = None) -> EvalResult:
    """
    Answer the queries with every pipeline, evaluate, and compare.

    :param request: What to evaluate.
    :param on_progress: Called with the current step, the work done and the total work.
    :returns: The result.
    :raises InputFileError: If a file is missing or malformed, or kept answers cannot be read or written.
    :raises InvalidValueError: If there is nothing to evaluate, or names are unknown or used twice.
    :raises PipelineConfigError: If a pipeline cannot be loaded.
    :raises StoreError: If an index cannot be used.
    """
    plan = plan_evaluation(request)
    outcomes = {} if plan.collection is None else answer(plan, plan.collection, experiment_of(request), on_progress)
    runs: dict[str, Runs] = {
        name: {answer.query: answer.ranking for answer in answers} for name, answers in outcomes.items()
    }
    runs.update(plan.runs)
    evaluations = {name: evaluate(run, plan.qrels, request.measures) for name, run in runs.items()}
    measured = next(iter(evaluations.values()))
    measure = next(iter(measured.per_query))
    languages = {str(query.metadata["lang"]) for query in plan.queries.values() if "lang" in query.metadata}
    return EvalResult(
        title=_title(plan, len(measured.queries), languages),
        facts=_facts(plan, measured, languages),
        collection=plan.collection,
        queries={id_: plan.queries[id_].text if id_ in plan.queries else "" for id_ in measured.queries},
        qrels=plan.qrels,
        comparison=compare_evaluations(evaluations, _pairs(list(runs), plan.pipelines, request.baseline)),
        runs=runs,
        outcomes=outcomes,
        latencies=latencies(outcomes),
        pairs=pairs_scored(outcomes),
        curves=depth_curves(outcomes, plan.qrels, measure=measure, candidates=request.candidates),
        without_curve=pipelines_without_curve(outcomes),
        remarks={pipeline.name: pipeline.remark for pipeline in plan.pipelines if pipeline.remark},
    )


def experiment_of(request: EvalRequest) -> Experiment:
    """Return the experiment of a request; it keeps its answers in the output folder, if there is one."""
    folder = None if request.output is None else request.output / ANSWERS
    return Experiment(ExperimentSettings(request.candidates, folder))


def answer(
    plan: EvaluationPlan, collection: Collection, experiment: Experiment, on_progress: ProgressCallback | None = None
) -> dict[str, list[Outcome]]:
    """
    Answer the queries of a plan with every pipeline.

    :param plan: The plan.
    :param collection: Its collection.
    :param experiment: Runs the pipelines; what it has answered before is not answered again.
    :param on_progress: Called with the current step, the work done and the total work.
    :returns: The outcomes of each pipeline.
    """
    outcomes: dict[str, list[Outcome]] = {pipeline.name: [] for pipeline in plan.pipelines}
    request = plan.request
    for group in indexed_groups(request, collection, plan.queries, plan.pipelines, on_progress):
        fitted = [fit_to_index(source, group.index, request) for source in request.pipelines]
        answered = experiment.run(fitted, group.queries, on_progress=counts_of(on_progress, f"Answering ({group.language})"))
        for name, answers in answered.items():
            outcomes[name] += answers
    return outcomes


def _pairs(names: Sequence[str], pipelines: Sequence[StagedPipeline], baseline: str | None) -> list[tuple[str, str]]:
    """Pair all with the baseline; unless a baseline was chosen, also each second stage with its own first stage."""
    first = names[0] if baseline is None else baseline
    pairs = [(first, name) for name in names if name != first]
    if baseline is None:
        alone = {pipeline.first_key: pipeline.name for pipeline in pipelines if pipeline.ranker is None}
        own = [(alone[p.first_key], p.name) for p in pipelines if p.ranker is not None and p.first_key in alone]
        pairs += [pair for pair in own if pair not in pairs]
    return pairs


def _title(plan: EvaluationPlan, queries: int, languages: set[str]) -> str:
    request = plan.request
    if plan.collection is None:
        return f"{request.qrels}: {queries} queries"
    judgements = request.qrels.name if request.qrels else plan.collection.split
    lang = f", {', '.join(sorted(languages))}" if languages else ""
    return f"{plan.collection.name}, {judgements}{lang}: {queries} queries, {request.candidates} candidates"


def _facts(plan: EvaluationPlan, evaluation: Evaluation, languages: set[str]) -> dict[str, int | str]:
    facts: dict[str, int | str] = {
        "queries": len(evaluation.queries),
        "left out: judged, but without a relevant document": len(evaluation.without_relevant),
    }
    if plan.collection is not None:
        facts["candidates of the first stage"] = plan.request.candidates
        if languages and plan.request.index is None and plan.collection.index is None:
            facts["searched: only documents in"] = ", ".join(sorted(languages))
        counts: Mapping[str | None, int] = count_languages(plan.collection) if languages else {}
        facts |= {f"left out: in the language {lang}": n for lang, n in counts.items() if lang not in languages}
    return facts
