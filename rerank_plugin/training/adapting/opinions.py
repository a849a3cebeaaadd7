"""Soft targets: what an ensemble of models and the first stage think of the passages of a list."""

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from rerank_plugin.errors import ServerError
from rerank_plugin.pipelines.embedding_models import PACKAGED_MODEL, packaged_model
from rerank_plugin.scoring.languages import declared_languages
from rerank_plugin.scoring.loading.spec import bundled_models
from rerank_plugin.training.adapting.lists import CandidateList

if TYPE_CHECKING:
    from rerank_plugin.components.ranker import CrossEncoderRanker

Scores = NDArray[np.float64]
Opinion = Callable[[str, Sequence[str]], Sequence[float]]

RETRIEVERS_SHARE = 0.25
# A cosine and a first stage's score, as logits: the weights of the bundled models' training.
COSINE_WEIGHT, FIRST_WEIGHT = 18.0, 4.0
# The source of a query is more likely to answer it than any passage that the ensemble prefers.
BONUS, LEAST_LEAD = 3.0, 1.0
SERVER_SECONDS = 120.0


class Ensemble:
    """
    Models whose opinions are averaged.

    :param start: The model that is adapted: it has a say, so that it forgets little.
    :param teachers: Further cross-encoders: bundled names, folders, Hub ids or addresses of servers.
    :param language: Language of the corpus.
    :ivar seconds: Time that the start has taken for scoring.
    :ivar pairs: Pairs that it has scored.
    """

    def __init__(self, start: str, teachers: Sequence[str], language: str) -> None:
        others = [model for model in bundled_models() if model != start and language in declared_languages(model)]
        self.names = list(dict.fromkeys([start, *others, *teachers]))
        self._rankers: list[CrossEncoderRanker] = []
        self._opinions = [_server(name) if is_server(name) else self._load(name) for name in self.names]
        self._cosines = _cosines() if language == "en" else None
        if self._cosines is not None:
            self.names.append(PACKAGED_MODEL)
        self.seconds, self.pairs = 0.0, 0

    def _load(self, name: str) -> Opinion:
        from rerank_plugin.components.ranker import CrossEncoderRanker

        ranker = CrossEncoderRanker(model=name, calibration="none")
        ranker.warm_up()
        self._rankers.append(ranker)
        return ranker.logits

    def close(self) -> None:
        """Release the models, whose memory training needs."""
        for ranker in self._rankers:
            ranker.close()

    def start_logits(self, row: CandidateList) -> list[float]:
        """Return the logits of the start alone."""
        began = time.perf_counter()
        logits = list(map(float, self._opinions[0](row.query, row.passages)))
        self.seconds += time.perf_counter() - began
        self.pairs += len(row.passages)
        return logits

    def targets(self, row: CandidateList) -> list[float]:
        """
        Return the targets of a list, as logits.

        :param row: The list.
        :raises ModelError: If a model cannot be loaded.
        :raises ServerError: If a server does not answer.
        """
        logits = [self.start_logits(row), *(opinion(row.query, row.passages) for opinion in self._opinions[1:])]
        crosses = np.mean([_centred(scores) for scores in logits], axis=0)
        retrievers = FIRST_WEIGHT * _centred(_to_unit(row.first_scores))
        if self._cosines is not None:
            retrievers = retrievers + COSINE_WEIGHT * _centred(self._cosines(row.query, row.passages))
        targets = (1 - RETRIEVERS_SHARE) * crosses + RETRIEVERS_SHARE * retrievers
        if row.has_source:
            targets[0] = max(targets[0] + BONUS, targets[1:].max() + LEAST_LEAD)
        return [round(float(target), 4) for target in targets]


def _centred(scores: Sequence[float] | Scores) -> Scores:
    """Only differences within a list count: models have different zero points."""
    values = np.asarray(scores, dtype=np.float64)
    centred: Scores = values - values.mean()
    return centred


def _to_unit(scores: Sequence[float]) -> Scores:
    values = np.asarray(scores, dtype=np.float64)
    spread = values.max() - values.min()
    return (values - values.min()) / spread if spread > 0 else np.zeros(len(values))


def is_server(name: str) -> bool:
    """Return whether the name of a teacher is the address of a server."""
    return name.startswith(("http://", "https://"))


def _server(address: str) -> Opinion:
    """Return the opinion of a server that speaks the protocol of Text Embeddings Inference, as `rerank serve` does."""
    import httpx

    url = address if address.rstrip("/").endswith("/rerank") else f"{address.rstrip('/')}/rerank"

    def score(query: str, passages: Sequence[str]) -> list[float]:
        body = {"query": query, "texts": list(passages), "raw_scores": True, "truncate": True}
        try:
            answer: Any = httpx.post(url, json=body, timeout=SERVER_SECONDS).raise_for_status().json()
            scores = {int(row["index"]): float(row["score"]) for row in answer}
            return [scores[position] for position in range(len(passages))]
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise ServerError(
                f"the teacher at {url} cannot be asked ({error}): check its address, or leave it out"
            ) from error
        except (ValueError, KeyError, TypeError) as error:
            raise ServerError(
                f"the teacher at {url} does not answer as Text Embeddings Inference or `rerank serve` do: check its address"
            ) from error

    return score


def _cosines() -> Opinion | None:
    """Return the opinion of the packaged bi-encoder; `None` if its package (extra `offline`) is not installed."""
    folder = packaged_model(PACKAGED_MODEL)
    if folder == PACKAGED_MODEL:
        return None
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(str(folder), device="cpu")

    def score(query: str, passages: Sequence[str]) -> list[float]:
        vectors = model.encode([query, *passages], normalize_embeddings=True, show_progress_bar=False)
        return [float(vectors[0] @ vector) for vector in vectors[1:]]

    return score
