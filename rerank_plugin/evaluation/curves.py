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
    :param ceiling: The measure when they stand in the best order there is: what no second stage can pass.
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
    Work out quality by depth from rankings at full depth: at depth d only the first d candidates are there.

    :param outcomes: By pipeline; those without a second stage have no curve.
    :param qrels: Judgements of the queries.
    :param measure: Which measure.
    :param candidates: The full depth.
    :returns: A curve for each pipeline with a second stage.
    """
    depths = [depth for depth in DEPTHS if depth < candidates] + [candidates]
    curves = []
    for system, answers in outcomes.items():
        if not any(answer.first_ranks for answer in answers):
            continue
        reranked, ceiling = [], []
        for depth in depths:
            run = {answer.query: _within(answer, depth) for answer in answers}
            best = {query: {id_: float(qrels[query].get(id_, 0)) for id_ in scores} for query, scores in run.items()}
            reranked.append(evaluate(run, qrels, [measure]).means[measure])
            ceiling.append(evaluate(best, qrels, [measure]).means[measure])
        curves.append(DepthCurve(system, depths, reranked, ceiling))
    return curves


def _within(answer: Outcome, depth: int) -> dict[str, float]:
    placed = zip(answer.documents, answer.scores, answer.first_ranks, strict=True)
    return {document: score for document, score, rank in placed if rank <= depth}
