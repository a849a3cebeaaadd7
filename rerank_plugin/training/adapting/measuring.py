"""Measure an adapted model beside its start, and fit its calibration."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from rerank_plugin.errors import InvalidValueError
from rerank_plugin.evaluation.calibrate import calibrate
from rerank_plugin.evaluation.candidates import ScoredCandidates
from rerank_plugin.evaluation.judged_candidates import JudgedCandidates
from rerank_plugin.progress import ProgressCallback, counts_of
from rerank_plugin.scoring.calibration import FILE_NAME, Calibration, load_calibration
from rerank_plugin.training.adapting.corpus import Corpus
from rerank_plugin.training.adapting.general import guard_set, open_sample_corpus
from rerank_plugin.training.adapting.lists import measured_candidates
from rerank_plugin.training.adapting.material import judged_candidates
from rerank_plugin.training.adapting.pseudo_queries import ASKED, PseudoQuery
from rerank_plugin.training.adapting.request import AdaptRequest
from rerank_plugin.training.adapting.taught import Plan
from rerank_plugin.training.adapting.verdict import GENERAL, JUDGED, PSEUDO, QUESTIONS, Check, check
from rerank_plugin.training.fitting.dev import DevCollection

METHOD = "platt"
# With fewer questions among the held-out pseudo-queries, headings and phrases are measured too.
FEWEST_QUESTIONS = 30
Logits = Callable[[str, Sequence[str]], Sequence[float]]


def measured_queries(
    corpus: Corpus,
    request: AdaptRequest,
    held_out: Sequence[PseudoQuery],
    plan: Plan,
    on_progress: ProgressCallback | None,
) -> dict[str, DevCollection]:
    """
    Return the queries to measure with and their candidates, by role.

    :param corpus: The corpus.
    :param request: The run.
    :param held_out: Pseudo-queries from passages that are not trained on, the best ones first.
    :param plan: Says how many are measured with.
    :param on_progress: Called while searching.
    """
    progress = counts_of(on_progress, "Searching for the held-out queries")
    questions = [query for query in held_out if query.kind in ASKED]
    role, known = (QUESTIONS, questions) if len(questions) >= FEWEST_QUESTIONS else (PSEUDO, held_out)
    chosen = known[: plan.measured]
    kinds = ", ".join(dict.fromkeys(query.kind for query in chosen))
    devs = {role: measured_candidates(corpus, chosen, name=kinds, on_progress=progress)}
    if request.judged is not None:
        devs[JUDGED] = judged_candidates(corpus, request.judged, plan.measured, on_progress)
    devs[GENERAL] = guard_set(open_sample_corpus(request.language), request.language, plan.measured)
    return devs


def measure_and_calibrate(
    before: str, after: Path, devs: Mapping[str, DevCollection], on_progress: ProgressCallback | None
) -> tuple[list[Check], str]:
    """
    Measure both models, and write the calibration of the adapted one into its folder.

    It is fitted on the judged queries where there are any, otherwise on the held-out pseudo-queries.

    :param before: The model that was adapted.
    :param after: Folder of the adapted model.
    :param devs: The queries by role.
    :param on_progress: Called while measuring.
    :returns: What was measured, and what the calibration was fitted on, or why there is none.
    """
    from rerank_plugin.components.ranker import CrossEncoderRanker

    fitted = JUDGED if JUDGED in devs else next(iter(devs))
    kept: dict[str, dict[str, list[float]]] = {}
    checks = []
    with (
        CrossEncoderRanker(model=before, calibration="none") as old,
        CrossEncoderRanker(model=after, calibration="none") as new,
    ):
        for role, dev in devs.items():
            own = kept.setdefault(role, {})
            progress = counts_of(on_progress, f"Measuring on {role}")
            checks.append(check(role, dev, old.logits, _keeping(new.logits, own), on_progress=progress))
    try:
        former = load_calibration("auto", before)
        fitted_calibration(fitted, devs[fitted], kept[fitted], former).save(after / FILE_NAME)
    except (
        InvalidValueError
    ) as error:  # a model that orders at random cannot be calibrated, and the verdict says what it is worth
        return checks, f"There is no `{FILE_NAME}`: {error}."
    return checks, f"`{FILE_NAME}` was fitted on the {fitted}."


def _keeping(logits: Logits, kept: dict[str, list[float]]) -> Logits:
    """Return a function that also keeps what it returns, by query."""

    def score(query: str, passages: Sequence[str]) -> Sequence[float]:
        kept[query] = list(map(float, logits(query, passages)))
        return kept[query]

    return score


def fitted_calibration(
    role: str, dev: DevCollection, logits: Mapping[str, Sequence[float]], former: Calibration
) -> Calibration:
    """
    Fit the calibration of an adapted model.

    Pseudo-queries say nothing of the first stage, which finds their passages by text that the models do not see: what
    depends on it is then left as it was.

    :param role: `JUDGED`, `QUESTIONS` or `PSEUDO`.
    :param dev: The queries.
    :param logits: For each query, by its text, the logits of its candidates.
    :param former: The calibration of the model that was adapted.
    :raises InvalidValueError: If the model does not put relevant passages above others.
    """
    judged = []
    for id_, query in dev.queries.items():
        ids = list(dev.candidates[id_])
        if not ids:
            continue
        order = np.empty(len(ids), dtype=np.int64)
        order[np.argsort(np.array(ids, dtype=object), kind="stable")] = np.arange(len(ids))
        scores = np.array(list(dev.candidates[id_].values()), dtype=np.float64)
        scored = ScoredCandidates(ids, scores, np.array(logits[query], dtype=np.float32), order)
        judged.append(JudgedCandidates(id_, scored, dict(dev.qrels[id_])))
    source = {"dataset": dev.name, "pipeline": dev.first_stage, "by": "rerank adapt"}
    calibration = calibrate(judged, method=METHOD, source=source).calibration
    return replace(calibration, fusion_weights=former.fusion_weights, depth=former.depth) if role != JUDGED else calibration
