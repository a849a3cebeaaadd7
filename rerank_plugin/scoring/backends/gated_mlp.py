"""A fault of OpenVINO with gated feed-forward layers on one thread, and the way round it."""

from collections.abc import Callable
from typing import Any

# Beyond every activation: the clamp changes no value.
LARGEST = 3.0e38
ACTIVATIONS = ("Swish", "Gelu")


def keep_apart(model: Any, clamp: Callable[[Any, float, float], Any]) -> None:
    """
    Keep OpenVINO from fusing gated feed-forward layers, as language models have them.

    On CPUs with AMX it fuses such a layer into one operation in bf16, which divides by zero and ends the process if it has
    one thread only (OpenVINO 2025.4 to 2026.4, https://github.com/openvinotoolkit/openvino/issues/33300). A clamp between
    the gate and the last product, which changes no value, is not part of the pattern that it looks for.

    :param model: The model, changed in place.
    :param clamp: OpenVINO's operation.
    """
    for product in model.get_ordered_ops():
        if product.get_type_name() != "MatMul":
            continue
        gated = product.input_value(0)
        if gated.get_node().get_type_name() == "Multiply" and _has_activation(gated.get_node()):
            product.input(0).replace_source_output(clamp(gated, -LARGEST, LARGEST).output(0))


def _has_activation(multiply: Any) -> bool:
    return any(value.get_node().get_type_name() in ACTIVATIONS for value in multiply.input_values())
