"""Queries with twelve candidates each, and the retrievers' scores of them."""

import random
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from encoders import DEVICE, Encoder, vectors
from pseudo_queries import pseudo_query

WORD = re.compile(r"\w+")
LIST_SIZE = 12
DEPTH = 100
QUERIES_AT_ONCE = 1024
K1, B = 1.2, 0.75
BONUS = {"squad11_train": 6.0}  # for relevant passages; each question of SQuAD was written for a single passage
USUAL_BONUS = 4.0


class BM25:
    """
    Okapi BM25 over all passages at once, as a product of a sparse and a dense matrix.

    Term weight: idf * tf * (k1 + 1) / (tf + k1 * (1 - b + b * length / mean length)), with Lucene's
    idf = ln(1 + (N - df + 0.5) / (df + 0.5)).

    :param texts: The passages.
    :param stems: Stems of the words that differ from their stem.
    """

    def __init__(self, texts: Sequence[str], stems: Mapping[str, str]) -> None:
        self._stems, self._terms = stems, {}
        counts = [Counter(self._split(text)) for text in texts]
        lengths = np.array([sum(count.values()) for count in counts], dtype=float)
        rows = np.repeat(np.arange(len(texts)), [len(count) for count in counts])
        columns = np.array([self._terms.setdefault(term, len(self._terms)) for count in counts for term in count])
        frequencies = np.array([frequency for count in counts for frequency in count.values()], dtype=float)
        document_frequencies = np.bincount(columns, minlength=len(self._terms))
        self._idf = np.log(1 + (len(texts) - document_frequencies + 0.5) / (document_frequencies + 0.5))
        self._mean = lengths.mean()
        weights = self._weights(columns, frequencies, lengths[rows])
        matrix = torch.sparse_coo_tensor(
            torch.from_numpy(np.stack([rows, columns])), torch.from_numpy(weights).float(), (len(texts), len(self._terms))
        )
        self._matrix = matrix.to(DEVICE).to_sparse_csr()

    def _split(self, text: str) -> list[str]:
        return [self._stems.get(word, word) for word in WORD.findall(text.lower())]

    def _weights(self, columns: Any, frequencies: Any, lengths: Any) -> Any:
        return self._idf[columns] * frequencies * (K1 + 1) / (frequencies + K1 * (1 - B + B * lengths / self._mean))

    def scores(self, queries: Sequence[str]) -> torch.Tensor:
        """Return the scores of all passages, shape (queries, passages)."""
        dense = torch.zeros(len(self._terms), len(queries), device=DEVICE)
        known = [(self._terms[t], i) for i, query in enumerate(queries) for t in self._split(query) if t in self._terms]
        if known:
            rows, columns = torch.tensor(known, device=DEVICE).T
            dense.index_put_((rows, columns), torch.ones(len(known), device=DEVICE), accumulate=True)
        return (self._matrix @ dense).T

    def score(self, query: str, text: str) -> float:
        """Return the score of a text that is not one of the passages."""
        counts = Counter(self._split(text))
        length = sum(counts.values())
        terms = [term for term in self._split(query) if term in counts and term in self._terms]
        return float(sum(self._weights(self._terms[term], counts[term], length) for term in terms))


@dataclass
class Question:
    """
    A query.

    :param text: The query.
    :param relevant: Positions of relevant passages; for a pseudo query the passage that it was generated from.
    :param rest: That passage without the source sentence, if the sentence is removed.
    :param collection: Name of its collection.
    :param judged: Whether it has judgements.
    """

    text: str
    relevant: list[int]
    rest: str | None
    collection: str
    judged: bool


@dataclass
class Lists:
    """
    All lists.

    :param queries: Texts.
    :param passages: Texts; first those of the collections, then those with a sentence removed.
    :param candidates: Positions of passages, shape (queries, 12).
    :param features: Cosines of each bi-encoder, BM25 / best BM25 of the query, BM25 / 10; shape (queries, 12, features).
    :param relevant: Whether a candidate is judged relevant, shape (queries, 12).
    :param collections: Name of each query's collection.
    """

    queries: list[str]
    passages: list[str]
    candidates: np.ndarray
    features: np.ndarray
    relevant: np.ndarray
    collections: list[str]

    def with_cosines(self, encoder: Encoder) -> "Lists":
        """Return the lists with another bi-encoder's cosines as the first feature."""
        model = encoder.bi_encoder()
        of_queries = vectors(encoder, model, self.queries, encoder.query_prefix, 64)
        of_passages = vectors(encoder, model, self.passages, encoder.passage_prefix)
        candidates = torch.from_numpy(self.candidates).to(DEVICE)
        blocks = zip(of_queries.split(QUERIES_AT_ONCE), candidates.split(QUERIES_AT_ONCE), strict=True)
        cosines = torch.cat([torch.einsum("qd,qcd->qc", query, of_passages[chosen]) for query, chosen in blocks])
        features = np.concatenate([cosines.float().cpu().numpy()[..., None], self.features], axis=2)
        return replace(self, features=features)

    def targets(self, weights: Sequence[float], logits: np.ndarray | None = None, share: float = 0.75) -> np.ndarray:
        """
        Return the student's distillation targets.

        :param weights: Weights of the features.
        :param logits: A cross-encoder's logits of the candidates, shape (queries, 12).
        :param share: Weight of these logits.
        """
        scores = self.features @ np.asarray(weights)
        if logits is not None:
            scores = (1 - share) * scores + share * logits
        bonus = np.array([BONUS.get(name, USUAL_BONUS) for name in self.collections])
        return (scores + bonus[:, None] * self.relevant).astype(np.float32)


