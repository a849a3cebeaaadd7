"""The pipelines of the server as a visitor wants them: with another fusion or precision, or without the second stage."""

import threading
from collections import OrderedDict
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from rerank_plugin.components.ranker import CrossEncoderRanker
from rerank_plugin.pipelines import build_pipeline
from rerank_plugin.pipelines.yaml_file import init_parameters
from rerank_plugin.scoring.calibration import Calibration, load_calibration
from rerank_plugin.search import Searcher
from rerank_plugin.serving.problems import RequestError
from rerank_plugin.serving.search_service import SearchService

if TYPE_CHECKING:
    from typing import Any

# Each holds a model of its own in memory.
MOST_KEPT = 3


@dataclass(frozen=True)
class Variant:
    """
    A pipeline as a visitor wants it; `None` means as configured.

    :param pipeline: Its name.
    :param fusion: How the rankings of both stages are combined.
    :param precision: The precision of the model.
    """

    pipeline: str
    fusion: str | None = None
    precision: str | None = None


@dataclass(frozen=True)
class Prepared:
    """
    A pipeline that is ready to search.

    :param searcher: Runs it.
    """

    searcher: Searcher

    @property
    def ranker(self) -> CrossEncoderRanker | None:
        """Its cross-encoder; `None`: it has none, or one of another library."""
        ranker = self.searcher.ranker
        return ranker if isinstance(ranker, CrossEncoderRanker) else None

    @cached_property
    def calibration(self) -> Calibration:
        """The calibration of the ranker."""
        assert self.ranker is not None, "only a ranker is calibrated"
        return load_calibration(self.ranker.config.calibration, self.ranker.config.model)

    @property
    def is_calibrated(self) -> bool:
        """Whether its probabilities were fitted on judged queries."""
        return self.ranker is not None and bool(self.calibration.fitted_on)

    @property
    def hides_candidates(self) -> bool:
        """Whether the number of hits decides how many candidates are scored."""
        return self.ranker is not None and self.ranker.config.saves_work

    def probabilities(self, query: str, texts: Sequence[str]) -> list[float] | None:
        """
        Score texts for a query.

        :returns: Probabilities; `None` without a cross-encoder.
        """
        if self.ranker is None:
            return None
        logits = np.array(self.ranker.logits(query, list(texts)), dtype=np.float64)
        return [float(value) for value in self.calibration.probabilities(logits)]


class Variants:
    """
    Builds pipelines as they are asked for, and keeps the last few.

    :param service: Has the server's pipelines.
    """

    def __init__(self, service: SearchService) -> None:
        self._service = service
        self._lock = threading.Lock()
        self._own: dict[str, Prepared] = {}
        self._kept: OrderedDict[Variant, Prepared] = OrderedDict()

    def get(self, variant: Variant) -> Prepared:
        """
        Return a pipeline, building it and loading its model if need be.

        :param variant: The pipeline.
        :raises RequestError: If it has no ranker whose settings could be changed.
        :raises RerankError: If the model does not run so.
        """
        name = variant.pipeline
        with self._lock:
            if variant == Variant(name):
                if name not in self._own:
                    self._own[name] = Prepared(self._service.searcher(name))
                return self._own[name]
            if variant not in self._kept:
                self._kept[variant] = self._build(variant)
                while len(self._kept) > MOST_KEPT:
                    _, dropped = self._kept.popitem(last=False)
                    if dropped.ranker is not None:
                        dropped.ranker.close()
            self._kept.move_to_end(variant)
            return self._kept[variant]

    def close(self) -> None:
        """Release the models."""
        with self._lock:
            for prepared in self._kept.values():
                if prepared.ranker is not None:
                    prepared.ranker.close()
            self._kept.clear()

    def definition(self, variant: Variant) -> "dict[str, Any]":
        """
        Return what the YAML of a variant says.

        :param variant: The pipeline.
        :raises RequestError: If it has no ranker whose settings could be changed.
        """
        data = deepcopy(self._service.definition(variant.pipeline))
        changes = {"fusion": variant.fusion, "precision": variant.precision}
        wanted = {name: value for name, value in changes.items() if value is not None}
        rankers = list(init_parameters(data, f".{CrossEncoderRanker.__name__}"))
        if wanted and not rankers:
            raise RequestError(f"pipeline {variant.pipeline!r} has no CrossEncoderRanker: leave out {', '.join(wanted)}")
        for parameters in rankers:
            parameters.update(wanted)
            if variant.fusion is not None:
                parameters.pop("fusion_weight", None)  # it was chosen for another fusion
        return data

    def _build(self, variant: Variant) -> Prepared:
        name = variant.pipeline
        searcher = Searcher(build_pipeline(self.definition(variant), name=name), name=f"pipeline {name}")
        searcher.warm_up()
        return Prepared(searcher)
