"""The cross-encoder in OpenVINO."""

import warnings
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import openvino
from numpy.typing import NDArray

from rerank_plugin.errors import InvalidValueError, ModelError, reason_of
from rerank_plugin.scoring.backends.backend import BackendInput, available_processors
from rerank_plugin.scoring.backends.gated_mlp import keep_apart
from rerank_plugin.scoring.backends.int8 import NNCF, quantize
from rerank_plugin.scoring.backends.streams import StreamFacts, choose_streams, usual_streams
from rerank_plugin.scoring.batching import ShapeGrid
from rerank_plugin.scoring.loading.converted import ConversionRecipe, ConvertedModel
from rerank_plugin.scoring.loading.torch_model import TorchModel
from rerank_plugin.scoring.tokens import Features

FILE = "model.xml"
# Larger batches take no less time per token, and leave a stream idle for longer at the end of a call.
BATCH_TOKENS = 1024
# Batches that wait for a stream: results are fetched in order, so a stream that has finished before another would be idle.
WAITING = 1
# Rows and tokens of the batches that are scored to try numbers of streams.
TRIED_SHAPE = (4, 64)
# OpenVINO compiles kernels for each new shape: about 1 ms, on some machines a quarter of the time of a batch.
GRID = ShapeGrid(width_step=16)


def recipe(precision: str) -> ConversionRecipe:
    """
    Return how a model is converted for OpenVINO. Weights are stored in float32 or int8; bf16 is chosen at run time.

    :param precision: A precision of the backend.
    :raises InvalidValueError: If bf16 is requested and the CPU does not support it.
    """
    _computes_in(precision)
    stored = "int8" if precision == "int8" else "fp32"

    def write(model: TorchModel, folder: Path) -> None:
        converted = _convert(model)
        if stored == "int8":
            converted = quantize(converted, model.tokenizer, model.tokenizer.input_spec.input_names)
        openvino.save_model(converted, folder / FILE, compress_to_fp16=False)

    needs = (NNCF,) if stored == "int8" else ()
    return ConversionRecipe("openvino", stored, f"openvino {openvino.__version__}", write, needs)


def has_bf16() -> bool:
    """Return whether the CPU computes in bf16."""
    return "BF16" in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


def _computes_in(precision: str) -> str:
    """Return `bf16` if the CPU supports it and fp32 is not requested, else `fp32`."""
    is_supported = has_bf16()
    if precision == "bf16" and not is_supported:
        raise InvalidValueError("this CPU does not support bf16: choose precision 'auto', 'fp32' or 'int8'")
    return "bf16" if is_supported and precision != "fp32" else "fp32"


