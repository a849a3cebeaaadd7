"""Score passages: from queries and passages to one logit per passage."""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from rerank_plugin.errors import InvalidValueError, ModelError
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
from rerank_plugin.scoring.limits import CallLimits, CostModel
from rerank_plugin.scoring.loading.converted import open_converted
from rerank_plugin.scoring.loading.location import locate
from rerank_plugin.scoring.loading.spec import ModelSpec
from rerank_plugin.scoring.loading.torch_model import load_in_torch
from rerank_plugin.scoring.reading import LONGEST_WINDOW, PairReader, PassageTally, Piece
from rerank_plugin.scoring.tokens import Features, InputSpec, PairTokenizer
from rerank_plugin.scoring.turns import Turns
from rerank_plugin.scoring.types import PassageScores, ScoringRequest, Window
from rerank_plugin.scoring.windows import DEFAULT_OVERLAP, WindowSettings

logger = logging.getLogger(__name__)

# Tokens planned into batches together: enough to find pairs of similar length, and 1 MB of memory.
PLANNED_TOKENS = 131_072
# The same for a call with a deadline while the speed is still unknown.
FIRST_TOKENS = 1024


@dataclass(frozen=True)
class ScorerSettings:
    """
    How a model is run.

    :param backend: `auto` or a key of `BACKENDS`.
    :param precision: `auto`, or a precision of the backend.
    :param num_threads: Threads of the backend; `None`: one for each processor that the process may use.
    :param windows: How passages that are too long are read.
    :param max_length: Maximum tokens of a pair; `None`: the input length of the model, though a long passage is read in
        windows of at most `reading.LONGEST_WINDOW`.
    :param max_batch_tokens: Maximum tokens of a batch, padding included; `None`: what is fastest on the backend.
    :param max_batch_pairs: Maximum pairs of a batch; `None`: limited by tokens only.
    :param compile_torch: Compile the model (torch backend only).
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

    Thread-safe: calls take turns, as each one already uses all cores.

    :param tokenizer: Turns texts into token ids, and pairs into inputs.
    :param backend: Runs the network.
    :param settings: How to run it. Its `backend` is the resolved one, not `auto`.
    :param identity: Identifies model and settings: equal identities mean equal outputs.
    :param turns: Shared with scorers that use the same processors; `None`: a new queue.
    """

    def __init__(
        self,
        tokenizer: PairTokenizer,
        backend: Backend,
        settings: ScorerSettings,
        *,
        identity: str,
        turns: Turns | None = None,
    ) -> None:
        self.tokenizer = tokenizer
        self.backend = backend
        self.settings = settings
        self.identity = identity
        self.turns = turns or Turns()
        self.cost = CostModel(batch_cost=backend.grid.batch_cost)
        self._reader = PairReader(
            tokenizer, settings.windows, longest_window=LONGEST_WINDOW if settings.max_length is None else None
        )
        self._max_tokens = settings.max_batch_tokens or backend.batch_tokens

    @property
    def backend_name(self) -> str:
        """Backend and precision, such as `openvino bf16`."""
        return f"{self.settings.backend} {self.backend.precision}"

    def characters(self, passage: str, window: Window) -> tuple[int, int]:
        """Find the characters of a passage that one of its windows covers. See `PairReader.characters`."""
        return self._reader.characters(passage, window)

    def logits(self, query: str, passages: Sequence[str]) -> NDArray[np.float32]:
        """
        Score each passage against the query.

        :param query: The query.
        :param passages: The passages, in any order; may be empty.
        :returns: Raw outputs of the model, shape (passages,), in the order of the passages.
        :raises ModelError: If the model returns a logit that is not finite.
        """
        return self.score([ScoringRequest(query, passages)])[0].logits

    def score(self, requests: Sequence[ScoringRequest], limits: CallLimits | None = None) -> list[PassageScores]:
        """
        Score the passages of several requests; their pairs share batches.

        Memory is bounded whatever the length of the passages: they are tokenised, batched and scored in portions.

        :param requests: Queries with their passages, in first-stage order.
        :param limits: Checked between portions of tokenising and between batches; `None`: no limits.
        :returns: The scores, in the order of the requests. Passages that a deadline left unscored are `nan`.
        :raises ModelError: If the model returns a logit that is not finite, or was loaded before this process was forked.
        :raises ScoringStoppedError: If the call was cancelled.
        """
        check_same_process()
        limits = limits or CallLimits()
        tallies = [[PassageTally() for _ in request.passages] for request in requests]
        pieces = self._reader.pieces(requests, tallies, limits)
        while portion := self._take(pieces, limits):
            if not self._run(portion, limits):
                break
        return [self._scores(request_tallies) for request_tallies in tallies]

    def _scores(self, tallies: Sequence[PassageTally]) -> PassageScores:
        scores = [tally.score(self.settings.windows) for tally in tallies]
        return PassageScores(
            logits=np.array([logit for logit, _ in scores], dtype=np.float32),
            windows=[window for _, window in scores],
            partly_read=np.array([tally.is_partly_read for tally in tallies], dtype=np.bool_),
        )

    def _take(self, pieces: Iterator[Piece], limits: CallLimits) -> list[Piece]:
        """Take the pieces to plan together."""
        taken: list[Piece] = []
        if limits.is_over:
            return taken
        most, tokens = self._tokens_worth_planning(limits), 0
        for piece in pieces:
            taken.append(piece)
            tokens += self.tokenizer.length(piece.pair)
            if tokens >= most:
                break
        return taken

    def _tokens_worth_planning(self, limits: CallLimits, *, callers: int = 1) -> float:
        """
        Return the tokens to score before the limits are checked again.

        With a deadline this is about half of the time that is left, in first-stage order: if the machine turns out slower
        than expected, the best candidates are not the ones left unscored. Waiting callers share the time.
        """
        if not limits.is_timed:
            return PLANNED_TOKENS
        if not self.cost.is_known:
            return FIRST_TOKENS / callers
        whole_batch = self.cost.seconds(self._max_tokens)
        seconds = max(limits.remaining / 2, min(limits.remaining, whole_batch))
        return min(PLANNED_TOKENS, self.cost.tokens_within(seconds / callers))

    def _affordable(self, pieces: Sequence[Piece], left: Sequence[int], limits: CallLimits) -> Sequence[int]:
        """Return the remaining pieces to score in one turn: the first one, and more as time allows."""
        waiting = self.turns.waiting
        if not limits.is_timed or (not waiting and limits.remaining > 0):
            return left
        most = self._tokens_worth_planning(limits, callers=1 + waiting)
        totals = np.cumsum([self.tokenizer.length(pieces[position].pair) for position in left])
        return left[: max(1, int(np.searchsorted(totals, most, side="right")))]

    def _run(self, pieces: Sequence[Piece], limits: CallLimits) -> bool:
        """Score pieces, in as many turns as needed. Return whether the call may go on."""
        logits = np.full(len(pieces), np.nan, dtype=np.float32)
        left = list(range(len(pieces)))
        may_go_on = True
        while left and may_go_on and self.turns.enter(limits):
            try:
                may_go_on = self._turn(pieces, self._affordable(pieces, left, limits), logits, limits)
            finally:
                self.turns.leave()
            left = [position for position in left if np.isnan(logits[position])]
        for piece, logit in zip(pieces, logits.tolist(), strict=True):
            if logit == logit:  # not nan
                piece.tally.logits.append(logit)
                piece.tally.windows.append(piece.window)
        return may_go_on and not left

    def _turn(self, pieces: Sequence[Piece], left: Sequence[int], logits: NDArray[np.float32], limits: CallLimits) -> bool:
        """Score pieces until all are done, time runs out, or a more urgent call waits. Return whether to go on."""
        batches = plan_batches(
            [self.tokenizer.length(pieces[position].pair) for position in left],
            max_tokens=self._max_tokens,
            max_pairs=self.settings.max_batch_pairs or len(left),
            grid=self.backend.grid,
            max_width=self.tokenizer.input_spec.max_length,
        )
        shapes: list[tuple[int, int]] = []
        tokens_under_way = 0
        may_go_on = True
        began = limits.clock()

        def features() -> Iterator[Features]:
            nonlocal tokens_under_way, may_go_on
            for number, batch in enumerate(batches):
                limits.check_cancelled()
                if number and self.turns.should_yield(limits):
                    return
                tokens = batch.rows * batch.width
                if limits.would_overrun(self.cost.seconds(tokens_under_way + tokens)):
                    may_go_on = False
                    return
                limits.started = True
                tokens_under_way += tokens
                yield self._features(pieces, left, batch)

        for batch, outputs in zip(batches, logits_of(self.backend, features(), len(batches)), strict=False):
            positions = [left[i] for i in batch.positions]
            logits[positions] = outputs[: len(positions)]
            _check_numbers(pieces, positions, logits)
            shapes.append((batch.rows, batch.width))
            tokens_under_way -= batch.rows * batch.width
        self.cost.learn(shapes, limits.clock() - began)
        return may_go_on

    def _features(self, pieces: Sequence[Piece], left: Sequence[int], batch: Batch) -> Features:
        pairs = [pieces[left[i]].pair for i in batch.positions]
        return self.tokenizer.features(pairs, width=batch.width, rows=batch.rows)


