"""The available backends, their precisions, and what `auto` means."""

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from rerank_plugin.errors import InvalidValueError, MissingDependencyError
from rerank_plugin.scoring.backends.backend import Backend, BackendInput
from rerank_plugin.scoring.loading.converted import ConversionRecipe
from rerank_plugin.scoring.loading.device import CPU

# Each module imports its library, so it is imported only when its backend is chosen.
HERE = "rerank_plugin.scoring.backends"
CONVERTING = {"openvino": f"{HERE}.openvino_backend", "onnx": f"{HERE}.onnx_backend"}

BackendFactory = Callable[[BackendInput[Any]], Backend]


def _torch(source: BackendInput[Any]) -> Backend:
    backend: Backend = import_module(f"{HERE}.torch_backend").TorchBackend(source)
    return backend


def _openvino(source: BackendInput[Any]) -> Backend:
    backend: Backend = import_module(CONVERTING["openvino"]).OpenVINOBackend(source)
    return backend


def _onnx(source: BackendInput[Any]) -> Backend:
    backend: Backend = import_module(CONVERTING["onnx"]).ONNXBackend(source)
    return backend


BACKENDS: dict[str, BackendFactory] = {"torch": _torch, "openvino": _openvino, "onnx": _onnx}
# Backends that run on the CPU only, with the package that each needs and how to install it.
CPU_BACKENDS = {
    "openvino": ("openvino", "backend 'openvino' needs openvino: pip install openvino"),
    "onnx": ("onnxruntime", "backend 'onnx' needs onnxruntime: pip install 'rerank-plugin[onnx]'"),
}
PRECISIONS = {
    "torch": ("auto", "fp32", "bf16", "fp16"),
    "openvino": ("auto", "fp32", "bf16", "int8"),
    "onnx": ("auto", "fp32", "int8"),
}


def resolve_backend(name: str, *, device: str) -> str:
    """
    Resolve the name of a backend on a device.

    :param name: A key of `BACKENDS`, or `auto`: on a CPU OpenVINO if it is installed, else ONNX Runtime; torch elsewhere.
    :param device: The torch device, for example `cpu` or `cuda:0`.
    :returns: A key of `BACKENDS`.
    :raises InvalidValueError: If the backend is unknown, or cannot run on the device.
    :raises MissingDependencyError: If its package is not installed.
    """
    if name == "auto":
        installed = (backend for backend, (package, _) in CPU_BACKENDS.items() if find_spec(package))
        return next(installed, "torch") if device == "cpu" else "torch"
    if name not in BACKENDS:
        raise InvalidValueError(f"unknown backend {name!r}: choose one of {['auto', *sorted(BACKENDS)]}")
    if name in CPU_BACKENDS:
        package, message = CPU_BACKENDS[name]
        if device != "cpu":
            raise InvalidValueError(f"backend {name!r} runs on the CPU, not on {device!r}: choose 'torch', or device 'cpu'")
        if find_spec(package) is None:
            raise MissingDependencyError(message)
    return name


@dataclass(frozen=True)
class AutoChoice:
    """
    What `auto` means on this machine.

    :param device: The torch device.
    :param backend: The backend, a key of `BACKENDS`.
    :param backend_reason: Why.
    :param precision: The precision.
    :param precision_reason: Why.
    """

    device: str
    backend: str
    backend_reason: str
    precision: str
    precision_reason: str


def explain_auto(device: str) -> AutoChoice:
    """
    Explain which backend and precision `auto` selects.

    :param device: The torch device, for example `cpu` or `cuda:0`.
    """
    backend = resolve_backend("auto", device=device)
    if backend == "torch":
        if device != CPU:
            return AutoChoice(device, backend, "the others run on a CPU only", "fp16", "the fastest on an accelerator")
        return AutoChoice(device, backend, "neither openvino nor onnxruntime is installed", "fp32", "the default on a CPU")
    why = "the fastest of those installed for a CPU"
    if backend == "openvino" and import_module(CONVERTING[backend]).has_bf16():
        return AutoChoice(device, backend, why, "bf16", "this CPU computes in it")
    reason = "this CPU does not compute in bf16" if backend == "openvino" else "the default of the backend"
    return AutoChoice(device, backend, why, "fp32", reason)


def check_precision(precision: str, *, backend: str) -> None:
    """
    Check that a backend has a precision.

    :param precision: The requested precision.
    :param backend: A key of `BACKENDS`.
    :raises InvalidValueError: If it does not.
    """
    choices = PRECISIONS.get(backend, ("auto",))
    if precision not in choices:
        raise InvalidValueError(f"backend {backend!r} does not compute in {precision!r}: choose one of {list(choices)}")


def conversion_recipe(backend: str, precision: str) -> ConversionRecipe | None:
    """
    Return how models are converted for a backend.

    :param backend: A key of `BACKENDS`.
    :param precision: A precision of the backend.
    :returns: The recipe; `None` for a backend that runs the model in torch.
    :raises InvalidValueError: If the CPU does not support the precision.
    """
    if backend not in CONVERTING:
        return None
    recipe: ConversionRecipe = import_module(CONVERTING[backend]).recipe(precision)
    return recipe