class OpenVINOBackend:
    """
    Run the model in OpenVINO on the CPU.

    Precision `auto` is bf16 if the CPU supports it, else fp32. The layers of an int8 network that are not quantised compute
    in the same.

    :param source: The converted model, and how to run it.
    :raises InvalidValueError: If bf16 is requested and the CPU does not support it.
    :raises ModelError: If OpenVINO cannot read the model.
    """

    def __init__(self, source: BackendInput[ConvertedModel]) -> None:
        computing = _computes_in(source.precision)
        self.precision = computing if source.precision == "auto" else source.precision
        self.batch_tokens = BATCH_TOKENS
        self.grid = replace(GRID, own_width=self.precision != "fp32")
        self._threads = source.num_threads or available_processors()
        self._side_by_side: _SideBySide | None = None
        self._options = {
            # By default OpenVINO uses bf16 wherever it can, whatever precision was requested.
            "INFERENCE_PRECISION_HINT": "bf16" if computing == "bf16" else "f32",
            "INFERENCE_NUM_THREADS": self._threads,
        }
        self._core, self._file = openvino.Core(), source.model.folder / FILE
        try:
            self._alone = self._compile(self._threads, PERFORMANCE_HINT="LATENCY")
        except RuntimeError as error:
            raise ModelError(
                f"OpenVINO cannot read {self._file} ({reason_of(error)}): "
                "delete its folder, and the model is converted again"
            ) from error

    def logits(self, features: Features) -> NDArray[np.float32]:
        """Score the pairs of one batch, with all threads. See `Backend.logits`."""
        # A new request per call: threads may share the compiled model, but not a request.
        request = self._alone.create_infer_request()
        request.infer(features)
        return _scores(request)

    def stream(self, batches: Iterable[Features], count: int) -> Iterator[NDArray[np.float32]]:
        """Score batches, each with its own share of the threads. See `StreamingBackend.stream`."""
        streams = self._side_by_side.streams if self._side_by_side else usual_streams(self._threads)
        if count < 2 * streams:
            return map(self.logits, batches)
        self._side_by_side = self._side_by_side or self._compile_for(streams)
        return self._side_by_side.run(batches)

    def prepare(self) -> None:
        """Find out how many streams are fastest, and compile the model for them. See `StreamingBackend.prepare`."""
        if self._threads < 2 or self._side_by_side is not None:
            return
        count, tried = 2 * self._threads, self._features_to_try()
        compiled: dict[int, _SideBySide] = {}

        def seconds_of(streams: int) -> float:
            if streams not in compiled:
                compiled[streams] = self._compile_for(streams)
            began = perf_counter()
            deque(compiled[streams].run([tried] * count), maxlen=0)
            return perf_counter() - began

        def expected_seconds() -> float:
            self.logits(tried)  # compiles its kernels
            began = perf_counter()
            self.logits(tried)
            return count * (perf_counter() - began)

        chosen = choose_streams(self._choice, self._facts(), seconds_of, expected_seconds)
        if chosen not in compiled:
            compiled[chosen] = self._compile_for(chosen)
            deque(compiled[chosen].run([tried] * chosen), maxlen=0)  # the first batch of a stream is slow
        self._side_by_side = compiled[chosen]

    @property
    def _choice(self) -> Path:
        """Where the number of streams is kept: beside the folder of the conversion."""
        folder = self._file.parent
        return folder.with_name(f"{folder.name}.streams.json")

    def _facts(self) -> StreamFacts:
        runtime = f"openvino {openvino.__version__} {self._options['INFERENCE_PRECISION_HINT']}"
        return StreamFacts(self._core.get_property("CPU", "FULL_DEVICE_NAME"), self._threads, runtime)

    def _features_to_try(self) -> Features:
        names = [port.get_any_name() for port in self._alone.inputs]
        return {name: np.full(TRIED_SHAPE, name == "attention_mask", dtype=np.int64) for name in names}

    def _compile_for(self, streams: int) -> "_SideBySide":
        """
        Compile the model for so many batches at once.

        Threads that share a batch wait for each other at every layer: with one stream per thread, 100 passages took 15 %
        less time in bf16, 20 % in int8. It holds its own copy of the weights.
        """
        if streams == 1:
            return _SideBySide(1, self._alone)
        return _SideBySide(streams, self._compile(self._threads // streams, NUM_STREAMS=streams))

    def _compile(self, threads_per_batch: int, **options: Any) -> Any:
        """Compile the model for batches that get so many threads each."""
        model = self._core.read_model(self._file)
        if threads_per_batch == 1:
            keep_apart(model, openvino.opset13.clamp)
        return self._core.compile_model(model, "CPU", {**self._options, **options})


@dataclass(frozen=True)
class _SideBySide:
    """
    The model compiled for several batches at once.

    :param streams: How many.
    :param network: The compiled model.
    """

    streams: int
    network: Any

    def run(self, batches: Iterable[Features]) -> Iterator[NDArray[np.float32]]:
        """Score batches, and return their logits in order."""
        idle = [self.network.create_infer_request() for _ in range(self.streams + WAITING)]
        running: deque[openvino.InferRequest] = deque()
        try:
            for features in batches:
                if not idle:
                    request = running.popleft()
                    idle.append(request)
                    request.wait()
                    yield _scores(request)
                request = idle.pop()
                request.start_async(features)
                running.append(request)
            while running:
                request = running.popleft()
                request.wait()
                yield _scores(request)
        finally:
            for request in running:  # a consumer that stops early must not leave work running
                request.wait()


def _scores(request: "openvino.InferRequest") -> NDArray[np.float32]:
    scores: NDArray[np.float32] = request.get_output_tensor(0).data.reshape(-1).astype(np.float32)
    return scores


def _convert(model: TorchModel) -> Any:
    from rerank_plugin.scoring.backends.chain import LogitsNetwork

    names = model.tokenizer.input_spec.input_names
    network = LogitsNetwork(model.cross_encoder, names)
    with warnings.catch_warnings():
        # The tracer warns of Python branches in transformers' mask code; the parity tests cover them.
        warnings.simplefilter("ignore")
        converted = openvino.convert_model(network, example_input=network.example())
    for port, name in zip(converted.inputs, names, strict=True):
        port.get_tensor().set_names({name})
    return converted
