"""Which backends there are, which precisions they compute in, and what `auto` means."""

from collections.abc import Callable, Iterable, Iterator
from importlib import import_module
from importlib.util import find_spec
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from rerank_plugin.errors import InvalidValueError
from rerank_plugin.scoring.batching import ShapeGrid
from rerank_plugin.scoring.loading.source import ModelSource
from rerank_plugin.scoring.tokens import Features


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
    """Score batches, several at once where the backend can; see `StreamingBackend.stream`."""
    return backend.stream(batches, count) if isinstance(backend, StreamingBackend) else map(backend.logits, batches)


BackendFactory = Callable[[ModelSource], Backend]


def _torch(source: ModelSource) -> Backend:
    backend: Backend = import_module("rerank_plugin.scoring.backends.torch_backend").TorchBackend(source)
    return backend


def _openvino(source: ModelSource) -> Backend:
    backend: Backend = import_module("rerank_plugin.scoring.backends.openvino_backend").OpenVINOBackend(source)
    return backend


def _onnx(source: ModelSource) -> Backend:
    backend: Backend = import_module("rerank_plugin.scoring.backends.onnx_backend").ONNXBackend(source)
    return backend


BACKENDS: dict[str, BackendFactory] = {"torch": _torch, "openvino": _openvino, "onnx": _onnx}
CPU_ONLY = ("openvino", "onnx")
PRECISIONS = {
    "torch": ("auto", "fp32", "bf16", "fp16"),
    "openvino": ("auto", "fp32", "bf16", "int8"),
    "onnx": ("auto", "fp32", "int8"),
}


def resolve_backend(name: str, *, device: str) -> str:
    """
    Say which backend a name means on a device.

    :param name: A key of `BACKENDS`, or `auto`: on a CPU OpenVINO if it is installed, else ONNX Runtime; torch elsewhere.
    :param device: The torch device, for example `cpu` or `cuda:0`.
    :returns: A key of `BACKENDS`.
    :raises InvalidValueError: If there is no such backend, or it cannot run on the device.
    """
    if name == "auto":
        installed = (backend for backend, module in (("openvino", "openvino"), ("onnx", "onnxruntime")) if find_spec(module))
        return next(installed, "torch") if device == "cpu" else "torch"
    if name not in BACKENDS:
        raise InvalidValueError(f"unknown backend {name!r}: choose one of {['auto', *sorted(BACKENDS)]}")
    if name in CPU_ONLY and device != "cpu":
        raise InvalidValueError(f"backend {name!r} runs on the CPU, not on {device!r}: choose 'torch', or device 'cpu'")
    return name


def check_precision(precision: str, *, backend: str) -> None:
    """
    Check that a backend has a precision.

    :param precision: What was asked for.
    :param backend: A key of `BACKENDS`.
    :raises InvalidValueError: If it has not.
    """
    choices = PRECISIONS.get(backend, ("auto",))
    if precision not in choices:
        raise InvalidValueError(f"backend {backend!r} does not compute in {precision!r}: choose one of {list(choices)}")
