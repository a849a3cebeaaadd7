"""The engine of a model whose replicas run in other processes: the service's app uses it like one in its own."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any

from ray.exceptions import RayActorError
from ray.serve.exceptions import BackPressureError

from rerank_plugin.errors import ModelError, OverloadedError
from rerank_plugin.scale.replica import Refusal
from rerank_plugin.serving.engine import ModelFacts, RankRequest, RankResult, Token

if TYPE_CHECKING:
    from rerank_plugin.scoring.work import SharedBatch

# How often a request is sent to another replica because its own has died, and seconds before the next time.
ATTEMPTS, PAUSE = 8, 0.25
RETRY_AFTER = 1.0


class RemoteEngine:
    """
    Ranks with the replicas of a deployment.

    Ranking changes nothing, so a request whose replica dies is sent to another one: its client notices nothing.

    :param handle: The handle of the deployment, of Ray Serve.
    """

    def __init__(self, handle: Any) -> None:
        self._handle = handle
        self._waiting = 0

    @property
    def waiting(self) -> int:
        """Number of requests that this process waits for."""
        return self._waiting

    def observe(self, observer: Callable[["SharedBatch"], None]) -> None:
        """Have batches told: none are scored in this process."""

    async def rank(self, request: RankRequest) -> RankResult:
        """Rank the texts of a request. See `RankEngine.rank`."""
        result: RankResult = await self._answer(lambda: self._handle.rank.remote(request))
        return result

    async def tokenize(self, texts: Sequence[str], *, add_special_tokens: bool) -> list[list[Token]]:
        """Tokenise texts. See `RankEngine.tokenize`."""
        tokens: list[list[Token]] = await self._answer(lambda: self._handle.tokenize.remote(list(texts), add_special_tokens))
        return tokens

    def warm_up(self) -> ModelFacts:
        """Wait for the first replica. See `RankEngine.warm_up`."""
        facts: ModelFacts = self._handle.facts.remote().result()
        return facts

    def close(self) -> None:
        """Release nothing: the replicas belong to the cluster."""

    async def _answer(self, send: Callable[[], Awaitable[Any]]) -> Any:
        self._waiting += 1
        try:
            for attempt in range(1, ATTEMPTS + 1):
                try:
                    answer = await send()
                except BackPressureError as error:
                    raise OverloadedError(
                        "too many requests are waiting for a replica: try again after the time in Retry-After",
                        retry_after=RETRY_AFTER,
                    ) from error
                except RayActorError as error:
                    if attempt == ATTEMPTS:
                        raise ModelError("no replica of the model stays alive: see the log of the cluster") from error
                    await asyncio.sleep(PAUSE * attempt)
                    continue
                if isinstance(answer, Refusal):
                    raise answer.error()
                return answer
        finally:
            self._waiting -= 1
