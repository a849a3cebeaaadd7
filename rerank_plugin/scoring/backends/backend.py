"""The backend protocol, what a backend is built from, and how many threads it may use."""

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import Generic, Protocol, TypeVar, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from rerank_plugin.scoring.batching import ShapeGrid
from rerank_plugin.scoring.forking import check_same_process
from rerank_plugin.scoring.tokens import Features

PreparedModel = TypeVar("PreparedModel")


@dataclass(frozen=True)
class BackendInput(Generic[PreparedModel]):
    """
    What a backend is built from.

    :param model: The model, in torch (`TorchModel`) or converted for this backend (`ConvertedModel`).
    :param precision: The requested precision, perhaps `auto`.
    :param num_threads: Threads; `None`: the backend decides.
    :param compile_torch: Whether the torch backend compiles the model.
    """

    model: PreparedModel
    precision: str
    num_threads: int | None = None
    compile_torch: bool = False


class Backend(Protocol):
    """
    Runs the network.

    :ivar precision: Its precision: `fp32`, `bf16`, `fp16` or `int8`.
    :ivar batch_tokens: Tokens of a batch, padding included, at which it is fastest; larger batches only take more memory.
    :ivar grid: Batch shapes that suit it. A coarse grid where every new shape costs preparation time.
    """

    precision: str
    batch_tokens: int
    grid: ShapeGrid

    def logits(self, features: Features) -> NDArray[np.float32]:
        """
        Score the pairs of one batch.

        :param features: Arrays of shape (pairs, tokens), int64, by input name.
        :returns: The raw output of the model, shape (pairs,), float32.
        """


@runtime_checkable
class StreamingBackend(Protocol):
    """A backend that computes several batches at once."""

    def stream(self, batches: Iterable[Features], count: int) -> Iterator[NDArray[np.float32]]:
        """
        Score batches.

        :param batches: See `Backend.logits`; each is fetched when the backend is ready for it.
        :param count: Number of batches.
        :returns: What `logits` would return for each batch, in order.
        """

    def prepare(self) -> None:
        """Make ready what `stream` needs, so that the first call does not wait for it."""


def logits_of(backend: Backend, batches: Iterable[Features], count: int) -> Iterator[NDArray[np.float32]]:
    """
    Score batches, several at once if the backend can; see `StreamingBackend.stream`.

    :raises ModelError: In a fork of the process that loaded the model; see `check_same_process`.
    """
    check_same_process()
    return backend.stream(batches, count) if isinstance(backend, StreamingBackend) else map(backend.logits, batches)


def available_processors(quota_file: Path = Path("/sys/fs/cgroup/cpu.max")) -> int:
    """
    Count the processors that this process may use; in a container these can be fewer than the machine has.

    :param quota_file: CPU limit of Linux control groups (version 2): quota and period.
    :returns: At least 1.
    """
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = quota_file.read_text(encoding="ascii").split()
        if quota != "max":
            allowed = min(allowed, ceil(int(quota) / int(period)))
    except (OSError, ValueError, ZeroDivisionError):
        pass  # no such group, so no limit
    return max(1, allowed)
