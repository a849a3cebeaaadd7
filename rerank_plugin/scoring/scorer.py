"""The whole way of a call: queries and passages in, one logit a passage out."""

import logging
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from rerank_plugin.errors import ModelError
from rerank_plugin.scoring.backends import (
    BACKENDS,
    Backend,
    BackendInput,
    check_precision,
    conversion_recipe,
    logits_of,
    resolve_backend,
)
from rerank_plugin.scoring.batching import Batch, plan_batches
from rerank_plugin.scoring.forking import check_same_process
from rerank_plugin.scoring.loading.converted import open_converted
from rerank_plugin.scoring.loading.location import locate
from rerank_plugin.scoring.loading.spec import ModelSpec
from rerank_plugin.scoring.loading.torch_model import load_in_torch
from rerank_plugin.scoring.tokens import Features, Pair, PairTokenizer, Tokens
from rerank_plugin.scoring.types import PassageScores, ScoringRequest, Window
from rerank_plugin.scoring.windows import WindowSettings, aggregate, cut_windows

logger = logging.getLogger(__name__)

ShouldStop = Callable[[], bool]


class ScoringStoppedError(Exception):
    """The caller of `PairScorer.score` asked to stop before everything was scored."""


@dataclass(frozen=True)
class ScorerSettings:
    """
    How a model is run.

    :param backend: `auto` or a key of `BACKENDS`.
    :param precision: `auto`, or one that the backend has.
    :param num_threads: Threads of the backend; `None`: one for each processor that the process may use.
    :param windows: How passages are read that are too long.
    :param max_length: Most tokens of a pair; `None`: as many as the model reads.
    :param max_batch_tokens: Most tokens of a batch, padding included; `None`: what is fastest on the backend.
    :param max_batch_pairs: Most pairs of a batch; `None`: no limit of its own.
    :param compile_torch: Compile the model, on the torch backend.
    """

    backend: str = "auto"
    precision: str = "auto"
    num_threads: int | None = None
    windows: WindowSettings = field(default_factory=WindowSettings)
    max_length: int | None = None
    max_batch_tokens: int | None = None
    max_batch_pairs: int | None = None
    compile_torch: bool = False


