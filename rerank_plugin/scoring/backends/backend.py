"""What a backend is, what it is made from, and how many threads it may use."""

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
    What a backend is made from.

    :param model: The model, in torch (`TorchModel`) or converted for this backend (`ConvertedModel`).
    :param precision: The precision that was asked for, perhaps `auto`.
    :param num_threads: Threads; `None` leaves it to the backend.
    :param compile_torch: Whether the torch backend compiles the model.
    """

    model: PreparedModel
    precision: str
    num_threads: int | None = None
    compile_torch: bool = False


class Backend(Protocol):
    """
    Runs the network.

    :ivar precision: What it computes in: `fp32`, `bf16`, `fp16` or `int8`.
    :ivar batch_tokens: Tokens of a batch, padding included, at which it is fastest; more brings nothing but memory.
    :ivar grid: Shapes of batches that it likes. A coarse one where a new shape costs time to prepare for.
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

        :param batches: See `Backend.logits`; each is asked for when the backend is ready for it.
        :param count: How many there are.
        :returns: For each batch what `logits` would return, in order.
        """


def logits_of(backend: Backend, batches: Iterable[Features], count: int) -> Iterator[NDArray[np.float32]]:
    """
    Score batches, several at once where the backend can; see `StreamingBackend.stream`.

    :raises ModelError: In a fork of the process that loaded the model; see `check_same_process`.
    """
    check_same_process()
    return backend.stream(batches, count) if isinstance(backend, StreamingBackend) else map(backend.logits, batches)


def available_processors(quota_file: Path = Path("/sys/fs/cgroup/cpu.max")) -> int:
    """
    Count the processors that this process may use, which in a container are fewer than the machine has.

    :param quota_file: Where Linux' control groups (version 2) say which share of time they allow: quota and period.
    :returns: At least 1.
    """
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = quota_file.read_text(encoding="ascii").split()
        if quota != "max":
            allowed = min(allowed, ceil(int(quota) / int(period)))
    except (OSError, ValueError, ZeroDivisionError):
        pass  # no such group: nothing is rationed
    return max(1, allowed)
