"""The grid of second-stage settings that a sweep tries."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from importlib.util import find_spec
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rerank_plugin.checks import shown
from rerank_plugin.errors import InvalidValueError
from rerank_plugin.evaluation.candidates import NO_FUSION, FusionSetting
from rerank_plugin.scoring.backends.registry import PRECISIONS
from rerank_plugin.scoring.fusion import FUSIONS, fusions_of
from rerank_plugin.scoring.windows import AGGREGATIONS

DEEPEST = 1_000_000
USUAL_FUSIONS = ("none", "log_linear:0.3", "log_linear:0.5", "log_linear:0.7", "linear:0.5", "linear:0.8", "rrf:0.5")


@dataclass(frozen=True)
class Grid:
    """
    The values of each setting; a sweep tries all combinations.

    :param candidates: Depths of the first stage.
    :param precision: See `CrossEncoderRanker`.
    :param windows: See its `window_aggregation`.
    :param fusion: See its `fusion`; with a weight, as in `log_linear:0.5`. Empty: what `usual_fusions` returns.
    """

    candidates: tuple[int, ...] = (10, 20, 50, 100, 200)
    precision: tuple[str, ...] = ("auto", "int8") if find_spec("nncf") else ("auto",)
    windows: tuple[str, ...] = ("max", "truncate")
    fusion: tuple[str, ...] = ()

    @classmethod
    def parse(cls, texts: Sequence[str]) -> "Grid":
        """
        Read a grid from the command line.

        :param texts: Such as `candidates=10,50`; settings not named keep their defaults.
        :raises InvalidValueError: If a name or a value is invalid.
        """
        names = [field.name for field in fields(cls)]
        given: dict[str, Any] = {}
        for text in texts:
            name, equals, values = text.partition("=")
            choices = tuple(dict.fromkeys(value.strip() for value in values.split(",") if value.strip()))
            if name not in names or not equals or not choices:
                raise InvalidValueError(f"--grid {shown(text)}: write NAME=VALUE,VALUE with one of {names} as NAME")
            given[name] = choices
        if "candidates" in given:
            given["candidates"] = tuple(sorted({_depth(value) for value in given["candidates"]}))
        grid = cls(**given)
        known = sorted({precision for choices in PRECISIONS.values() for precision in choices})
        for name, allowed in (("precision", known), ("windows", AGGREGATIONS)):
            for value in getattr(grid, name):
                if value not in allowed:
                    raise InvalidValueError(f"--grid {name}: unknown value {shown(value)}: choose one of {list(allowed)}")
        for fusion in grid.fusion:
            parse_fusion(fusion)
        return grid


def _depth(text: str) -> int:
    if not text.isdecimal() or len(text) > len(str(DEEPEST)) or not 1 <= int(text) <= DEEPEST:
        raise InvalidValueError(f"--grid candidates={shown(text)}: give whole numbers from 1 to {DEEPEST}")
    return int(text)


@dataclass(frozen=True)
class Setting:
    """
    A point of the grid.

    :param candidates: Depth of the first stage.
    :param precision: Precision of the model.
    :param windows: How the windows of long passages are aggregated.
    :param fusion: `none`, or method and weight.
    """

    candidates: int
    precision: str
    windows: str
    fusion: str

    def __str__(self) -> str:
        return f"{self.candidates} candidates, {self.precision}, {self.windows}, fusion {self.fusion}"

    @property
    def ranker_parameters(self) -> dict[str, Any]:
        """The init parameters that give `CrossEncoderRanker` this setting."""
        chosen = parse_fusion(self.fusion)
        # Without a fusion, a weight in the pipeline's file has to go: the ranker refuses one that has no effect.
        fusion: dict[str, Any] = {"fusion": chosen.method, "fusion_weight": None}
        if chosen != NO_FUSION:
            fusion["fusion_weight"] = chosen.weight
        return {"precision": self.precision, "window_aggregation": self.windows, **fusion}


def usual_fusions(first_scores: NDArray[np.float64]) -> tuple[str, ...]:
    """
    Return the fusions that are tried unless others are named: those that the first stage's scores allow.

    :param first_scores: Of all candidates, `nan` where there is none.
    """
    possible = (NO_FUSION.method, *fusions_of(first_scores))
    return tuple(text for text in USUAL_FUSIONS if parse_fusion(text).method in possible)


def parse_fusion(text: str) -> FusionSetting:
    """
    Read a fusion with its weight.

    :param text: `none`, or METHOD:WEIGHT such as `log_linear:0.5`.
    :returns: Method, and weight of the second stage.
    :raises InvalidValueError: If it is neither.
    """
    method, colon, weight = text.partition(":")
    try:
        value = float(weight) if colon else NO_FUSION.weight
    except ValueError:
        value = -1.0
    if method not in FUSIONS or (method == NO_FUSION.method) == bool(colon) or not 0 <= value <= 1:
        raise InvalidValueError(
            f"fusion {shown(text)}: write none, or METHOD:WEIGHT such as log_linear:0.5 with a weight from 0 to 1"
        )
    return FusionSetting(method, value)
