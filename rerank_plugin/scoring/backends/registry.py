"""Which backends there are, and which one `auto` means."""

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from rerank_plugin.errors import InvalidValueError
from rerank_plugin.scoring.tokens import Features

if TYPE_CHECKING:
    from sentence_transformers import CrossEncoder


class Backend(Protocol):
    """Runs the network."""

    def logits(self, features: Features) -> NDArray[np.float32]:
        """
        Score the pairs of one batch.

        :param features: Arrays of shape (pairs, tokens), int64, by input name.
        :returns: The raw output of the model, shape (pairs,), float32.
        """


@dataclass(frozen=True)
class LoadedModel:
    """
    What a backend is made from.

    :param cross_encoder: The model in torch, on the device that was asked for.
    :param input_names: Names of the arrays that the model reads, in the tokenizer's order.
    """

    cross_encoder: "CrossEncoder"
    input_names: tuple[str, ...]


BackendFactory = Callable[[LoadedModel], Backend]


def _torch(model: LoadedModel) -> Backend:
    backend: Backend = import_module("rerank_plugin.scoring.backends.torch_backend").TorchBackend(model)
    return backend


def _openvino(model: LoadedModel) -> Backend:
    backend: Backend = import_module("rerank_plugin.scoring.backends.openvino_backend").OpenVINOBackend(model)
    return backend


def _onnx(model: LoadedModel) -> Backend:
    backend: Backend = import_module("rerank_plugin.scoring.backends.onnx_backend").ONNXBackend(model)
    return backend


BACKENDS: dict[str, BackendFactory] = {"torch": _torch, "openvino": _openvino, "onnx": _onnx}
CPU_ONLY = ("openvino", "onnx")


def resolve_backend(name: str, *, device: str) -> str:
    """
    Say which backend a name means on a device.

    :param name: A key of `BACKENDS`, or `auto`: OpenVINO on a CPU, torch elsewhere.
    :param device: The torch device, for example `cpu` or `cuda:0`.
    :returns: A key of `BACKENDS`.
    :raises InvalidValueError: If there is no such backend, or it cannot run on the device.
    """
    if name == "auto":
        return "openvino" if device == "cpu" else "torch"
    if name not in BACKENDS:
        raise InvalidValueError(f"unknown backend {name!r}: choose one of {['auto', *sorted(BACKENDS)]}")
    if name in CPU_ONLY and device != "cpu":
        raise InvalidValueError(f"backend {name!r} runs on the CPU, not on {device!r}: choose 'torch', or device 'cpu'")
    return name