class PairScorer:
    """
    Scores passages against queries.

    Safe to call from several threads; the calls take turns, as each of them already uses all cores.

    :param tokenizer: Turns texts into token ids, and pairs into inputs.
    :param backend: Runs the network.
    :param settings: How. Its `backend` is the one that was chosen, not `auto`.
    :param identity: Tells this scorer's outputs apart from those of other models and settings.
    """

    def __init__(self, tokenizer: PairTokenizer, backend: Backend, settings: ScorerSettings, *, identity: str) -> None:
        self.tokenizer = tokenizer
        self.backend = backend
        self.settings = settings
        self.identity = identity
        self._max_tokens = settings.max_batch_tokens or backend.batch_tokens
        self._lock = threading.Lock()
        self._warned_of_long_query = False

    @property
    def backend_name(self) -> str:
        """The backend and what it computes in, such as `openvino bf16`."""
        return f"{self.settings.backend} {self.backend.precision}"

    def logits(self, query: str, passages: Sequence[str]) -> NDArray[np.float32]:
        """
        Score each passage against the query.

        :param query: The query.
        :param passages: The passages, in any order; may be empty.
        :returns: Raw outputs of the model, shape (passages,), in the order of the passages.
        :raises ModelError: If the model returns something that is no number.
        """
        return self.score([ScoringRequest(query, passages)])[0].logits

    def score(self, requests: Sequence[ScoringRequest], *, should_stop: ShouldStop | None = None) -> list[PassageScores]:
        """
        Score the passages of several requests; their pairs share batches.

        :param requests: Queries with their passages.
        :param should_stop: Asked before each batch.
        :returns: The scores, in the order of the requests.
        :raises ModelError: If the model returns something that is no number.
        :raises ScoringStoppedError: If `should_stop` said so.
        """
        inputs = [self._inputs(request) for request in requests]
        pairs = [pair for parts in inputs for windows in parts for pair, _ in windows]
        found = iter(self._run(pairs, should_stop).tolist())
        scores = []
        for parts in inputs:
            logits = np.empty(len(parts), dtype=np.float32)
            windows: list[Window | None] = []
            for position, part in enumerate(parts):
                logits[position], best = aggregate([next(found) for _ in part], self.settings.windows)
                windows.append(part[best][1])
            _check_numbers(logits)
            scores.append(PassageScores(logits, windows))
        return scores

    def _inputs(self, request: ScoringRequest) -> list[list[tuple[Pair, Window | None]]]:
        """Make for each passage the pairs that are scored for it: one, or one a window."""
        if not request.passages:
            return []
        query, *passages = self.tokenizer.encode([request.query, *request.passages])
        if self.settings.windows.aggregation == "truncate":
            return [[(self.tokenizer.truncated(Pair(query, passage)), None)] for passage in passages]
        query = self._short_query(query)
        return [self._windows(query, passage) for passage in passages]

    def _short_query(self, query: Tokens) -> Tokens:
        room = (self.tokenizer.input_spec.max_length - self.tokenizer.special_tokens) // 2
        if len(query) > room and not self._warned_of_long_query:
            self._warned_of_long_query = True
            logger.warning(
                "A query of %d tokens was cut to %d: the model reads %d, and half of them are for the passage. "
                "Later long queries are cut without a word.",
                len(query),
                room,
                self.tokenizer.input_spec.max_length,
            )
        return query[:room]

    def _windows(self, query: Tokens, passage: Tokens) -> list[tuple[Pair, Window | None]]:
        room = max(1, self.tokenizer.input_spec.max_length - self.tokenizer.special_tokens - len(query))
        parts = cut_windows(len(passage), room=room, overlap=self.settings.windows.overlap)
        if len(parts) == 1:
            return [(Pair(query, passage), None)]
        if self.settings.windows.aggregation == "first":
            return [(Pair(query, passage[:room]), Window(0, room, 1))]
        return [(Pair(query, passage[a:b]), Window(a, b, len(parts))) for a, b in parts]

    def _run(self, pairs: list[Pair], should_stop: ShouldStop | None) -> NDArray[np.float32]:
        logits = np.empty(len(pairs), dtype=np.float32)
        lengths = [self.tokenizer.length(pair) for pair in pairs]
        with self._lock:
            batches = plan_batches(
                lengths,
                max_tokens=self._max_tokens,
                max_pairs=self.settings.max_batch_pairs or len(pairs),
                grid=self.backend.grid,
                max_width=self.tokenizer.input_spec.max_length,
            )
            features = (self._features(pairs, batch, should_stop) for batch in batches)
            for batch, found in zip(batches, logits_of(self.backend, features, len(batches)), strict=True):
                logits[batch.positions] = found[: len(batch.positions)]
        return logits

    def _features(self, pairs: list[Pair], batch: Batch, should_stop: ShouldStop | None) -> Features:
        if should_stop is not None and should_stop():
            raise ScoringStoppedError
        return self.tokenizer.features([pairs[i] for i in batch.positions], width=batch.width, rows=batch.rows)


def _check_numbers(logits: NDArray[np.float32]) -> None:
    if not np.isfinite(logits).all():
        position = int(np.flatnonzero(~np.isfinite(logits))[0])
        raise ModelError(
            f"the model scored passage {position} with {logits[position]}: its weights are damaged, or float16 overflows"
        )


def load_scorer(spec: ModelSpec, settings: ScorerSettings) -> PairScorer:
    """
    Load a model and make it ready to score.

    :param spec: Which model.
    :param settings: How to run it.
    :returns: The scorer.
    :raises ModelError: If the model cannot be loaded or is no cross-encoder.
    :raises InvalidValueError: If the backend is unknown, does not run on the device or does not have the precision.
    :raises MissingDependencyError: If a package is missing that the backend or the conversion needs.
    """
    check_same_process()
    chosen = resolve_backend(settings.backend, device=spec.device)
    check_precision(settings.precision, backend=chosen)
    recipe = conversion_recipe(chosen, settings.precision)
    located = locate(spec)
    model = load_in_torch(located) if recipe is None else open_converted(located, recipe)
    backend = BACKENDS[chosen](BackendInput(model, settings.precision, settings.num_threads, settings.compile_torch))
    input_spec = model.tokenizer.input_spec
    max_length = min(settings.max_length or input_spec.max_length, input_spec.max_length)
    tokenizer = model.tokenizer.with_input_spec(replace(input_spec, max_length=max_length))
    logger.info("%s runs on backend %s in %s", spec.model, chosen, backend.precision)
    facts = (located.fingerprint, chosen, backend.precision, tokenizer.input_spec.max_length, settings.windows)
    return PairScorer(tokenizer, backend, replace(settings, backend=chosen), identity=repr(facts))
