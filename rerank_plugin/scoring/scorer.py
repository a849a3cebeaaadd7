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
    StreamingBackend,
    check_precision,
    conversion_recipe,
    resolve_backend,
)
from rerank_plugin.scoring.exit_rule import FIRST_LOOK_TOKENS
from rerank_plugin.scoring.forking import check_same_process
from rerank_plugin.scoring.limits import CallLimits, CostModel
from rerank_plugin.scoring.loading.converted import open_converted
from rerank_plugin.scoring.loading.location import locate
from rerank_plugin.scoring.loading.spec import ModelSpec
from rerank_plugin.scoring.loading.torch_model import load_in_torch
from rerank_plugin.scoring.reading import LONGEST_WINDOW, PairReader, PassageTally, Piece
from rerank_plugin.scoring.scheduler import Scheduler, shared_scheduler
from rerank_plugin.scoring.tokens import InputSpec, PairTokenizer
from rerank_plugin.scoring.types import PassageScores, ScoringRequest, Window
from rerank_plugin.scoring.windows import DEFAULT_OVERLAP, WindowSettings
from rerank_plugin.scoring.work import Lane, Work

logger = logging.getLogger(__name__)

# Of English text, roughly; only for the order in which calls are served, and for how many are let in.
CHARACTERS_PER_TOKEN = 4


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

    Thread-safe: the batches of all calls go through one queue, as each one already uses all cores.

    :param tokenizer: Turns texts into token ids, and pairs into inputs.
    :param backend: Runs the network.
    :param settings: How to run it. Its `backend` is the resolved one, not `auto`.
    :param identity: Identifies model and settings: equal identities mean equal outputs.
    :param scheduler: Shared with scorers that use the same processors; `None`: a new queue.
    """

    def __init__(
        self,
        tokenizer: PairTokenizer,
        backend: Backend,
        settings: ScorerSettings,
        *,
        identity: str,
        scheduler: Scheduler | None = None,
    ) -> None:
        self.tokenizer = tokenizer
        self.backend = backend
        self.settings = settings
        self.identity = identity
        self.scheduler = scheduler or Scheduler()
        self.lane = Lane(
            backend,
            tokenizer,
            max_tokens=settings.max_batch_tokens or backend.batch_tokens,
            max_pairs=settings.max_batch_pairs,
            cost=CostModel(batch_cost=backend.grid.batch_cost),
        )
        self._reader = PairReader(
            tokenizer, settings.windows, longest_window=LONGEST_WINDOW if settings.max_length is None else None
        )

    @property
    def backend_name(self) -> str:
        """Backend and precision, such as `openvino bf16`."""
        return f"{self.settings.backend} {self.backend.precision}"

    def prepare(self) -> None:
        """Make ready what the first call would otherwise wait for."""
        if isinstance(self.backend, StreamingBackend):
            self.backend.prepare()

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
        limits.expected = self.expected_seconds(requests)
        tallies = [[PassageTally() for _ in request.passages] for request in requests]
        pieces = self._reader.pieces(requests, tallies, limits)
        while portion := self._take(pieces, limits):
            if not self._run(portion, limits):
                break
        return [self._scores(request_tallies) for request_tallies in tallies]

    def expected_seconds(self, requests: Sequence[ScoringRequest]) -> float:
        """
        Estimate how long the model needs for requests, from their characters.

        :param requests: Queries with their passages.
        :returns: Seconds; 0 as long as the speed of the model is unknown.
        """
        most = self.tokenizer.input_spec.max_length
        reads_all = self.settings.windows.aggregation not in ("first", "truncate")
        tokens = 0
        for request in requests:
            for passage in request.passages:
                pair = self.tokenizer.special_tokens + (len(request.query) + len(passage)) // CHARACTERS_PER_TOKEN
                tokens += pair if reads_all else min(pair, most)
        return self.lane.cost.seconds(tokens)

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
        most, tokens = self.lane.tokens_worth_planning(limits), 0
        for piece in pieces:
            taken.append(piece)
            tokens += self.tokenizer.length(piece.pair)
            if tokens >= most:
                break
        return taken

    def _run(self, pieces: Sequence[Piece], limits: CallLimits) -> bool:
        """Score pieces. Return whether the call may go on."""
        work = Work(self.lane, [piece.pair for piece in pieces], limits)
        self.scheduler.run(work)
        if work.invalid is not None:
            position, logit = work.invalid
            raise ModelError(
                f"the model scored passage {pieces[position].passage} with {logit}: its weights are damaged, or float16 "
                "overflows"
            )
        for piece, logit in zip(pieces, work.logits.tolist(), strict=True):
            if logit == logit:  # not nan
                piece.tally.logits.append(logit)
                piece.tally.windows.append(piece.window)
        return not np.isnan(work.logits).any()


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


def load_scorer(spec: ModelSpec, settings: ScorerSettings, *, scheduler: Scheduler | None = None) -> PairScorer:
    """
    Load a model and prepare it for scoring.

    :param spec: The model.
    :param settings: How to run it.
    :param scheduler: See `PairScorer`; `None`: that of the device, unless the model gets only some of its threads.
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
    if scheduler is None and settings.num_threads is None:
        scheduler = shared_scheduler(spec.device)
    return PairScorer(tokenizer, backend, replace(settings, backend=chosen), identity=repr(facts), scheduler=scheduler)


def load_first_look(spec: ModelSpec, settings: ScorerSettings, whole: PairScorer) -> PairScorer:
    """
    Load a model's early-exit network, which reads a long passage in shorter windows: as it was trained.

    :param spec: The model.
    :param settings: How the whole model is run.
    :param whole: The whole model.
    :returns: A scorer that shares the processors with the whole model.
    :raises ModelError: If the model has no early-exit network.
    """
    longest = min(FIRST_LOOK_TOKENS, whole.tokenizer.input_spec.max_length)
    windows = replace(settings.windows, overlap=min(settings.windows.overlap, longest // 2))
    shorter = replace(settings, windows=windows, max_length=longest)
    return load_scorer(replace(spec, early_exit=True), shorter, scheduler=whole.scheduler)
