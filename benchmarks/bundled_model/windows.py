"""
Candidate lists of short windows: one to four sentences instead of whole passages.

A step costs a third of one with passages, so that the model meets three times as many pairs, and what a query and a text have to do
with each other is clearest in a sentence. The teacher's score of a window is

    (best cosine of its sentences + their mean) / 0.12 + 2.5 * best BM25 of its sentences / best BM25 of the query

Queries are judged ones, pseudo queries (the sentence itself is taken out in 60 % of the cases), and foreign ones: queries of another
collection, or sentences whose own passage is left out. For foreign queries nothing is relevant, the teacher alone decides: no word
that query and text share gives the answer away.
"""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from candidates import BM25_WEIGHT, COSINE_SCALE, LIST_SIZE, QUERIES_AT_ONCE, CandidateList, Passages, Question
from haystack import Document
from numpy.typing import NDArray
from pseudo_queries import pseudo_query

from rerank_plugin import HybridDocumentStore

WIDTHS, WEIGHTS = (1, 2, 3, 4), (3, 4, 3, 1)
DEPTH = 50
TITLED = 0.6
NEAR = 16


@dataclass
class Sentences:
    """The sentences of a collection, each found by words and by vectors."""

    passages: Passages
    draw: random.Random
    store: HybridDocumentStore = field(default_factory=HybridDocumentStore)

    def __post_init__(self) -> None:
        split = [self.passages.titled_sentences(i) for i in range(len(self.passages.texts))]
        self.texts = [sentence for part in split for sentence in part]
        self.passage = np.repeat(np.arange(len(split)), [len(part) for part in split])
        self.first = np.append(self.passages.first_sentence, len(self.texts))
        for start in range(0, len(self.texts), 4000):
            batch = range(start, min(start + 4000, len(self.texts)))
            self.store.write_documents([Document(id=str(i), content=self.texts[i]) for i in batch])

    def window(self, sentence: int, without: int | None = None) -> list[int]:
        """Some sentences of a passage in a row, this one among them unless it is left out."""
        passage = self.passage[sentence]
        width = self.draw.choices(WIDTHS, WEIGHTS)[0]
        start = max(int(self.first[passage]), sentence - self.draw.randrange(width))
        return [i for i in range(start, min(int(self.first[passage + 1]), start + width)) if i != without] or [sentence]

    def text(self, window: Sequence[int]) -> str:
        """The window as a passage, in most cases behind its title."""
        title = self.passages.titles[self.passage[window[0]]]
        bare = " ".join(self.texts[i].removeprefix(f"{title}. ") for i in window)
        return f"{title}\n{bare}" if title and self.draw.random() < TITLED else bare


def window_lists(sentences: Sentences, questions: Sequence[Question]) -> Iterator[CandidateList]:
    """
    One list a question.

    A question without relevant passages is foreign. One whose `removed` names a sentence has it taken out of the window.
    """
    for start in range(0, len(questions), QUERIES_AT_ONCE):
        block = questions[start : start + QUERIES_AT_ONCE]
        vectors = sentences.passages.encode([question.text for question in block])
        cosines = sentences.passages.sentence_vectors @ vectors.T
        for column, question in enumerate(block):
            made = _draw(sentences, question, cosines[:, column])
            if len(made.passages) == LIST_SIZE:
                yield made


def _draw(sentences: Sentences, question: Question, cosine: NDArray[np.float32]) -> CandidateList:
    draw = sentences.draw
    bm25 = {int(d.id): d.score or 0.0 for d in sentences.store.bm25_retrieval(question.text, top_k=DEPTH)}
    best = max(bm25.values(), default=1.0)
    seen = set(question.relevant)
    windows: list[list[int]] = []
    scores: list[float] = []

    def add(window: list[int], bonus: float = 0.0) -> None:
        near = cosine[window]
        windows.append(window)
        words = BM25_WEIGHT * max(bm25.get(i, 0.0) for i in window) / best
        scores.append(float(near.max() + near.mean()) / COSINE_SCALE + words + bonus)

    def take(pool: Sequence[int], count: int) -> None:
        for i in draw.sample(list(pool), len(pool)):
            passage = int(sentences.passage[i])
            if count and passage not in seen:
                seen.add(passage)
                add(sentences.window(i))
                count -= 1

    if question.relevant and not question.is_foreign:
        passage = draw.choice(question.relevant)
        own = range(int(sentences.first[passage]), int(sentences.first[passage + 1]))
        hidden = next((i for i in own if question.removed and sentences.texts[i].endswith(question.removed)), None)
        kept = [i for i in own if i != hidden] or list(own)
        middle = max(kept, key=lambda i: cosine[i] + 0.15 * bm25.get(i, 0.0) / best)
        add(sentences.window(middle, without=hidden), question.bonus)
    order = [int(i) for i in np.argsort(-cosine)[: 4 * NEAR]]
    lexical = list(bm25)
    take(lexical[:NEAR], 2)
    take(lexical[NEAR:], 1)
    take(order[:NEAR], 2)
    take(order[NEAR:], 1)
    take(draw.sample(range(len(sentences.texts)), 4 * LIST_SIZE), LIST_SIZE - len(windows))
    return CandidateList(
        question.text, [sentences.text(w) for w in windows], [round(score, 3) for score in scores], is_short=True
    )


def pseudo_questions(sentences: Sentences, count: int) -> list[Question]:
    """Questions made out of sentences, and about as many whose own passage is left out."""
    draw = sentences.draw
    found = []
    for i in draw.sample(range(len(sentences.texts)), min(count, len(sentences.texts))):
        passage = int(sentences.passage[i])
        sentence = sentences.texts[i].removeprefix(f"{sentences.passages.titles[passage]}. ")
        query = pseudo_query(sentence, draw)
        if query is None or sentences.first[passage + 1] - sentences.first[passage] < 2:
            continue
        if draw.random() < 0.3:
            found.append(Question(sentence, (passage,), 0.0, is_foreign=True))
        else:
            hide = draw.random() < 0.6
            found.append(Question(query, (passage,), 1.0 if hide else 2.0, removed=sentence if hide else ""))
    return found
