"""Find the damaged file in a model's folder, after loading has failed."""

import json
from pathlib import Path

from rerank_plugin.errors import reason_of

# sentence-transformers saves the modules of a chain in folders such as 2_Dense.
MODULE_FOLDERS = "[0-9]*_*"
SINGLE_FILES = ("config.json", "tokenizer_config.json", "tokenizer.json")


def find_damaged_file(folder: Path) -> str | None:
    """
    Check each file of a model, and of its modules.

    :param folder: The model's folder.
    :returns: Which file is damaged and how; `None` if no damage is visible.
    """
    modules = MODULE_FOLDERS + "/"
    for file in sorted([*folder.glob("*.json"), *folder.glob(modules + "*.json")]):
        reason = _json_damage(file)
        if reason is not None:
            return f"{file} {reason}"
    for file in sorted([*folder.glob("*.safetensors"), *folder.glob(modules + "*.safetensors")]):
        reason = _safetensors_damage(file)
        if reason is not None:
            return f"{file} {reason}"
    pickles = sorted(folder.glob("*.bin"))
    if any(folder.glob("*.safetensors")):
        return None  # pickled copies beside it are not read
    if not pickles:
        return f"{folder} has no weights (model.safetensors)"
    return next((f"{file} {reason}" for file in pickles if (reason := _pickle_damage(file)) is not None), None)


def _json_damage(file: Path) -> str | None:
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (ValueError, RecursionError, OSError) as error:
        return f"is damaged ({reason_of(error, named=True)})"
    if file.name in SINGLE_FILES and not isinstance(content, dict):
        return f"is damaged (it holds a {type(content).__name__} instead of an object)"
    if file.name == "tokenizer.json":
        from tokenizers import Tokenizer

        try:
            Tokenizer.from_file(str(file))
        except Exception as error:  # noqa: BLE001 - the library raises no narrower class
            return f"is not a tokenizer ({reason_of(error)})"
    return None


def _safetensors_damage(file: Path) -> str | None:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(file, framework="numpy") as tensors:
            tensors.keys()
    except (SafetensorError, OSError, ValueError) as error:
        return f"is cut or damaged ({error})"
    return None


def _pickle_damage(file: Path) -> str | None:
    import torch

    try:
        torch.load(file, map_location="meta", weights_only=True)
    except Exception:  # noqa: BLE001 - whatever the unpickler raises for garbage
        return "is a pickle that holds more than weights, or is damaged (nothing in it was executed)"
    return None
