"""
Candidate lists to distil from: a query, eight passages, and what the two retrievers together think of each.

The opinion of the retrievers (the teacher) on a passage is

    (cosine of the passage + best cosine of one of its sentences) / 0.12 + 2.5 * BM25 / best BM25 of the query

with all-MiniLM-L6-v2's cosines. On selqa_sections dev (300 queries, whole corpus) it ranks with nDCG@10 0.939, where the passage's
cosine alone has 0.793, BM25 0.907, and passage cosine with BM25 0.879: a long passage is seldom about the query as a whole.

A passage that is judged relevant gets a bonus on top (`Collection.bonus`), larger where one passage is the only answer (SQuAD).
"""

import json
import random
import re
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from haystack import Document
from numpy.typing import NDArray
from pseudo_queries import pseudo_query, sentences
from sentence_transformers import SentenceTransformer

from rerank_plugin import HybridDocumentStore
from rerank_plugin.beir import BeirDataset

LIST_SIZE = 8
DEPTH = 60
QUERIES_AT_ONCE = 64
SENTENCES = 8
COSINE_SCALE = 0.12
BM25_WEIGHT = 2.5
# A sentence that was taken out of its passage, and one that still stands there word for word.
BONUS_HIDDEN, BONUS_VISIBLE = 1.5, 3.0


@dataclass(frozen=True)
class Collection:
    """How much is taken from a collection, and how far its judgements are believed."""

    name: str
    judged: int
    pseudo: int
    bonus: float
    bm25_negatives: int = 3
    dense_negatives: int = 3
    lists_per_query: int = 1
    documents: int | None = None
    characters: int = 1600


COLLECTIONS = (
    Collection("perspectrum", judged=541, pseudo=1500, bonus=3, lists_per_query=5),
    Collection("nq_qed_clapnq", judged=7370, pseudo=3000, bonus=4),
    Collection("squad11_train", judged=8000, pseudo=3000, bonus=7, bm25_negatives=4, dense_negatives=2, documents=9500),
    Collection("medquad", judged=1000, pseudo=1500, bonus=3, documents=5000, characters=900),
)


@dataclass(frozen=True)
class CandidateList:
    """A query, its passages or windows of passages, and the teacher's score of each."""

    query: str
    passages: list[str]
    scores: list[float]
    is_short: bool = False


@dataclass(frozen=True)
class Question:
    """
    A query, the positions of its relevant passages, the bonus for one, and the sentence to take out of it.

    For a foreign query `relevant` names the passages to leave out, as none is known to answer it.
    """

    text: str
    relevant: tuple[int, ...]
    bonus: float
    removed: str = ""
    is_foreign: bool = False


