"""Quality as a function of the number of candidates that the second stage reads."""

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
    :param depths: Numbers of candidates.
    :param reranked: The measure if the second stage ranks so many candidates.
    :param ceiling: The measure if they are in the ideal order: the upper bound for any second stage.
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
    Compute the quality at smaller depths: that of ranking only the first d candidates, fusion included.

    The first stage runs at full depth; only its result is cut.

    :param outcomes: Outcomes by pipeline.
    :param qrels: Judgements of the queries.
    :param measure: Name of the measure.
    :param candidates: The full depth.
    :returns: A curve for each pipeline whose second stage scores every candidate independently; see
        `pipelines_without_curve`.
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

    Their second stage left candidates unscored (adaptive depth, early exit, time budget, threshold), or is a ranker that is
    not known to score each candidate independently, so that its ranking of fewer candidates cannot be derived.

    :param outcomes: Outcomes by pipeline.
    """
    return [system for system, answers in outcomes.items() if _reranks(answers) and _lacks_scores(answers)]


def _reranks(answers: Sequence[Outcome]) -> bool:
    return any(answer.first_ranks for answer in answers)


def _lacks_scores(answers: Sequence[Outcome]) -> bool:
    return any(answer.candidates is None for answer in answers if not answer.has_failed)
