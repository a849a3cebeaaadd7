"""From texts to the pairs that a model scores: tokenised on demand, in portions, and cut into windows."""

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from rerank_plugin.scoring.limits import CallLimits
from rerank_plugin.scoring.tokens import Pair, PairTokenizer, Tokens
from rerank_plugin.scoring.types import ScoringRequest, Window
from rerank_plugin.scoring.windows import WindowSettings, aggregate, cut_sections, cut_windows, section_stop

logger = logging.getLogger(__name__)

# Texts tokenised between two checks of the limits; fewer with a deadline, as the rest may never be read.
TEXTS_AT_ONCE = 64
TEXTS_BEFORE_DEADLINE = 16
# Characters tokenised in one go: about 10 ms of work.
SECTION_CHARACTERS = 32_768
# Longer passages are read in windows even where the model reads more. Attention grows with the square of the length: 8192
# tokens in one piece took 5 times the time of windows of 1024, and 4 times the memory (a model of the shape of Ettin's 17M,
# OpenVINO bf16); windows of 512 were a tenth faster. Measured by `benchmarks/scoring/long_passages.py`.
LONGEST_WINDOW = 1024
# Tokens that a query and a passage have at least, whatever the length of the chat template.
LEAST_ROOM = 512
# A section must hold far more than one model input, long words included.
SECTION_CHARACTERS_PER_TOKEN = 16


@dataclass
class PassageTally:
    """
    The windows and logits of a passage so far.

    :ivar logits: Of the windows that were scored, in order.
    :ivar windows: These windows; `None` for a passage that was read whole, or truncated.
    :ivar pairs: Number of windows cut.
    :ivar is_cut_up: Whether the whole passage has been cut into windows.
    """

    logits: list[float] = field(default_factory=list)
    windows: list[Window | None] = field(default_factory=list)
    pairs: int = 0
    is_cut_up: bool = False

    @property
    def is_partly_read(self) -> bool:
        """Whether some windows were scored, but not all."""
        return bool(self.logits) and not (self.is_cut_up and len(self.logits) == self.pairs)

    def score(self, settings: WindowSettings) -> tuple[float, Window | None]:
        """Return the logit, `nan` if there is none, and the window that decided it."""
        if not self.logits:
            return float("nan"), None
        logit, best = aggregate(self.logits, settings)
        return logit, self.windows[best]


@dataclass(frozen=True)
class Piece:
    """
    One input of the model.

    :param tally: Tally of the passage that it belongs to.
    :param passage: Position of the passage in its request, for error messages.
    :param pair: The token ids.
    :param window: The window; `None` for a passage that is read whole, or truncated.
    """

    tally: PassageTally
    passage: int
    pair: Pair
    window: Window | None


@dataclass(frozen=True)
class _Section:
    tally: PassageTally
    passage: int
    request: int
    text: str
    start: int
    stop: int


