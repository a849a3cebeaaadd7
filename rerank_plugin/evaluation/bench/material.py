"""Inputs of the benchmark: passages of given lengths cut from real text, and BM25 candidates of judged queries."""

import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

from haystack import Document

from rerank_plugin.checks import shown
from rerank_plugin.collections.dataset import Dataset
from rerank_plugin.errors import InvalidValueError
from rerank_plugin.store import HybridDocumentStore

BATCH = 5000  # documents written at once
WORDS = 200_000  # passages are cut from so many
WORDS_PER_TOKEN = 0.72  # English text in WordPiece, measured on the collections used in development


@dataclass(frozen=True)
class Case:
    """
    A type of call.

    :param tokens: Approximate tokens of a passage, minimum and maximum; lengths are uniformly distributed.
    :param candidates: Passages per query.
    """

    tokens: tuple[int, int]
    candidates: int

    @property
    def name(self) -> str:
        """The name of the case in reports."""
        low, high = self.tokens
        return f"{self.candidates} x {low}" if low == high else f"{self.candidates} x {low}-{high}"


def parse_case(text: str) -> Case:
    """
    Read a case from the command line.

    :param text: `CANDIDATESxTOKENS` or `CANDIDATESxFROM-TO`, such as `100x90` or `100x20-512`.
    :raises InvalidValueError: If it is neither.
    """
    match = re.fullmatch(r"(\d{1,6})x(\d{1,6})(?:-(\d{1,6}))?", text, re.ASCII)
    if match is None:
        raise InvalidValueError(f"{shown(text)} is not a case: write CANDIDATESxTOKENS, such as 100x90 or 100x20-512")
    candidates, low = int(match[1]), int(match[2])
    high = low if match[3] is None else int(match[3])
    if min(candidates, low) < 1 or high < low:
        raise InvalidValueError(
            f"{shown(text)} is not a case: both numbers must be at least 1, and a range goes from smaller to larger"
        )
    return Case((low, high), candidates)


def first_words(dataset: Dataset) -> list[str]:
    """Return the first words of a collection's text, for `draw_call`."""
    return list(islice((word for document in dataset.documents() for word in document.text.split()), WORDS))


def draw_call(case: Case, queries: Sequence[str], words: Sequence[str], rng: random.Random) -> tuple[str, list[Document]]:
    """
    Choose a query and passages at random; passages are stretches of the collection's text.

    :param case: Lengths and number of the passages.
    :param queries: The collection's queries.
    :param words: The collection's text, word by word.
    :param rng: Chooses query, lengths and positions.
    :returns: Query and documents.
    """
    documents = []
    for position in range(case.candidates):
        length = max(1, round(rng.randint(*case.tokens) * WORDS_PER_TOKEN))
        start = rng.randrange(max(1, len(words) - length))
        documents.append(Document(id=str(position), content=" ".join(words[start : start + length])))
    return rng.choice(queries), documents


def judged_calls(dataset: Dataset, queries: Mapping[str, str], *, candidates: int) -> dict[str, tuple[str, list[Document]]]:
    """
    Retrieve the candidates of judged queries with BM25.

    :param dataset: The collection.
    :param queries: Texts by id.
    :param candidates: Candidates per query.
    :returns: Query and documents, by id of the query; the documents' ids are the collection's.
    """
    store = HybridDocumentStore()
    batch: list[Document] = []
    for document in dataset.documents():
        batch.append(Document(id=document.id, content=document.full_text))
        if len(batch) == BATCH:
            store.write_documents(batch)
            batch = []
    store.write_documents(batch)
    calls = {id_: (text, store.bm25_retrieval(text, top_k=candidates)) for id_, text in queries.items()}
    store.close()
    return {id_: call for id_, call in calls.items() if call[1]}
