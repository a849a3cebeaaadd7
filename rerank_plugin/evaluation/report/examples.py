"""The queries with the largest gains and losses of one system against another, with both rankings side by side."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rerank_plugin.collections.runs import best_first
from rerank_plugin.errors import InputFileError
from rerank_plugin.evaluation.collection import Collection
from rerank_plugin.evaluation.result import EvalResult
from rerank_plugin.evaluation.significance import TOLERANCE

EXAMPLES = 5
SHOWN = 5
SNIPPET = 160


@dataclass(frozen=True)
class PlacedDocument:
    """
    A document in a ranking.

    :param rank: Rank from 1.
    :param document: The collection's id.
    :param text: Title and beginning, if known.
    :param grade: Judgement; `None`: not judged.
    :param other_rank: Its rank in the other ranking; `None`: not in it.
    """

    rank: int
    document: str
    text: str
    grade: int | None
    other_rank: int | None


@dataclass(frozen=True)
class Example:
    """
    A query with both rankings.

    :param query: Its id.
    :param text: Its text; may be empty.
    :param before: The baseline's value of the measure.
    :param after: The system's value of the measure.
    :param baseline: The baseline's first documents.
    :param system: The system's first documents.
    :param missed: Relevant documents in neither list; `rank` is the rank in the system's ranking, 0 if not in it.
    """

    query: str
    text: str
    before: float
    after: float
    baseline: list[PlacedDocument]
    system: list[PlacedDocument]
    missed: list[PlacedDocument]


@dataclass(frozen=True)
class Examples:
    """
    The examples of one comparison.

    :param baseline: Name of the baseline.
    :param system: Name of the system.
    :param gains: Largest first.
    :param losses: Largest first.
    """

    baseline: str
    system: str
    gains: list[Example]
    losses: list[Example]


def find_examples(result: EvalResult) -> list[Examples]:
    """
    Find the examples of each comparison.

    :param result: The evaluation.
    :returns: Examples for each compared pair of systems.
    """
    pairs = dict.fromkeys((d.baseline, d.system) for d in result.comparison.differences)
    chosen = {pair: _extremes(result, pair) for pair in pairs}
    queries = {query for gains, losses in chosen.values() for query in (*gains, *losses)}
    orders = {name: {query: _order(result, name, query) for query in queries} for pair in pairs for name in pair}
    wanted = {id_ for order in orders.values() for ranked in order.values() for id_ in ranked[:SHOWN]}
    wanted |= {id_ for query in queries for id_, grade in result.qrels[query].items() if grade > 0}
    texts = _texts(result.collection, wanted)
    examples = []
    for (old, new), (gains, losses) in chosen.items():
        by_query = {
            query: _example(result, (old, new), query, (orders[old][query], orders[new][query]), texts)
            for query in (*gains, *losses)
        }
        examples.append(Examples(old, new, [by_query[query] for query in gains], [by_query[query] for query in losses]))
    return examples


def _extremes(result: EvalResult, pair: tuple[str, str]) -> tuple[list[str], list[str]]:
    before, after = (result.evaluations[name].per_query[result.measure] for name in pair)
    ordered = sorted(before, key=lambda query: before[query] - after[query])
    gains = [query for query in ordered[:EXAMPLES] if after[query] - before[query] > TOLERANCE]
    losses = [query for query in ordered[::-1][:EXAMPLES] if before[query] - after[query] > TOLERANCE]
    return gains, losses


def _order(result: EvalResult, name: str, query: str) -> list[str]:
    return [id_ for id_, _ in best_first(result.runs[name].get(query, {}))]


def _example(
    result: EvalResult,
    pair: tuple[str, str],
    query: str,
    orders: tuple[Sequence[str], Sequence[str]],
    texts: Mapping[str, str],
) -> Example:
    grades = result.qrels[query]
    ranks = [{id_: rank for rank, id_ in enumerate(order, start=1)} for order in orders]

    def placed(id_: str, side: int) -> PlacedDocument:
        return PlacedDocument(ranks[side].get(id_, 0), id_, texts.get(id_, ""), grades.get(id_), ranks[1 - side].get(id_))

    shown = {*orders[0][:SHOWN], *orders[1][:SHOWN]}
    before, after = (result.evaluations[name].per_query[result.measure][query] for name in pair)
    return Example(
        query=query,
        text=result.queries.get(query, ""),
        before=before,
        after=after,
        baseline=[placed(id_, 0) for id_ in orders[0][:SHOWN]],
        system=[placed(id_, 1) for id_ in orders[1][:SHOWN]],
        missed=[placed(id_, 1) for id_, grade in grades.items() if grade > 0 and id_ not in shown],
    )


def _texts(collection: Collection | None, wanted: set[str]) -> dict[str, str]:
    """Return the beginnings of documents by id; empty if the collection has no corpus beside its index."""
    if collection is None:
        return {}
    try:
        documents = collection.dataset.documents()
    except InputFileError:
        return {}
    texts = {}
    for document in documents:
        if document.id in wanted:
            text = f"{document.title}: {document.text}" if document.title else document.text
            short = " ".join(text.split())
            texts[document.id] = short if len(short) <= SNIPPET else short[: SNIPPET - 1].rsplit(" ", 1)[0] + "…"
    return texts
