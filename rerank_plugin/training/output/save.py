"""Save a trained cross-encoder: half the size of float32, with the input length of its base model."""

import filecmp
import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rerank_plugin.training.fitting.load import dropout_names, reading_limit
from rerank_plugin.training.output.folder import CONFIG, stale_files
from rerank_plugin.training.writing import writing_to

if TYPE_CHECKING:
    from sentence_transformers import CrossEncoder

WEIGHTS = "model.safetensors"
PARTIAL = ".partial-model"  # in the same file system, so that files are moved and not copied


def save_half(model: "CrossEncoder", folder: Path, *, base: str) -> list[str]:
    """
    Save a model with float16 weights, in the layout of sentence-transformers.

    The config says float32, so that the model computes in float32 when loaded: in float16 a CPU is several times slower.
    Settings changed only for training (dropout, truncation of long pairs) are reset to those of the base model.

    The new model is written completely before anything in the folder changes. Then files of an earlier model (its
    calibration, early-exit network, converted copies, other weights) are removed, unless the weights are the same; files
    that do not belong to a model are kept.

    :param model: The trained model.
    :param folder: Target folder.
    :param base: Folder of the model that training started from.
    :returns: Names of the removed files of an earlier model.
    :raises OutputError: If the model cannot be written; the earlier model is kept.
    """
    from transformers import AutoConfig

    original = AutoConfig.from_pretrained(base)
    model.max_seq_length = reading_limit(base)
    partial = folder / PARTIAL
    remedy = "free some space, and run the same command again: the last checkpoint is kept"
    with writing_to(folder, remedy=remedy):
        shutil.rmtree(partial, ignore_errors=True)
        try:
            model.save_pretrained(str(partial), create_model_card=False)
            for weights in partial.rglob("*.safetensors"):
                _halve(weights)
            settings = original.to_dict()
            dropout = {name: settings[name] for name in dropout_names(settings)}
            _update_json(partial / CONFIG, {**dropout, "dtype": "float32"})
            return _replace_model(partial, folder)
        finally:
            shutil.rmtree(partial, ignore_errors=True)


def _replace_model(partial: Path, folder: Path) -> list[str]:
    """Replace the old files. While files of both models are present there is no config.json, so the mix cannot be loaded."""
    new = {path.relative_to(partial).as_posix() for path in partial.rglob("*") if path.is_file()}
    before, after = folder / WEIGHTS, partial / WEIGHTS
    is_same = before.is_file() and after.is_file() and filecmp.cmp(before, after, shallow=False)
    stale = [] if is_same else stale_files(folder, new)
    for path in stale:
        path.unlink()
    (folder / CONFIG).unlink(missing_ok=True)
    for name in sorted(new, key=lambda name: (name == CONFIG, name)):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (partial / name).replace(folder / name)
    return [path.relative_to(folder).as_posix() for path in stale]


def _halve(path: Path) -> None:
    import torch
    from safetensors.torch import load_file, save_file

    weights = load_file(path)
    halved = {name: tensor.half() if tensor.dtype == torch.float32 else tensor for name, tensor in weights.items()}
    save_file(halved, path, metadata={"format": "pt"})


def _update_json(path: Path, changes: dict[str, Any]) -> None:
    data = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps({**data, **changes}, indent=2) + "\n", encoding="utf-8")
