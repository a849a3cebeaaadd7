"""How quality depends on the number of candidates that the second stage reads."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rerank_plugin.evaluation.measures import evaluate
from rerank_plugin.evaluation.outcomes import Outcome

DEPTHS = (5, 10, 20, 30, 50, 75, 100, 150, 200, 300, 500, 1000)


@dataclass(frozen=True)
class DepthCurve:
    """
    Quality by depth.

    :param system: Name of the pipeline.
    :param depths: Candidates that are read.
    :param reranked: The measure when the second stage orders so many.
    :param ceiling: The measure when they stand in the best order there is: no second stage can do better.
    """

    system: str
    depths: list[int]
    reranked: list[float]
    ceiling: list[float]


def depth_curves(
    outcomes: Mapping[str, Sequence[Outcome]],
    qrels: Mapping[str, Mapping[str, int]],
    *,
    measure: str,
    candidates: int,
) -> list[DepthCurve]:
    """
    Work out the quality at smaller depths: what the ranker makes of the first d candidates alone, fusion included.

    The first stage is that of the full depth: only what it hands over is cut.

    :param outcomes: By pipeline.
    :param qrels: Judgements of the queries.
    :param measure: Which measure.
    :param candidates: The full depth.
    :returns: A curve for each pipeline whose second stage scores every candidate by itself; see `pipelines_without_curve`.
    """
    depths = [depth for depth in DEPTHS if depth < candidates] + [candidates]
    curves = []
    for system, answers in outcomes.items():
        tables = {answer.query: answer.candidates for answer in answers if answer.candidates is not None}
        if not _reranks(answers) or _lacks_scores(answers):
            continue
        reranked, ceiling = [], []
        for depth in depths:
            run = {query: table.ranking(depth) for query, table in tables.items()}
            best = {
                query: {id_: float(qrels.get(query, {}).get(id_, 0)) for id_ in ranking} for query, ranking in run.items()
            }
            reranked.append(evaluate(run, qrels, [measure]).means[measure])
            ceiling.append(evaluate(best, qrels, [measure]).means[measure])
        curves.append(DepthCurve(system, depths, reranked, ceiling))
    return curves


def pipelines_without_curve(outcomes: Mapping[str, Sequence[Outcome]]) -> list[str]:
    """
    Return the pipelines that rerank, but have no depth curve.

    Their second stage left candidates unscored (adaptive depth, early exit, time budget, threshold), or is a ranker of
    which it is not known that it scores each candidate by itself: what it would do with fewer is not known either.

    :param outcomes: By pipeline.
    """
    return [system for system, answers in outcomes.items() if _reranks(answers) and _lacks_scores(answers)]


def _reranks(answers: Sequence[Outcome]) -> bool:
    return any(answer.first_ranks for answer in answers)


def _lacks_scores(answers: Sequence[Outcome]) -> bool:
    return any(answer.candidates is None for answer in answers if not answer.has_failed)
