"""What a ranker loads on first use: the scorer, its cache and the calibration."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rerank_plugin.components.config import RankerConfig
from rerank_plugin.errors import InvalidValueError
from rerank_plugin.scoring.effort import EFFORTS
from rerank_plugin.scoring.forking import keep_forever, renew_after_fork
from rerank_plugin.scoring.limits import CallLimits

if TYPE_CHECKING:
    from rerank_plugin.scoring.calibration import Calibration
    from rerank_plugin.scoring.depth import DepthRule
    from rerank_plugin.scoring.exit_rule import ExitRule
    from rerank_plugin.scoring.second_stage import SecondStage


@dataclass(frozen=True)
class Engine:
    """
    A loaded second stage.

    :param stage: The second stage.
    :param calibration: The model's calibration.
    :param depth: When to stop early, in first-stage order; `None`: never.
    :param early_exit: What to score after a first look, and when to stop; `None`: there is none, or it has no rule.
    """

    stage: "SecondStage"
    calibration: "Calibration"
    depth: "DepthRule | None"
    early_exit: "ExitRule | None"


class EngineHolder:
    """
    Loads the engine on first use, and closes it when the last call that uses it has finished.

    :param config: The ranker's configuration.
    """

    def __init__(self, config: RankerConfig) -> None:
        self._config = config
        self._engine: Engine | None = None
        self._users: dict[int, int] = {}
        self._lock = threading.Lock()
        renew_after_fork(self)

    def after_fork(self) -> None:
        """Give up the parent's engine, and the lock, which the parent's threads would never release here."""
        self._lock = threading.Lock()
        if self._engine is not None:
            keep_forever(self._engine)
        self._engine, self._users = None, {}

    @property
    def loaded(self) -> Engine | None:
        """The engine if it is loaded, only to be asked for facts: it may be closed at any time."""
        return self._engine

    @contextmanager
    def borrow(self, limits: CallLimits | None = None) -> Iterator[Engine]:
        """
        Lend the engine to a call.

        :param limits: Limits of the call. The time spent loading the engine, by this or another call, is credited.
        :returns: The engine. It stays open until the `with` block ends, even if the holder is closed meanwhile.
        :raises RerankError: See `load_engine`.
        """
        limits = limits or CallLimits()
        began = limits.clock()
        with self._lock:
            engine = self._engine = self._engine or load_engine(self._config)
            self._users[id(engine)] = self._users.get(id(engine), 0) + 1
        limits.credit(limits.clock() - began)
        try:
            yield engine
        finally:
            with self._lock:
                # If the process was forked meanwhile, the engine belongs to the parent.
                if id(engine) in self._users:
                    self._users[id(engine)] -= 1
                    self._close_if_unused(engine)

    def close(self) -> None:
        """Release the engine. A later call loads it again."""
        with self._lock:
            engine, self._engine = self._engine, None
            if engine is not None:
                self._close_if_unused(engine)

    def _close_if_unused(self, engine: Engine) -> None:
        if engine is not self._engine and not self._users.get(id(engine)):
            self._users.pop(id(engine), None)
            engine.stage.close()


def load_engine(config: RankerConfig) -> Engine:
    """
    Load model, cache and calibration.

    :param config: The ranker's configuration.
    :returns: The engine.
    :raises ModelError: If the model cannot be loaded, or lacks the early-exit network that the configuration needs.
    :raises InvalidValueError: If a value does not fit the model.
    :raises InputFileError: If the calibration cannot be read.
    :raises ScoreCacheError: If the cache file cannot be used.
    """
    from rerank_plugin.scoring.cache import ScoreCache
    from rerank_plugin.scoring.calibration import load_calibration
    from rerank_plugin.scoring.scorer import load_first_look, load_scorer
    from rerank_plugin.scoring.second_stage import SecondStage

    calibration = load_calibration(config.calibration, config.model)
    depth, early_exit = _rules(config, calibration)
    spec, settings = config.model_spec(), config.scorer_settings()
    scorer = load_scorer(spec, settings)
    first_look = None
    if config.early_exit is not None or early_exit is not None:
        first_look = load_first_look(spec, settings, scorer)
    cache = None
    if config.score_cache is not None:
        cache = ScoreCache(config.score_cache, size=config.score_cache_size)
    return Engine(SecondStage(scorer, cache, first_look), calibration, depth, early_exit)


def _rules(config: RankerConfig, calibration: "Calibration") -> "tuple[DepthRule | None, ExitRule | None]":
    """Return when to stop: in first-stage order, or after a first look."""
    effort = EFFORTS[config.effort]
    if effort is not None and calibration.early_exit is not None:
        return None, calibration.early_exit.at(effort.gain)
    name = "adaptive_depth" if effort is None else "effort"
    confidence = config.adaptive_depth if effort is None else effort.documents
    if confidence is None:
        return None, None
    if calibration.depth is None:
        raise InvalidValueError(
            f"{name} needs a fitted stopping rule: run `rerank calibrate DATASET` and pass its file as calibration, or "
            f"leave {name} out"
        )
    return calibration.depth.at(confidence), None
