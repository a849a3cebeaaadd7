"""What an ensemble of models and the first stage think of the passages of a list, and the targets that follow from it."""

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from rerank_plugin.errors import ServerError
from rerank_plugin.pipelines.embedding_models import PACKAGED_MODEL, packaged_model
from rerank_plugin.scoring.languages import declared_languages
from rerank_plugin.scoring.loading.spec import bundled_models
from rerank_plugin.training.adapting.lists import AskedList, CandidateList
from rerank_plugin.training.adapting.pseudo_queries import ANSWERED
from rerank_plugin.training.adapting.weights import centred_opinions

if TYPE_CHECKING:
    from rerank_plugin.components.ranker import CrossEncoderRanker

Scores = NDArray[np.float64]
Opinion = Callable[[str, Sequence[str]], Sequence[float]]

# The first stage's scores become logits between 0 and this. Its say is fixed, and small: queries that were made from the
# passages it has indexed cannot tell how much it knows.
FIRST_STAGE_SPREAD = 0.5
# The passage that a query was made from is lifted; one that is known to answer the query leads.
BONUS, LEAST_LEAD = 3.0, 1.0
# Weights before any list is seen: of the model that is adapted, of all other cross-encoders together, and of a cosine.
OWN_WEIGHT, OTHERS_WEIGHT, COSINE_WEIGHT = 0.75, 0.25, 4.5
SERVER_SECONDS = 120.0


class Ensemble:
    """
    Models that are asked for their opinion.

    :param start: The model that is adapted: it has a say, so that it forgets little.
    :param teachers: Further cross-encoders: bundled names, folders, Hub ids or addresses of servers.
    :param language: Language of the corpus.
    :ivar names: Their names, in the order of the opinions.
    :ivar prior: Their weights before any list is seen.
    :ivar seconds: Time that the start has taken for scoring.
    :ivar pairs: Pairs that it has scored.
    """

    def __init__(self, start: str, teachers: Sequence[str], language: str) -> None:
        bundled = [model for model in bundled_models() if model != start and language in declared_languages(model)]
        self.names = list(dict.fromkeys([start, *bundled, *teachers]))
        self._rankers: list[CrossEncoderRanker] = []
        self._opinions = [_server(name) if is_server(name) else self._load(name) for name in self.names]
        others = len(self.names) - 1
        self.prior = [OWN_WEIGHT if others else 1.0, *(OTHERS_WEIGHT / others for _ in range(others))]
        cosines = _cosines() if language == "en" else None
        if cosines is not None:
            self._opinions.append(cosines)
            self.prior.append(COSINE_WEIGHT)
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

    def asked(self, row: CandidateList) -> AskedList:
        """
        Return a list with the opinion of each model.

        :param row: The list.
        :raises ServerError: If a server does not answer.
        """
        opinions = [self.start_logits(row), *(list(opinion(row.query, row.passages)) for opinion in self._opinions[1:])]
        return AskedList(row, [[round(float(value), 4) for value in values] for values in opinions])


def targets(asked: AskedList, weights: Sequence[float]) -> list[float]:
    """
    Return the targets of a list, as logits.

    :param asked: The list, and the opinions.
    :param weights: For each opinion.
    """
    row = asked.row
    mixed = np.asarray(weights) @ centred_opinions(asked) + FIRST_STAGE_SPREAD * _to_unit(row.first_scores)
    if row.has_source:
        mixed[0] += BONUS
    if row.has_source and row.kind in ANSWERED:
        mixed[0] = max(mixed[0], mixed[1:].max() + LEAST_LEAD)
    return [round(float(target), 4) for target in mixed]


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
    import torch
    from sentence_transformers import SentenceTransformer

    from rerank_plugin.scoring.backends.openvino_backend import has_bf16

    model, half = SentenceTransformer(str(folder), device="cpu"), has_bf16()

    def score(query: str, passages: Sequence[str]) -> list[float]:
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            vectors = model.encode([query, *passages], convert_to_tensor=True, show_progress_bar=False)
        unit = torch.nn.functional.normalize(vectors.float())
        return [float(cosine) for cosine in unit[1:] @ unit[0]]

    return score