@dataclass
class Passages:
    """The passages of a collection with everything that the teacher needs."""

    titles: list[str]
    texts: list[str]
    encoder: SentenceTransformer

    def __post_init__(self) -> None:
        self.vectors = self.encode([text[:1000] for text in self.texts])
        split = [self.titled_sentences(i) for i in range(len(self.texts))]
        self.first_sentence = np.cumsum([0, *map(len, split[:-1])])
        self.sentence_vectors = self.encode([sentence for part in split for sentence in part])
        self.store = HybridDocumentStore()
        for start in range(0, len(self.texts), 1000):
            batch = range(start, min(start + 1000, len(self.texts)))
            self.store.write_documents([Document(id=str(i), content=self.texts[i]) for i in batch])

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Normalised vectors, one a row."""
        return self.encoder.encode(list(texts), batch_size=64, normalize_embeddings=True, show_progress_bar=True)

    def body(self, position: int) -> str:
        """The passage without its title."""
        return self.texts[position].removeprefix(self.titles[position]).strip()

    def titled_sentences(self, position: int) -> list[str]:
        """The first sentences of a passage, each behind the title."""
        found = [s for s in re.split(r"(?<=[.!?])\s+", self.body(position)) if len(s) > 15][:SENTENCES]
        title = f"{self.titles[position]}. " if self.titles[position] else ""
        return [title + sentence for sentence in found or [self.body(position)]]


def load(
    collection: Collection, root: Path, encoder: SentenceTransformer, draw: random.Random
) -> tuple[Passages, list[Question]]:
    """The passages of a collection and its judged questions; only the `train` judgements are read."""
    dataset = BeirDataset(root / collection.name)
    documents = list(dataset.documents())
    if collection.documents and collection.documents < len(documents):
        titles = sorted({document.title for document in documents})
        draw.shuffle(titles)
        share = set(titles[: len(titles) * collection.documents // len(documents)]) if len(titles) > 1 else set()
        # By title, so that an article's passages, which are the hard negatives of each other, stay together.
        documents = [d for d in documents if d.title in share] if share else draw.sample(documents, collection.documents)
    passages = Passages([d.title for d in documents], [d.full_text[:1600] for d in documents], encoder)
    position = {document.id: i for i, document in enumerate(documents)}
    return passages, _judged(collection, dataset, position, draw)


def _judged(collection: Collection, dataset: BeirDataset, position: dict[str, int], draw: random.Random) -> list[Question]:
    queries, qrels = dataset.queries(), dataset.qrels("train")
    found = []
    for id_, grades in qrels.items():
        relevant = tuple(position[d] for d, grade in grades.items() if grade > 0 and d in position)
        if relevant and queries[id_].text.strip():
            found.append(Question(queries[id_].text, relevant, collection.bonus))
    return draw.sample(found, min(collection.judged, len(found)))


def _pseudo(collection: Collection, passages: Passages, draw: random.Random) -> list[Question]:
    made = []
    for i in draw.sample(range(len(passages.texts)), min(collection.pseudo, len(passages.texts))):
        found = sentences(passages.body(i))
        if not found:
            continue
        sentence = draw.choice(found)
        hide = len(found) > 2 and draw.random() < 0.7
        query = sentence if len(found) == 1 else pseudo_query(sentence, draw)
        if query:
            made.append(Question(query, (i,), BONUS_HIDDEN if hide else BONUS_VISIBLE, removed=sentence if hide else ""))
    return made


def passage_lists(
    collection: Collection, passages: Passages, judged: Sequence[Question], draw: random.Random
) -> Iterator[CandidateList]:
    """Lists of whole passages, for judged questions and for questions made out of passages."""
    questions = [*list(judged) * collection.lists_per_query, *_pseudo(collection, passages, draw)]
    for start in range(0, len(questions), QUERIES_AT_ONCE):
        block = questions[start : start + QUERIES_AT_ONCE]
        vectors = passages.encode([question.text for question in block]).T
        whole, by_sentence = passages.vectors @ vectors, passages.sentence_vectors @ vectors
        best_sentence = np.maximum.reduceat(by_sentence, passages.first_sentence, axis=0)
        for column, question in enumerate(block):
            best = best_sentence[:, column].copy()
            if question.removed:
                source = question.relevant[0]
                ends = [*passages.first_sentence[1:], len(by_sentence)]
                own = np.sort(by_sentence[passages.first_sentence[source] : ends[source], column])
                best[source] = own[-2] if len(own) > 1 else own[-1]
            teacher = (whole[:, column] + best) / COSINE_SCALE
            bm25 = {int(d.id): d.score or 0.0 for d in passages.store.bm25_retrieval(question.text, top_k=DEPTH)}
            for i, score in bm25.items():
                teacher[i] += BM25_WEIGHT * score / max(bm25.values())
            yield _draw_list(collection, passages, question, list(bm25), teacher, draw)


def _draw_list(
    collection: Collection,
    passages: Passages,
    question: Question,
    bm25: Sequence[int],
    teacher: NDArray[np.float32],
    draw: random.Random,
) -> CandidateList:
    relevant = set(question.relevant)
    lexical = [i for i in bm25 if i not in relevant]
    semantic = [int(i) for i in np.argsort(-teacher)[: DEPTH // 2] if int(i) not in relevant]
    taken: list[int] = []

    def take(pool: Sequence[int], count: int) -> None:
        free = [i for i in pool if i not in taken]
        taken.extend(draw.sample(free, min(count, len(free))))

    take(lexical[:12], collection.bm25_negatives - 1)
    take(lexical[12:], 1)
    take(semantic[:12], collection.dense_negatives - 1)
    take(semantic[12:], 1)
    while len(taken) < LIST_SIZE - 1:
        take([i for i in draw.sample(range(len(passages.texts)), LIST_SIZE) if i not in relevant], 1)
    positive = draw.choice(question.relevant)
    text = passages.texts[positive].replace(question.removed, " ") if question.removed else passages.texts[positive]
    texts = [text, *(passages.texts[i] for i in taken)]
    scores = [float(teacher[positive]) + question.bonus, *(float(teacher[i]) for i in taken)]
    return CandidateList(question.text, [t[: collection.characters] for t in texts], [round(score, 3) for score in scores])


def write_lists(lists: Sequence[CandidateList], file: Path) -> None:
    """One JSON object a line."""
    with file.open("w", encoding="utf-8") as out:
        out.writelines(json.dumps(asdict(candidates), ensure_ascii=False) + "\n" for candidates in lists)


def read_lists(file: Path) -> list[CandidateList]:
    """What `write_lists` wrote."""
    with file.open(encoding="utf-8") as lines:
        return [CandidateList(**json.loads(line)) for line in lines]
