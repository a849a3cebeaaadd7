"""Find the damaged file in a model's folder, once loading has failed."""

import json
from pathlib import Path

SINGLE_FILES = ("config.json", "tokenizer_config.json", "tokenizer.json")


def find_damaged_file(folder: Path) -> str | None:
    """
    Look at each file of a model by itself.

    :param folder: The model's folder.
    :returns: Which file is damaged and how; `None` if none is, as far as can be seen.
    """
    for file in sorted(folder.glob("*.json")):
        reason = _json_damage(file)
        if reason is not None:
            return f"{file} {reason}"
    for file in sorted(folder.glob("*.safetensors")):
        reason = _safetensors_damage(file)
        if reason is not None:
            return f"{file} {reason}"
    weights = [*folder.glob("*.safetensors"), *folder.glob("*.bin")]
    if not weights:
        return f"{folder} has no weights (model.safetensors)"
    empty = [file for file in weights if file.stat().st_size == 0]
    return f"{empty[0]} is empty" if empty else None


def _json_damage(file: Path) -> str | None:
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (ValueError, RecursionError, OSError) as error:
        return f"is damaged ({type(error).__name__}: {' '.join(str(error).split())})"
    if file.name in SINGLE_FILES and not isinstance(content, dict):
        return f"is damaged (it holds no object, but a {type(content).__name__})"
    if file.name == "tokenizer.json":
        from tokenizers import Tokenizer

        try:
            Tokenizer.from_file(str(file))
        except Exception as error:  # noqa: BLE001 - the library raises no narrower class
            return f"is no tokenizer ({' '.join(str(error).split())})"
    return None


def _safetensors_damage(file: Path) -> str | None:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(file, framework="numpy") as tensors:
            tensors.keys()
    except (SafetensorError, OSError, ValueError) as error:
        return f"is cut or damaged ({error})"
    return None
