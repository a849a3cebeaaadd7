"""What a pipeline depends on besides its YAML and its index: model folders, Hub commits and calibrations."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rerank_plugin.errors import ModelError
from rerank_plugin.scoring.calibration import FILE_NAME as CALIBRATION_FILE
from rerank_plugin.scoring.loading.fingerprint import fingerprint_folder
from rerank_plugin.scoring.loading.spec import resolve_model


def model_fingerprints(data: Any) -> dict[str, str]:
    """
    Fingerprint the models that a pipeline loads, and their calibrations.

    A model in a folder is identified by its files, a Hub model by the commit in the Hub's cache. A Hub model has no commit
    before its first download: call again after it has been loaded.

    :param data: A pipeline or a part of one, as in its YAML.
    :returns: Fingerprints by model or file.
    """
    fingerprints: dict[str, str] = {}
    if isinstance(data, Mapping):
        model, calibration = data.get("model"), data.get("calibration")
        if isinstance(model, str):
            fingerprints |= _model(model, data.get("model_kwargs"))
        if isinstance(calibration, str):
            fingerprints |= _file(Path(calibration))
        for value in data.values():
            fingerprints |= model_fingerprints(value)
    return fingerprints


def _model(model: str, model_kwargs: Any) -> dict[str, str]:
    try:
        folder = Path(resolve_model(model))
    except ModelError:
        return {}  # loading it will report the error
    if folder.is_dir():
        # The calibration in a model's folder is no part of the model, but it decides about fusion, depth and thresholds.
        return {model: fingerprint_folder(folder, {}), **_file(folder / CALIBRATION_FILE)}
    revision = model_kwargs.get("revision") if isinstance(model_kwargs, Mapping) else None
    return {model: _commit_in_cache(model, revision)}


def _commit_in_cache(model: str, revision: str | None) -> str:
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        file = try_to_load_from_cache(model, "config.json", revision=revision)
    except HFValidationError:
        return "not a model of the Hub"
    # snapshots/COMMIT/config.json
    return Path(file).parent.name if isinstance(file, str) else "not downloaded"


def _file(path: Path) -> dict[str, str]:
    file = path.expanduser()
    try:
        return {str(path): hashlib.sha256(file.read_bytes()).hexdigest()[:32]}
    except OSError:
        return {}
