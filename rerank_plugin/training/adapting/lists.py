"""Lists of candidates for pseudo-queries: for training, and for measuring on held-out ones."""

import random
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Protocol

from rerank_plugin.progress import CountCallback
from rerank_plugin.training.adapting.pseudo_queries import PseudoQuery
from rerank_plugin.training.fitting.dev import DevCollection
from rerank_plugin.training.mining.guards import is_near_duplicate

if TYPE_CHECKING:
    from haystack import Document

LIST_SIZE = 8
DEPTH = 50
TOP = 10
FROM_TOP, FROM_BELOW = 4, 2
MEASURED_DEPTH = 20
NEAR_DUPLICATES = 0.7
FIRST_STAGE = "first stage"


class Searchable(Protocol):
    """A corpus whose passages are found by queries."""

    @property
    def passages(self) -> "Sequence[Document]":
        """A sample of the passages."""

    def text(self, document: "Document") -> str:
        """Return a passage as the ranker reads it."""

    def candidates(self, query: str, depth: int) -> "list[Document]":
        """Return the candidates of a query, best first."""


@dataclass(frozen=True)
class CandidateList:
    """
    A query with passages to rank.

    :param query: The query.
    :param kind: How it was made.
    :param passages: The passages, as the ranker reads them.
    :param first_scores: Their scores by the first stage; 0 for those that it did not find.
    :param has_source: Whether the first passage is the one that the query was made from, or a relevant one.
    """

    query: str
    kind: str
    passages: list[str]
    first_scores: list[float]
    has_source: bool

    def as_json(self) -> dict[str, Any]:
        """Return plain values, from which the constructor makes it again."""
        return asdict(self)


@dataclass(frozen=True)
class AskedList:
    """
    A list, and what the members of the ensemble think of its passages.

    :param row: The list.
    :param opinions: For each member, a value for each passage, as logits.
    """

    row: CandidateList
    opinions: list[list[float]]


def make_list(corpus: Searchable, query: PseudoQuery, sources: "dict[str, Document]", seed: int) -> CandidateList | None:
    """
    Choose the passages of a training list: the source (or a relevant one), four of the first ten candidates, two of the next
    forty, one more.

    Left out are near duplicates of the source, as they answer the query too, and the source of a query that is all it says.

    :param corpus: The corpus.
    :param query: The query.
    :param sources: The sampled passages by id.
    :param seed: Seed of the choice.
    :returns: The list; `None` if the corpus has too few different passages.
    """
    rng = random.Random(f"{seed} {query.text}")  # noqa: S311 - reproducible sampling, not secrets
    found = corpus.candidates(query.text, DEPTH)
    scores = {document.id: float(document.score or 0.0) for document in found}
    source = sources.get(query.source or "") or next((document for document in found if document.id == query.source), None)
    has_source = source is not None and not query.is_passage
    own = [] if source is None else [corpus.text(source)]
    seen = set() if source is None else {source.id}
    ids = [source.id] if source is not None and has_source else []
    passages = [query.shown(source, own[0])] if source is not None and has_source else []

    def take(pool: "Sequence[Document]", wanted: int) -> None:
        for document in rng.sample(list(pool), len(pool)):
            if wanted == 0:
                return
            text = corpus.text(document)
            shown = query.shown(document, text)
            if document.id in seen or not shown.strip() or is_near_duplicate(text, own, NEAR_DUPLICATES):
                continue
            seen.add(document.id)
            ids.append(document.id)
            passages.append(shown)
            wanted -= 1

    take(found[:TOP], FROM_TOP)
    take(found[TOP:], FROM_BELOW)
    take(rng.sample(list(corpus.passages), min(len(corpus.passages), 4 * LIST_SIZE)), LIST_SIZE - len(passages))
    if len(passages) < LIST_SIZE:
        take(found, LIST_SIZE - len(passages))
    if len(passages) < 2:
        return None
    return CandidateList(query.text, query.kind, passages, [scores.get(id_, 0.0) for id_ in ids], has_source)


def measured_candidates(
    corpus: Searchable,
    queries: Sequence[PseudoQuery],
    *,
    name: str,
    on_progress: CountCallback,
) -> DevCollection:
    """
    Retrieve the candidates of held-out pseudo-queries, of which the source counts as relevant.

    :param corpus: The corpus.
    :param queries: The queries.
    :param name: Name of the collection, for display.
    :param on_progress: Called with queries done and total queries.
    :returns: Queries, candidates and judgements, without queries whose source was not found: no ranker can help them.
    """
    dev = DevCollection(name, FIRST_STAGE, {}, {}, {}, {})
    for number, query in enumerate(queries):
        found = corpus.candidates(query.text, MEASURED_DEPTH)
        if query.source in {document.id for document in found}:
            key = str(number)
            dev.queries[key], dev.candidates[key] = query.text, {}
            for document in found:
                # What is shown of a passage depends on the query.
                id_ = f"{document.id} {key}"
                dev.texts[id_] = query.shown(document, corpus.text(document))
                dev.candidates[key][id_] = float(document.score or 0.0)
            dev.qrels[key] = {f"{query.source} {key}": 1}
        on_progress(number + 1, len(queries))
    return dev
