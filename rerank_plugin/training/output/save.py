"""Save a trained cross-encoder: half the size of float32, and ready for full-length input."""

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rerank_plugin.training.fitting.load import dropout_names

if TYPE_CHECKING:
    from sentence_transformers import CrossEncoder

WEIGHTS = "model.safetensors"
CONFIG = "config.json"


def save_half(model: "CrossEncoder", folder: Path, *, base: str) -> None:
    """
    Save a model with float16 weights, in the layout of sentence-transformers.

    The config says float32, so that it computes in float32 wherever it is loaded: in float16 a CPU is several times slower.
    What was changed for training alone (dropout, the cut of long pairs) is as in the base model again.

    :param model: The trained model.
    :param folder: Where to; files of an earlier model in it are replaced, each in one step.
    :param base: The model that training started from.
    """
    from transformers import AutoConfig

    original = AutoConfig.from_pretrained(base)
    model.max_seq_length = min(512, original.max_position_embeddings)
    partial = folder / "partial"
    shutil.rmtree(partial, ignore_errors=True)
    model.save_pretrained(str(partial), create_model_card=False)
    _halve(partial / WEIGHTS)
    settings = original.to_dict()
    dropout = {name: settings[name] for name in dropout_names(settings)}
    _update_json(partial / CONFIG, {**dropout, "dtype": "float32"})
    for file in sorted(partial.iterdir()):
        file.replace(folder / file.name)
    partial.rmdir()


def _halve(path: Path) -> None:
    import torch
    from safetensors.torch import load_file, save_file

    weights = load_file(path)
    halved = {name: tensor.half() if tensor.dtype == torch.float32 else tensor for name, tensor in weights.items()}
    save_file(halved, path, metadata={"format": "pt"})


def _update_json(path: Path, changes: dict[str, Any]) -> None:
    data = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps({**data, **changes}, indent=2) + "\n", encoding="utf-8")