@dataclass(frozen=True)
class Share:
    """
    How much of a collection is used.

    :param judged: Maximum number of judged queries.
    :param repeats: Lists per judged query.
    :param pseudo: Number of pseudo queries.
    """

    judged: int
    repeats: int
    pseudo: int


def ask(collections: Mapping[str, Any], shares: Mapping[str, Share], lang: str) -> tuple[list[str], list[Question]]:
    """Return the passages of the collections and the questions about them."""
    rng = random.Random(11)
    passages: list[str] = []
    questions: list[Question] = []
    for name, share in shares.items():
        collection, base = collections[name], len(passages)
        documents = collection["docs"]
        passages += [f"{title}\n{text}" if title else text for title, text in documents]
        judged = [(text, grades) for text, grades in collection["train"] if grades and text.strip()]
        for text, grades in rng.sample(judged, min(len(judged), share.judged)):
            relevant = [base + int(position) for position in grades]
            questions += [Question(text, relevant, None, name, True) for _ in range(share.repeats)]
        held, made = set(collection.get("held_docs", [])), 0
        while made < share.pseudo:
            position = rng.randrange(len(documents))
            title, text = documents[position]
            pseudo = None if position in held else pseudo_query(title, text, rng, lang)
            if pseudo is not None and pseudo[0].strip():
                query, rest = pseudo
                if rest is not None and title and rng.random() < 0.8:
                    rest = f"{title}\n{rest}"
                questions.append(Question(query, [base + position], rest, name, False))
                made += 1
    return passages, questions


def make_lists(
    passages: list[str], questions: list[Question], stems: Mapping[str, str], encoders: Sequence[Encoder]
) -> Lists:
    """
    Choose the candidates: one relevant passage, four of BM25's top ten, three of the bi-encoders' top ten, two and one of the
    next ninety, and one at random. Passages at low ranks of the first stage matter: a model that has never seen any scores them
    too high.
    """
    bm25 = BM25(passages, stems)
    queries = [question.text for question in questions]
    rests = [question.rest for question in questions if question.rest is not None]
    spaces = []
    for encoder in encoders:
        model = encoder.bi_encoder()
        of_queries = vectors(encoder, model, queries, encoder.query_prefix, 64)
        of_passages = vectors(encoder, model, passages, encoder.passage_prefix)
        spaces.append((of_queries, of_passages, vectors(encoder, model, rests, encoder.passage_prefix)))
    rng = np.random.default_rng(5)
    candidates = np.zeros((len(queries), LIST_SIZE), dtype=np.int64)
    features = np.zeros((len(queries), LIST_SIZE, len(encoders) + 2), dtype=np.float32)
    relevant = np.zeros((len(queries), LIST_SIZE), dtype=bool)
    rest_at = 0
    for start in range(0, len(queries), QUERIES_AT_ONCE):
        block = slice(start, start + QUERIES_AT_ONCE)
        lexical = bm25.scores(queries[block])
        cosines = [of_queries[block] @ of_passages.T for of_queries, of_passages, _ in spaces]
        dense = sum((c - c.mean(1, keepdim=True)) / c.std(1, keepdim=True) for c in (c.float() for c in cosines))
        orders = [scores.topk(DEPTH, 1).indices.cpu().numpy() for scores in (lexical, dense)]
        for row, question in enumerate(questions[block], start=start):
            candidates[row] = _choose(question, [order[row - start] for order in orders], len(passages), rng)
            relevant[row] = question.judged & np.isin(candidates[row], question.relevant)
        chosen = torch.from_numpy(candidates[block]).to(DEVICE)
        best = lexical.amax(1, keepdim=True).clamp_min(1e-6)
        of_chosen = lexical.gather(1, chosen)
        columns = [*(c.gather(1, chosen).float() for c in cosines), of_chosen / best, of_chosen / 10]
        features[block] = torch.stack(columns, 2).cpu().numpy()
        for row, question in enumerate(questions[block], start=start):
            if question.rest is not None:
                score = bm25.score(question.text, question.rest)
                own = [float(of_queries[row] @ of_rests[rest_at]) for of_queries, _, of_rests in spaces]
                features[row, 0] = [*own, score / float(best[row - start]), score / 10]
                candidates[row, 0] = len(passages) + rest_at
                rest_at += 1
    names = [question.collection for question in questions]
    return Lists(queries, [*passages, *rests], candidates, features, relevant, names)


def _choose(question: Question, orders: list[np.ndarray], count: int, rng: np.random.Generator) -> list[int]:
    taken = [int(rng.choice(question.relevant))]
    # A judged query may get another relevant passage, with its bonus; a pseudo query must not get its complete source passage.
    seen = set(taken if question.judged else question.relevant)

    def take(pool: np.ndarray, wanted: int) -> None:
        free = [int(position) for position in rng.permutation(pool) if int(position) not in seen]
        for position in free[:wanted]:
            seen.add(position)
            taken.append(position)

    lexical, dense = orders
    take(lexical[:10], 4)
    take(dense[:10], 3)
    take(lexical[10:], 2)
    take(dense[10:], 1)
    while len(taken) < LIST_SIZE:
        take(rng.integers(count, size=4), 1)
    return taken
