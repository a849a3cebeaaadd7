"""The cross-encoder in OpenVINO."""

import warnings
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import openvino
from numpy.typing import NDArray

from rerank_plugin.errors import InvalidValueError
from rerank_plugin.scoring.batching import ShapeGrid
from rerank_plugin.scoring.loading.source import ModelSource, available_processors
from rerank_plugin.scoring.tokens import Features

FILE = "model.xml"
BATCH_TOKENS = 2048
# More streams need more batches to be kept busy than a hundred passages give.
MOST_STREAMS = 4
# OpenVINO compiles kernels for each shape that it has not seen, which takes a quarter of the time of a batch.
GRID = ShapeGrid(width_step=16, powers_of_two=True)


class OpenVINOBackend:
    """
    Run the model in OpenVINO on the CPU.

    Precision `auto` is bf16 where the CPU has units for it, else fp32. The rest of an int8 network computes likewise.

    :param source: The model. Its converted copy is read from disk where there is one.
    :raises InvalidValueError: If bf16 was asked for and the CPU has none.
    """

    def __init__(self, source: ModelSource) -> None:
        core = openvino.Core()
        has_bf16 = "BF16" in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
        if source.precision == "bf16" and not has_bf16:
            raise InvalidValueError("this CPU has no units for bf16: choose precision 'auto', 'fp32' or 'int8'")
        computing = "bf16" if has_bf16 and source.precision != "fp32" else "fp32"
        self.precision = computing if source.precision == "auto" else source.precision
        self.batch_tokens = BATCH_TOKENS
        self.grid = replace(GRID, own_width=self.precision != "fp32")
        stored = "int8" if self.precision == "int8" else "fp32"

        def write(folder: Path) -> None:
            model = _convert(source)
            if stored == "int8":
                from rerank_plugin.scoring.backends.int8 import quantize

                model = quantize(model, source)
            openvino.save_model(model, folder / FILE, compress_to_fp16=False)

        folder = source.converted("openvino", stored, f"openvino {openvino.__version__}", write)
        self._threads = source.num_threads or available_processors()
        self._options = {
            # Left alone, OpenVINO takes bf16 wherever it can, whatever was asked for.
            "INFERENCE_PRECISION_HINT": "bf16" if computing == "bf16" else "f32",
            "INFERENCE_NUM_THREADS": self._threads,
        }
        self._core, self._file = core, folder / FILE
        self._alone = core.compile_model(self._file, "CPU", {**self._options, "PERFORMANCE_HINT": "LATENCY"})

    def logits(self, features: Features) -> NDArray[np.float32]:
        """Score the pairs of one batch, with all threads. See `Backend.logits`."""
        # A new request a call: the compiled model is shared between threads, a request must not be.
        request = self._alone.create_infer_request()
        request.infer(features)
        return _scores(request)

    def stream(self, batches: Iterable[Features], count: int) -> Iterator[NDArray[np.float32]]:
        """Score batches, each with its own share of the threads. See `StreamingBackend.stream`."""
        streams = min(self._threads, MOST_STREAMS)
        if streams < 2 or count < 2 * streams:
            yield from map(self.logits, batches)
            return
        idle = [self._side_by_side.create_infer_request() for _ in range(streams)]
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
            for request in running:  # whoever stopped asking must not leave work behind
                request.wait()

    @cached_property
    def _side_by_side(self) -> Any:
        """
        The model once more, compiled for several batches at once.

        Threads that share a batch wait for each other at every layer: with a stream for each thread, 100 passages took 15 %
        less time in bf16, 20 % in int8. Made when it is first needed, as it has a copy of the weights of its own.
        """
        streams = min(self._threads, MOST_STREAMS)
        return self._core.compile_model(self._file, "CPU", {**self._options, "NUM_STREAMS": streams})


def _scores(request: "openvino.InferRequest") -> NDArray[np.float32]:
    scores: NDArray[np.float32] = request.get_output_tensor(0).data.reshape(-1).astype(np.float32)
    return scores


def _convert(source: ModelSource) -> Any:
    from rerank_plugin.scoring.backends.tracing import LogitsNetwork

    names = source.tokenizer.input_spec.input_names
    network = LogitsNetwork(source.cross_encoder, names)
    with warnings.catch_warnings():
        # The tracer reports Python branches in transformers' mask code; the parity tests cover what they decide.
        warnings.simplefilter("ignore")
        converted = openvino.convert_model(network, example_input=network.example())
    for port, name in zip(converted.inputs, names, strict=True):
        port.get_tensor().set_names({name})
    return converted
