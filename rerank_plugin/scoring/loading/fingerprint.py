"""Identify models by what they compute, not by name."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

# Files that a model's outputs depend on: not the model card, a calibration, or converted copies.
SUFFIXES = {".safetensors", ".bin", ".json", ".txt", ".model", ".py", ".jinja"}
FILES_WITHOUT_EFFECT = {"calibration.json"}
FOLDERS_WITHOUT_EFFECT = ("checkpoint-", "onnx", "openvino", "runs")
BLOCK = 1 << 20


def fingerprint_folder(folder: Path, settings: Mapping[str, Any]) -> str:
    """
    Hash the files of a model.

    :param folder: The model's folder.
    :param settings: Other settings that its outputs depend on, such as keyword arguments of loading.
    :returns: 32 hexadecimal digits.
    """
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True, default=str).encode())
    for file in sorted(folder.rglob("*")):
        relative = file.relative_to(folder)
        has_no_effect = relative.name in FILES_WITHOUT_EFFECT or any(
            name.startswith(FOLDERS_WITHOUT_EFFECT) for name in relative.parts[:-1]
        )
        if file.suffix not in SUFFIXES or has_no_effect or not file.is_file():
            continue
        digest.update(f"\0{relative.as_posix()}\0{file.stat().st_size}\0".encode())
        with file.open("rb") as stream:
            while block := stream.read(BLOCK):
                digest.update(block)
    return digest.hexdigest()[:32]


def fingerprint_name(name: str, settings: Mapping[str, Any]) -> str:
    """
    Hash the name of a model that cannot change, such as a Hub id with its commit.

    :param name: The name.
    :param settings: See `fingerprint_folder`.
    :returns: 32 hexadecimal digits.
    """
    return hashlib.sha256(json.dumps([name, settings], sort_keys=True, default=str).encode()).hexdigest()[:32]
