"""The whole way of a call: query and passages in, one logit a passage out."""

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rerank_plugin.errors import ModelError
from rerank_plugin.scoring.backends import BACKENDS, Backend, LoadedModel, resolve_backend
from rerank_plugin.scoring.batching import plan_batches
from rerank_plugin.scoring.models import ModelSpec, load_cross_encoder
from rerank_plugin.scoring.tokens import encode_pairs

# Models without learned positions report a limit of 1e30 or none at all.
LONGEST_INPUT = 8192


@dataclass
class PairScorer:
    """
    Scores passages against a query.

    Safe to call from several threads; the calls take turns, as each of them already uses all cores.

    :param tokenizer: Turns pairs into token ids.
    :param backend: Runs the network.
    :param max_length: Most tokens of a pair; longer pairs are cut.
    :param max_batch_tokens: Most tokens of a batch, padding included. Peak memory grows with it.
    :param max_batch_pairs: Most pairs of a batch.
    """

    tokenizer: Any
    backend: Backend
    max_length: int
    max_batch_tokens: int
    max_batch_pairs: int

    def __post_init__(self) -> None:
        self._lock = threading.Lock()

    def logits(self, query: str, passages: Sequence[str]) -> NDArray[np.float32]:
        """
        Score each passage against the query.

        :param query: The query.
        :param passages: The passages, in any order; may be empty.
        :returns: Raw outputs of the model, shape (passages,), in the order of the passages.
        :raises ModelError: If the model returns something that is no number.
        """
        if not passages:
            return np.empty(0, dtype=np.float32)
        with self._lock:
            pairs = encode_pairs(self.tokenizer, query, passages, max_length=self.max_length)
            logits = np.empty(len(passages), dtype=np.float32)
            for batch in plan_batches(pairs.lengths, max_tokens=self.max_batch_tokens, max_pairs=self.max_batch_pairs):
                logits[batch] = self.backend.logits(pairs.batch(batch))
        if not np.isfinite(logits).all():
            position = int(np.flatnonzero(~np.isfinite(logits))[0])
            raise ModelError(
                f"the model scored passage {position} with {logits[position]}: its weights are damaged, or float16 overflows"
            )
        return logits


def load_scorer(spec: ModelSpec, *, backend: str, max_batch_tokens: int, max_batch_pairs: int) -> PairScorer:
    """
    Load a model and make it ready to score.

    :param spec: Which model, and how.
    :param backend: `auto` or a key of `BACKENDS`.
    :param max_batch_tokens: See `PairScorer`.
    :param max_batch_pairs: See `PairScorer`.
    :returns: The scorer.
    :raises ModelError: If the model cannot be loaded or is no cross-encoder.
    :raises InvalidValueError: If the backend is unknown or does not run on the device.
    """
    chosen = resolve_backend(backend, device=spec.device)
    model = load_cross_encoder(spec)
    tokenizer = model.tokenizer
    names = tuple(tokenizer.model_input_names)
    return PairScorer(
        tokenizer=tokenizer,
        backend=BACKENDS[chosen](LoadedModel(cross_encoder=model, input_names=names)),
        max_length=min(model.max_seq_length or LONGEST_INPUT, LONGEST_INPUT),
        max_batch_tokens=max_batch_tokens,
        max_batch_pairs=max_batch_pairs,
    )
