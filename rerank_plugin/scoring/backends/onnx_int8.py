"""Static int8 for ONNX Runtime. Dynamic int8 would make a score depend on what else is in its batch."""

from pathlib import Path
from typing import Any

from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process

from rerank_plugin.scoring.backends.quantization_data import quantization_batches
from rerank_plugin.scoring.source import ModelSource
from rerank_plugin.scoring.tokens import Features


class _Batches(CalibrationDataReader):  # type: ignore[misc]
    def __init__(self, batches: list[Features]) -> None:
        self._batches = iter(batches)

    def get_next(self) -> dict[str, Any] | None:
        return next(self._batches, None)


def quantize(file: Path, source: ModelSource) -> None:
    """
    Replace a model in ONNX by its int8 copy.

    Only the matrix products with weights are quantised: those inside attention lose more than they gain.

    :param file: The model in float32; replaced.
    :param source: Where it comes from; its tokenizer makes the pairs.
    """
    prepared, quantized = file.with_suffix(".prepared.onnx"), file.with_suffix(".int8.onnx")
    quant_pre_process(str(file), str(prepared), skip_symbolic_shape=True)
    quantize_static(
        str(prepared),
        str(quantized),
        _Batches(quantization_batches(source.tokenizer)),
        quant_format=QuantFormat.QDQ,
        op_types_to_quantize=["MatMul", "Gemm"],
        per_channel=True,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
        extra_options={"MatMulConstBOnly": True},
    )
    quantized.replace(file)
    prepared.unlink()