class PairReader:
    """
    Cuts the passages of requests into pieces, lazily.

    :param tokenizer: Turns texts into token ids.
    :param settings: How passages that are too long are read.
    :param longest_window: Maximum tokens of an input that holds a window; `None`: as many as the model reads. Longer queries
        have longer ones, and what is truncated has the whole input.
    """

    def __init__(self, tokenizer: PairTokenizer, settings: WindowSettings, *, longest_window: int | None = None) -> None:
        self._tokenizer = tokenizer
        self._settings = settings
        self._most = tokenizer.input_spec.max_length
        self._longest_window = self._most
        if longest_window is not None and settings.aggregation != "truncate":
            self._longest_window = min(self._most, max(longest_window, tokenizer.special_tokens + LEAST_ROOM))
        self._size = max(SECTION_CHARACTERS, SECTION_CHARACTERS_PER_TOKEN * self._longest_window)
        self._warned_of_long_query = False

    def pieces(
        self, requests: Sequence[ScoringRequest], tallies: Sequence[Sequence[PassageTally]], limits: CallLimits
    ) -> Iterator[Piece]:
        """
        Cut passages into pieces: the first candidate of each request, then the second of each, and so on.

        Only the first section of a passage is read in its turn, the others after all passages: a single document of a
        megabyte must not use up the time budget.

        :param requests: Queries with their passages.
        :param tallies: The tally of each passage, where its pieces are counted.
        :param limits: Checked between portions. After the deadline no more pieces are yielded.
        :returns: The pieces, lazily.
        """
        queries: dict[int, Tokens] = {}
        for portion in self._portions(self._sections(requests, tallies), limits):
            limits.check_cancelled()
            if limits.is_over:
                return
            began = limits.clock()
            encoded = self._tokenizer.encode([section.text[section.start : section.stop] for section in portion])
            limits.usage.tokenizing += limits.clock() - began
            for section, tokens in zip(portion, encoded, strict=True):
                if section.request not in queries:
                    queries[section.request] = self._query(requests[section.request].query, limits)
                yield from self._cut(queries[section.request], section, tokens, limits)

    def characters(self, text: str, window: Window) -> tuple[int, int]:
        """
        Find the characters that a window covers.

        :param text: The passage.
        :param window: One of its windows.
        :returns: First character, and character after the last.
        """
        section = text[window.origin : section_stop(text, window.origin, size=self._size)]
        start, stop = self._tokenizer.characters(section, window.start, window.stop)
        return window.origin + start, window.origin + stop

    def _sections(self, requests: Sequence[ScoringRequest], tallies: Sequence[Sequence[PassageTally]]) -> Iterator[_Section]:
        rest: list[tuple[PassageTally, int, int, str, Iterator[tuple[int, int]]]] = []
        order = sorted((p, r) for r, request in enumerate(requests) for p in range(len(request.passages)))
        reads_all = self._settings.aggregation not in ("first", "truncate")
        for p, r in order:
            tally, text = tallies[r][p], requests[r].passages[p]
            cuts = cut_sections(text, size=self._size, overlap=self._settings.overlap)
            start, stop = next(cuts)
            yield _Section(tally, p, r, text, start, stop)
            if stop < len(text) and reads_all:
                rest.append((tally, p, r, text, cuts))
        for tally, p, r, text, cuts in rest:
            for start, stop in cuts:
                yield _Section(tally, p, r, text, start, stop)

    def _portions(self, sections: Iterable[_Section], limits: CallLimits) -> Iterator[list[_Section]]:
        most = TEXTS_BEFORE_DEADLINE if limits.is_timed else TEXTS_AT_ONCE
        portion: list[_Section] = []
        characters = 0
        for section in sections:
            portion.append(section)
            characters += section.stop - section.start
            if len(portion) == most or characters >= self._size:
                yield portion
                portion, characters = [], 0
        if portion:
            yield portion

    def _cut(self, query: Tokens, section: _Section, tokens: Tokens, limits: CallLimits) -> Iterator[Piece]:
        pairs = list(self._pairs(query, section, tokens, limits))
        reads_on = section.stop < len(section.text) and self._settings.aggregation not in ("first", "truncate")
        section.tally.is_cut_up = not (pairs or reads_on)
        for number, (pair, window) in enumerate(pairs, start=1):
            section.tally.pairs += 1
            # Set before the piece is yielded: the caller may not ask for another one.
            section.tally.is_cut_up = number == len(pairs) and not reads_on
            yield Piece(section.tally, section.passage, pair, window)

    def _pairs(
        self, query: Tokens, section: _Section, tokens: Tokens, limits: CallLimits
    ) -> Iterator[tuple[Pair, Window | None]]:
        aggregation = self._settings.aggregation
        least = self._tokenizer.special_tokens + len(query)
        room = max(1, min(self._most, max(self._longest_window, least + len(query))) - least)
        window_room = max(1, room - self._tokenizer.tail)
        if aggregation in ("first", "truncate") and section.stop < len(section.text) and len(tokens) < self._most:
            tokens = self._beginning(section.text, self._tokenizer.encode, limits)
        if aggregation == "truncate":
            yield self._tokenizer.truncated(Pair(query, tokens)), None
        elif aggregation == "first" and len(tokens) > room:
            yield Pair(query, self._tokenizer.part(tokens, 0, window_room)), Window(0, window_room)
        elif (len(tokens) <= room and section.start == 0 and section.stop == len(section.text)) or aggregation == "first":
            yield Pair(query, tokens), None
        elif len(tokens) or section.start == 0:  # white space between sections is not a window
            for start, stop in cut_windows(len(tokens), room=window_room, overlap=self._settings.overlap):
                yield Pair(query, self._tokenizer.part(tokens, start, stop)), Window(start, stop, section.start)

    def _query(self, text: str, limits: CallLimits) -> Tokens:
        query = self._beginning(text, self._encode_query, limits)
        if self._settings.aggregation == "truncate":
            return query[: self._most]
        room = (self._most - self._tokenizer.special_tokens) // 2
        if len(query) > room and not self._warned_of_long_query:
            self._warned_of_long_query = True
            logger.warning(
                "A query of %d tokens or more was cut to %d: the model reads %d, and half of them are for the passage. "
                "Further long queries are cut without a warning.",
                len(query),
                room,
                self._most,
            )
        return self._tokenizer.shortened_query(query, room)

    def _encode_query(self, texts: Sequence[str]) -> list[Tokens]:
        return [self._tokenizer.encode_query(text) for text in texts]

    def _beginning(self, text: str, encode: Callable[[Sequence[str]], list[Tokens]], limits: CallLimits) -> Tokens:
        """Return the first tokens of a text: at least as many as the model reads, or all."""
        beginning: list[Tokens] = []
        for start, stop in cut_sections(text, size=self._size, overlap=0):
            limits.check_cancelled()
            beginning += encode([text[start:stop]])
            if sum(map(len, beginning)) >= self._most:
                break
        return np.concatenate(beginning)
