"""Labelled pairs out of a judged collection: the judged passages, and what BM25 found beside them."""

import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

from haystack import Document

from rerank_plugin.beir import BeirDataset, BeirDocument, BeirQuery
from rerank_plugin.errors import InputFileError, InvalidValueError
from rerank_plugin.store import HybridDocumentStore
from rerank_plugin.training.data import LabelledPair

WRITE_BATCH = 1000


@dataclass(frozen=True)
class NegativesConfig:
    """
    How many negatives a query gets, and from where.

    :param hard: Negatives from the top of BM25's list, for each positive.
    :param hard_depth: How long that top is.
    :param middle: Negatives from BM25's list below the top, for each positive.
    :param random: Negatives from the whole corpus, for each positive: without them a reranker forgets what is off the topic.
    :param depth: How far down BM25's list goes.
    :param seed: Seed of all draws.
    :param language: Language of the stemmer, such as `en` or `ru`; see HybridDocumentStore.
    """

    hard: int = 2
    hard_depth: int = 10
    middle: int = 1
    random: int = 1
    depth: int = 60
    seed: int = 42
    language: str = "en"

    def __post_init__(self) -> None:
        for name in ("hard", "middle", "random"):
            if getattr(self, name) < 0:
                raise InvalidValueError(f"{name} must not be negative, got {getattr(self, name)}")
        if not 1 <= self.hard_depth <= self.depth:
            raise InvalidValueError(f"hard_depth must be from 1 to depth ({self.depth}), got {self.hard_depth}")


def pairs_with_bm25_negatives(
    dataset: BeirDataset, config: NegativesConfig, *, split: str = "train", limit: int | None = None
) -> list[LabelledPair]:
    """
    Make labelled pairs from a collection in BEIR layout.

    Each query gives its relevant passages with label 1, and drawn passages that are not judged relevant with label 0. Same
    data, configuration and seed give the same pairs.

    :param dataset: The collection.
    :param config: How many negatives, and from where.
    :param split: Which judgements.
    :param limit: Most queries, drawn at random; `None` takes all.
    :returns: The pairs, shuffled.
    :raises InputFileError: If the collection is malformed, or no query has a relevant passage in it.
    """
    corpus = {document.id: document for document in dataset.documents()}
    queries = dataset.queries()
    qrels = dataset.qrels(split)
    judged = [id_ for id_, grades in qrels.items() if id_ in queries and _relevant(grades, corpus)]
    if not judged:
        raise InputFileError(f"{dataset.folder}: no query of split {split!r} has a relevant document in the corpus")
    draw = random.Random(config.seed)  # noqa: S311 - reproducible draws, not secrets
    draw.shuffle(judged)
    store = _keyword_store(corpus.values(), config.language)
    pairs: list[LabelledPair] = []
    for id_ in judged[:limit]:
        found = _search(store, queries[id_], config.depth)
        pairs += _pairs_of_query(queries[id_].text, _relevant(qrels[id_], corpus), found, corpus, config, draw)
    store.close()
    draw.shuffle(pairs)
    return pairs


def _relevant(grades: dict[str, int], corpus: dict[str, BeirDocument]) -> list[str]:
    return [id_ for id_, grade in grades.items() if grade > 0 and id_ in corpus]


def _pairs_of_query(
    query: str,
    relevant: list[str],
    found: list[str],
    corpus: dict[str, BeirDocument],
    config: NegativesConfig,
    draw: random.Random,
) -> Iterator[LabelledPair]:
    others = [id_ for id_ in found if id_ not in set(relevant)]
    negatives = [
        *_sample(draw, others[: config.hard_depth], config.hard * len(relevant)),
        *_sample(draw, others[config.hard_depth :], config.middle * len(relevant)),
    ]
    taken = {*relevant, *found}
    everything = list(corpus)
    # A few draws may hit what BM25 found; they are dropped, not drawn again, so that a tiny corpus cannot loop for ever.
    negatives += [id_ for id_ in _sample(draw, everything, config.random * len(relevant)) if id_ not in taken]
    for id_ in relevant:
        yield LabelledPair(query, corpus[id_].full_text, 1.0)
    for id_ in negatives:
        yield LabelledPair(query, corpus[id_].full_text, 0.0)


def _sample(draw: random.Random, ids: Sequence[str], count: int) -> list[str]:
    return draw.sample(ids, min(count, len(ids)))


def _keyword_store(documents: Iterable[BeirDocument], language: str) -> HybridDocumentStore:
    store = HybridDocumentStore(language=language)
    converted = (Document(id=d.id, content=d.text, meta={"title": d.title}) for d in documents)
    while batch := list(islice(converted, WRITE_BATCH)):
        store.write_documents(batch)
    return store


def _search(store: HybridDocumentStore, query: BeirQuery, depth: int) -> list[str]:
    return [document.id for document in store.bm25_retrieval(query.text, top_k=depth)] if query.text.strip() else []
