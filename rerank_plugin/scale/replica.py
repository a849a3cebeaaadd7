"""What runs in a process of the cluster: the engine of a model, whose refusals travel as values."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rerank_plugin.components.config import RankerConfig
from rerank_plugin.errors import InvalidValueError, ModelError, OverloadedError, RerankError
from rerank_plugin.serving.admission import Admission
from rerank_plugin.serving.engine import ModelFacts, RankRequest, RankResult, Token
from rerank_plugin.serving.local_engine import LocalEngine
from rerank_plugin.serving.problems import RequestError
from rerank_plugin.serving.token_limits import TokenLimits


@dataclass(frozen=True)
class Refusal:
    """
    Why a request was not answered. Errors lose what they carry, or their class, on the way through a cluster.

    :param message: What is wrong.
    :param retry_after: Seconds after which to try again, if too much was waiting.
    :param request: Status, kind and parameter, if the request is wrong.
    :param is_invalid: Whether a value cannot be used.
    """

    message: str
    retry_after: float | None = None
    request: tuple[int, str, str | None] | None = None
    is_invalid: bool = False

    @classmethod
    def of(cls, error: RerankError) -> "Refusal":
        """Return the refusal for an error."""
        if isinstance(error, OverloadedError):
            return cls(str(error), retry_after=error.retry_after)
        if isinstance(error, RequestError):
            return cls(str(error), request=(error.status, error.kind, error.param))
        return cls(str(error), is_invalid=isinstance(error, InvalidValueError))

    def error(self) -> RerankError:
        """Return the error again."""
        if self.retry_after is not None:
            return OverloadedError(self.message, retry_after=self.retry_after)
        if self.request is not None:
            status, kind, param = self.request
            return RequestError(self.message, status=status, kind=kind, param=param)
        return InvalidValueError(self.message) if self.is_invalid else ModelError(self.message)


class RankReplica:
    """
    A model, loaded and prepared: the cluster sends it requests only once this is made.

    :param parameters: Init parameters of `CrossEncoderRanker`.
    :param max_waiting: Requests that may wait or run here at the same time.
    :param max_wait: Seconds that a request may have to wait for its answer.
    """

    def __init__(self, parameters: dict[str, Any], *, max_waiting: int, max_wait: float) -> None:
        self._engine = LocalEngine(
            RankerConfig(**parameters),
            admission=Admission(max_requests=max_waiting, max_wait=max_wait),
            token_limits=TokenLimits(),
        )
        self._facts = self._engine.warm_up()

    async def rank(self, request: RankRequest) -> RankResult | Refusal:
        """Rank the texts of a request. See `RankEngine.rank`."""
        try:
            return await self._engine.rank(request)
        except RerankError as error:
            return Refusal.of(error)

    async def tokenize(self, texts: Sequence[str], add_special_tokens: bool) -> list[list[Token]] | Refusal:
        """Tokenise texts. See `RankEngine.tokenize`."""
        try:
            return await self._engine.tokenize(texts, add_special_tokens=add_special_tokens)
        except RerankError as error:
            return Refusal.of(error)

    async def facts(self) -> ModelFacts:
        """Return what a client may want to know of the model."""
        return self._facts
