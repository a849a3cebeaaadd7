"""Static int8: NNCF measures the range of each activation on real pairs, once; dynamic int8 would do it for each batch."""

import logging
import sys
from contextlib import redirect_stdout
from typing import Any

from rerank_plugin.errors import MissingDependencyError
from rerank_plugin.scoring.backends.quantization_data import quantization_batches
from rerank_plugin.scoring.loading.source import ModelSource

try:
    import nncf
except ImportError as error:
    raise MissingDependencyError("precision 'int8' needs nncf: pip install 'rerank-plugin[int8]'") from error


def quantize(model: Any, source: ModelSource) -> Any:
    """
    Make an int8 copy of a model.

    :param model: The model in float32, of OpenVINO or ONNX.
    :param source: Where it comes from; its tokenizer makes the pairs.
    :returns: The model with int8 matrix products.
    """
    batches = quantization_batches(source.tokenizer)
    logging.getLogger("nncf").setLevel(logging.ERROR)  # it reports every layer that it looks at
    with redirect_stdout(sys.stderr):  # its progress bars would stand in the middle of a command's JSON
        return nncf.quantize(
            model,
            nncf.Dataset(batches),
            model_type=nncf.ModelType.TRANSFORMER,
            preset=nncf.QuantizationPreset.MIXED,
            subset_size=len(batches),
        )
