"""What a ranker loads at `warm_up`: the scorer, its cache and the calibration."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from rerank_plugin.errors import InvalidValueError
from rerank_plugin.scoring.loading.spec import ModelSpec, resolve_model

if TYPE_CHECKING:
    from rerank_plugin.scoring.calibration import Calibration
    from rerank_plugin.scoring.depth import DepthRule
    from rerank_plugin.scoring.scorer import ScorerSettings
    from rerank_plugin.scoring.second_stage import SecondStage


@dataclass(frozen=True)
class EngineSettings:
    """
    What decides about the engine.

    :param spec: Which model.
    :param scorer: How to run it.
    :param calibration: `auto`, `none`, or a file.
    :param score_cache: `None`, `memory`, or a file.
    :param score_cache_size: Most scores in the cache.
    :param adaptive_depth: Confidence at which to stop early; `None`: never.
    :param early_exit: Candidates that get all layers; `None`: all of them.
    """

    spec: ModelSpec
    scorer: "ScorerSettings"
    calibration: str
    score_cache: str | None
    score_cache_size: int
    adaptive_depth: float | None
    early_exit: int | None


@dataclass(frozen=True)
class Engine:
    """
    A loaded second stage.

    :param stage: Scores.
    :param calibration: What is known about the model.
    :param depth: When to stop early; `None`: never.
    """

    stage: "SecondStage"
    calibration: "Calibration"
    depth: "DepthRule | None"


def load_engine(settings: EngineSettings) -> Engine:
    """
    Load model, cache and calibration.

    :param settings: What to load.
    :returns: The engine.
    :raises ModelError: If the model cannot be loaded, or has no early-exit head though it was asked for.
    :raises InvalidValueError: If a setting does not fit the model.
    :raises InputFileError: If the calibration cannot be read.
    :raises ScoreCacheError: If the cache's file cannot be used.
    """
    from rerank_plugin.scoring.score_cache import ScoreCache
    from rerank_plugin.scoring.scorer import load_scorer
    from rerank_plugin.scoring.second_stage import SecondStage

    calibration = _load_calibration(settings)
    depth = None
    if settings.adaptive_depth is not None:
        if calibration.depth is None:
            raise InvalidValueError(
                "adaptive_depth needs to know when to stop: fit it with `rerank calibrate DATASET` and give its file as "
                "calibration, or leave adaptive_depth out"
            )
        depth = calibration.depth.at(settings.adaptive_depth)
    scorer = load_scorer(settings.spec, settings.scorer)
    first_look = None
    if settings.early_exit is not None:
        first_look = load_scorer(replace(settings.spec, early_exit=True), settings.scorer)
    cache = None
    if settings.score_cache is not None:
        cache = ScoreCache(settings.score_cache, size=settings.score_cache_size)
    return Engine(SecondStage(scorer, cache, first_look), calibration, depth)


def _load_calibration(settings: EngineSettings) -> "Calibration":
    from rerank_plugin.scoring.calibration import FILE_NAME, Calibration

    if settings.calibration == "none":
        return Calibration()
    if settings.calibration != "auto":
        return Calibration.load(Path(settings.calibration).expanduser())
    own = Path(resolve_model(settings.spec.model)) / FILE_NAME
    return Calibration.load(own) if own.is_file() else Calibration()
