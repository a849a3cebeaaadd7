"""General material, from the sample corpus: lists against forgetting, and judged queries that show whether it helped."""

from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

from rerank_plugin.collections.beir import BeirDataset
from rerank_plugin.collections.sample import sample_corpus
from rerank_plugin.training.adapting.lists import FIRST_STAGE, MEASURED_DEPTH, CandidateList, make_list
from rerank_plugin.training.adapting.pseudo_queries import generate
from rerank_plugin.training.fitting.dev import DevCollection

if TYPE_CHECKING:
    from haystack import Document

    from rerank_plugin.store import HybridDocumentStore

LANGUAGES = ("en", "ru")
SPLIT = "test"
NAME = "sample corpus"


@dataclass(frozen=True)
class SampleCorpus:
    """
    The passages of the sample corpus in one language, in memory.

    :param store: Searches them.
    :param passages: The passages.
    """

    store: "HybridDocumentStore"
    passages: "list[Document]"

    def text(self, document: "Document") -> str:
        """Return title and text of a passage."""
        title = document.meta.get("title")
        return f"{title}\n{document.content}" if title else document.content or ""

    def candidates(self, query: str, depth: int) -> "list[Document]":
        """Return BM25's candidates."""
        return self.store.bm25_retrieval(query, top_k=depth)


def open_sample_corpus(language: str) -> SampleCorpus:
    """
    Open the sample corpus.

    :param language: Language of the corpus to adapt to; English stands in for those that the sample corpus does not have.
    """
    from haystack import Document

    from rerank_plugin.store import HybridDocumentStore

    chosen = general_language(language)
    passages = [
        Document(id=document.id, content=document.text, meta={"title": document.title})
        for document in BeirDataset(sample_corpus()).documents()
        if document.metadata.get("lang") == chosen
    ]
    store = HybridDocumentStore(language=chosen)
    store.write_documents(passages)
    return SampleCorpus(store, passages)


def general_language(language: str) -> str:
    """Return the language of the general material."""
    return language if language in LANGUAGES else LANGUAGES[0]


def general_lists(corpus: SampleCorpus, *, count: int, seed: int) -> list[CandidateList]:
    """
    Make lists of pseudo-queries about the sample corpus, whose judged queries stay unseen.

    :param corpus: The corpus.
    :param count: Maximum number of lists.
    :param seed: Seed of the choices.
    """
    sources = {passage.id: passage for passage in corpus.passages}
    queries = list(generate(corpus.passages, seed=seed))
    made = (make_list(corpus, query, sources, seed) for query in queries[:: max(1, len(queries) // count)][:count])
    return [row for row in made if row is not None]


def guard_set(corpus: SampleCorpus, language: str, most: int) -> DevCollection:
    """
    Return judged queries of the sample corpus.

    :param corpus: The corpus.
    :param language: The language that it was opened in.
    :param most: Maximum number of queries.
    """
    dataset, chosen = BeirDataset(sample_corpus()), general_language(language)
    qrels = dataset.qrels(SPLIT)
    queries = {
        query.id: query.text
        for query in dataset.queries().values()
        if query.metadata.get("lang") == chosen and any(grade > 0 for grade in qrels.get(query.id, {}).values())
    }
    queries = dict(islice(queries.items(), most))
    found = {id_: corpus.candidates(text, MEASURED_DEPTH) for id_, text in queries.items()}
    return DevCollection(
        name=NAME,
        first_stage=FIRST_STAGE,
        queries=queries,
        candidates={id_: {d.id: float(d.score or 0.0) for d in documents} for id_, documents in found.items()},
        texts={document.id: corpus.text(document) for documents in found.values() for document in documents},
        qrels={id_: qrels[id_] for id_ in queries},
    )
