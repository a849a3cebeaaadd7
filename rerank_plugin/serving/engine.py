"""The seam between the protocols and what computes: one request, one result, one asynchronous call."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from rerank_plugin.components.answers import State

if TYPE_CHECKING:
    from rerank_plugin.scoring.work import SharedBatch


@dataclass(frozen=True)
class RankRequest:
    """
    Texts to be ranked by how well they answer a query, whatever the protocol in which they came.

    :param query: The query.
    :param texts: The texts.
    :param top_n: Maximum number of texts to return; `None`: all.
    :param raw_scores: Logits instead of probabilities.
    :param time_budget_ms: Milliseconds that the answer may take; `None`: as the server is configured.
    :param priority: 0 is the most urgent; requests with a higher number may wait longer.
    :param max_tokens_per_text: Tokens of each text that are read; `None`: all, window by window.
    :param max_tokens_per_pair: Tokens of the query and of each text together that are read; `None`: all.
    :param max_query_tokens: Tokens of the query that are read; `None`: as many as the model has room for.
    :param refuses_long_query: Whether a query that is too long for the model is an error instead of being cut.
    """

    query: str
    texts: Sequence[str]
    top_n: int | None = None
    raw_scores: bool = False
    time_budget_ms: float | None = None
    priority: int = 0
    max_tokens_per_text: int | None = None
    max_tokens_per_pair: int | None = None
    max_query_tokens: int | None = None
    refuses_long_query: bool = False


@dataclass(frozen=True)
class Ranked:
    """
    A text of a result.

    :param index: Its position among the texts of the request, from 0.
    :param score: Its score; that of a text which the time budget left unscored is below all others.
    :param is_scored: Whether the score is the model's.
    :param window: The characters of the text that decided the score; `None` if it was read whole.
    """

    index: int
    score: float
    is_scored: bool = True
    window: tuple[int, int] | None = None


@dataclass(frozen=True)
class Timings:
    """
    Where the time of a request went, in seconds.

    :param queue: From the arrival until work on the request began.
    :param tokenization: Tokenising it.
    :param inference: Scoring, including the waiting for batches of other requests.
    """

    queue: float = 0.0
    tokenization: float = 0.0
    inference: float = 0.0


@dataclass(frozen=True)
class RankResult:
    """
    The result of a request.

    :param ranked: The texts, best first.
    :param state: `complete`; `partial`: the time budget left texts unscored or partly read; `fallback`: scoring failed, and
        the order of the request was kept.
    :param scored: How many texts have a score of the model.
    :param cached: How many scores came from the cache.
    :param tokens: Tokens of all pairs: of each text, and of the query as often as there are texts.
    :param timings: Where the time went.
    :param warnings: What was not done as the request could have expected, such as a query that was cut.
    """

    ranked: Sequence[Ranked]
    state: State = "complete"
    scored: int = 0
    cached: int = 0
    tokens: int = 0
    timings: Timings = field(default_factory=Timings)
    warnings: Sequence[str] = ()


@dataclass(frozen=True)
class ModelFacts:
    """
    What a client may want to know of a model.

    :param model: The name, folder or Hub id that it was loaded from.
    :param backend: Backend and precision, such as `openvino bf16`.
    :param precision: The precision alone.
    :param max_length: Tokens of query and text together that the model reads at once.
    :param max_waiting: Requests that may wait or run at the same time.
    """

    model: str
    backend: str
    precision: str
    max_length: int
    max_waiting: int


@dataclass(frozen=True)
class Token:
    """
    A token of a text, as TEI describes it.

    :param id: Its id.
    :param text: Its text.
    :param special: Whether it is a special token.
    :param start: First character; `None` for a special token.
    :param stop: Character after the last.
    """

    id: int
    text: str
    special: bool
    start: int | None
    stop: int | None


class RankEngine(Protocol):
    """Ranks texts. A call ends early if its task is cancelled."""

    async def rank(self, request: RankRequest) -> RankResult:
        """
        Rank the texts of a request.

        :param request: The request.
        :returns: The ranked texts.
        :raises OverloadedError: If as much work is waiting as may wait.
        :raises RequestError: If a text is longer than the server allows, or the query is and may not be cut.
        :raises InvalidValueError: If a value cannot be used.
        :raises ModelError: If the model cannot be loaded, or returns numbers that are not finite.
        """
        ...

    async def tokenize(self, texts: Sequence[str], *, add_special_tokens: bool) -> list[list[Token]]:
        """Tokenise texts, each by itself."""
        ...

    @property
    def waiting(self) -> int:
        """Number of requests that wait or are being worked on."""
        ...

    def observe(self, observer: Callable[["SharedBatch"], None]) -> None:
        """
        Have every batch told that is scored after `warm_up`, of all models that share a queue with this one.

        :param observer: Called in the thread that scores; observers that are equal are told once.
        """
        ...

    def warm_up(self) -> ModelFacts:
        """Load the model and prepare it for inputs of the usual shapes; blocks until that is done."""
        ...

    def close(self) -> None:
        """Release the model."""
        ...