def _check_numbers(pieces: Sequence[Piece], positions: Sequence[int], logits: NDArray[np.float32]) -> None:
    for position in positions:
        if not np.isfinite(logits[position]):
            raise ModelError(
                f"the model scored passage {pieces[position].passage} with {logits[position]}: its weights are damaged, or "
                "float16 overflows"
            )


def _fit_to_model(settings: ScorerSettings, spec: InputSpec, special_tokens: int) -> InputSpec:
    """
    Apply the settings that depend on the model's input length.

    :raises InvalidValueError: If they do not fit the model.
    """
    most, wanted = spec.max_length, settings.max_length
    if wanted is not None:
        least = special_tokens + 2  # one token of the query, one of the passage
        if not least <= wanted <= most:
            raise InvalidValueError(
                f"max_length is {wanted}, but this model reads {least} to {most} tokens: choose a value in this range, "
                "or leave max_length out"
            )
        spec = replace(spec, max_length=wanted)
    overlap = settings.windows.overlap
    # The default is silently limited to half a window; an explicit value is refused instead.
    if overlap not in (DEFAULT_OVERLAP, min(overlap, spec.max_length // 2)):
        raise InvalidValueError(
            f"window_overlap is {overlap}, more than half of the model's input length ({spec.max_length} tokens): "
            f"choose at most {spec.max_length // 2}"
        )
    return spec


def load_scorer(spec: ModelSpec, settings: ScorerSettings, *, turns: Turns | None = None) -> PairScorer:
    """
    Load a model and prepare it for scoring.

    :param spec: The model.
    :param settings: How to run it.
    :param turns: See `PairScorer`.
    :returns: The scorer.
    :raises ModelError: If the model cannot be loaded or is not a cross-encoder.
    :raises InvalidValueError: If the backend is unknown, does not run on the device or lacks the precision, or if a length
        does not fit the model.
    :raises MissingDependencyError: If a package that the backend or the conversion needs is missing.
    """
    check_same_process()
    chosen = resolve_backend(settings.backend, device=spec.device)
    check_precision(settings.precision, backend=chosen)
    if settings.compile_torch and chosen != "torch":
        raise InvalidValueError(
            f"torch_compile needs backend 'torch', but the model runs on {chosen!r}: leave one of them out"
        )
    recipe = conversion_recipe(chosen, settings.precision)
    located = locate(spec)
    model = load_in_torch(located) if recipe is None else open_converted(located, recipe)
    backend = BACKENDS[chosen](BackendInput(model, settings.precision, settings.num_threads, settings.compile_torch))
    tokenizer = model.tokenizer
    tokenizer = tokenizer.with_input_spec(_fit_to_model(settings, tokenizer.input_spec, tokenizer.special_tokens))
    logger.info("%s runs on backend %s in %s", spec.model, chosen, backend.precision)
    most = tokenizer.input_spec.max_length
    longest = most if settings.max_length is not None else min(most, LONGEST_WINDOW)
    facts = (located.fingerprint, chosen, backend.precision, most, longest, settings.windows)
    return PairScorer(tokenizer, backend, replace(settings, backend=chosen), identity=repr(facts), turns=turns)
