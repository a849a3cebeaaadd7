"""The models of a server, by the names that clients may use for them."""

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rerank_plugin.serving.engine import ModelFacts, RankEngine

if TYPE_CHECKING:
    from rerank_plugin.scoring.work import SharedBatch

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class ServedModel:
    """
    A model of a server.

    :param name: Its name.
    :param engine: What ranks with it.
    """

    name: str
    engine: RankEngine


class ServedModels:
    """
    The models of a server. A name that is none of theirs means the first: clients have names of other servers built in.

    :param engines: At least one, by name; the first is the default.
    :ivar facts: Of the models that are ready.
    :ivar failure: Why a model could not be made ready.
    """

    def __init__(self, engines: Mapping[str, RankEngine]) -> None:
        self._models = {name: ServedModel(name, engine) for name, engine in engines.items()}
        self.facts: dict[str, ModelFacts] = {}
        self.failure: Exception | None = None

    @property
    def default(self) -> ServedModel:
        """The model for any other name."""
        return next(iter(self._models.values()))

    @property
    def names(self) -> list[str]:
        """The names, the default first."""
        return list(self._models)

    @property
    def are_ready(self) -> bool:
        """Whether all are loaded and prepared."""
        return len(self.facts) == len(self._models)

    @property
    def waiting(self) -> int:
        """Number of requests that wait or are being worked on."""
        return sum(model.engine.waiting for model in self._models.values())

    def get(self, name: str | None) -> ServedModel:
        """Return the model for the name that a client sent."""
        return self._models.get(name or "", self.default)

    def observe(self, observer: Callable[["SharedBatch"], None]) -> None:
        """Have every scored batch told. See `RankEngine.observe`."""
        for model in self._models.values():
            model.engine.observe(observer)

    async def warm_up(self) -> None:
        """Load and prepare all models, one after the other. What goes wrong is kept in `failure`."""
        for name, model in self._models.items():
            try:
                self.facts[name] = await asyncio.to_thread(model.engine.warm_up)
            except Exception as error:  # noqa: BLE001 - raised by whoever started the server
                logger.error("model %s cannot be used: %s", name, error)
                self.failure = error
                return
            logger.info("model %s is ready: %s", name, self.facts[name].backend)

    async def close(self) -> None:
        """Release all models."""
        for model in self._models.values():
            await asyncio.to_thread(model.engine.close)
