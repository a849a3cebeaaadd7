"""Diagnostics for an issue report: the installation, what `auto` means here, the models, the Hub, and an index."""

import platform
import shutil
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from rerank_plugin import __version__
from rerank_plugin.components.config import RankerConfig
from rerank_plugin.errors import StoreError
from rerank_plugin.files import cache_folder
from rerank_plugin.pipelines import PACKAGED_MODEL, packaged_model
from rerank_plugin.scoring.backends import explain_auto
from rerank_plugin.scoring.backends.backend import available_processors
from rerank_plugin.scoring.languages import declared_languages, main_script, reads
from rerank_plugin.scoring.loading.hub import cached_weights, hub_state
from rerank_plugin.scoring.loading.spec import DEFAULT_MODEL, bundled_models
from rerank_plugin.store import HybridDocumentStore

# Packages that are always there, and the others with the extra that installs each and what it is for.
REQUIRED = ("haystack-ai", "sentence-transformers", "transformers", "torch", "openvino", "faiss-cpu", "tantivy")
OPTIONAL = {
    "onnxruntime": ("onnx", "backend onnx"),
    "nncf": ("int8", "precision int8"),
    "python-docx": ("office", "Word, PowerPoint and Excel files"),
    "datasets": ("train", "training"),
    "ir-measures": ("eval", "evaluation"),
}
RECALL_AT, GOOD_RECALL = 10, 0.95
PASSAGES_LOOKED_AT, PASSAGE_CHARACTERS = 100, 200
# Bytes: a converted model takes about 100 MB.
LITTLE_SPACE = 1_000_000_000


@dataclass(frozen=True)
class Row:
    """
    A fact, and what to do about it.

    :param name: Its name.
    :param value: Its value.
    :param advice: What to do; empty if it is good.
    """

    name: str
    value: Any
    advice: str = ""


def examine_installation() -> dict[str, list[Row]]:
    """Return versions, what `auto` selects on this machine, the models, and whether the Hub can be reached."""
    return {"versions": _versions(), "machine": _machine(), "models": _models()}


def examine_index(folder: Path) -> list[Row]:
    """
    Return the size, the settings and the health of an index.

    Every document is read and compared with its checksum.

    :param folder: The index.
    :raises StoreError: If there is no index, or it cannot be read.
    """
    with closing(HybridDocumentStore(folder)) as store:
        if not store.exists:
            raise StoreError(f"there is no index in {folder}: create one with `rerank index PATH... --index {folder}`")
        try:
            store.verify()
        except StoreError as error:
            return [Row("folder", str(folder)), Row("damage", "the index cannot be used", str(error))]
        documents, embedded = store.count_documents(), store.count_embeddings()
        settings = ", ".join(f"{name} {value}" for name, value in store.settings().items() if value not in (None, False))
        fill = f"fill it: rerank index PATH... --index {folder}"
        size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
        return [
            Row("folder", str(folder)),
            Row("documents", documents, "" if documents else fill),
            Row("damage", "none: every document was read and checked"),
            Row("embeddings", embedded, _about_embeddings(documents, embedded)),
            *_vectors(store),
            *([_script(store)] if documents else []),
            Row("settings", settings),
            Row("size", _gigabytes(size)),
            _free_space("free disk", folder),
        ]


def as_json(sections: Mapping[str, Sequence[Row]]) -> dict[str, dict[str, Any]]:
    """Return the rows as plain values: by section and name, the value and what to do (`None`: it is good)."""
    return {
        title: {row.name: {"value": row.value, "advice": row.advice or None} for row in rows}
        for title, rows in sections.items()
    }


def _versions() -> list[Row]:
    rows = [
        Row("rerank-plugin", __version__),
        Row("python", f"{platform.python_version()}, {platform.platform(terse=True)}"),
    ]
    for name in REQUIRED:
        found = _version(name)
        rows.append(Row(name, found or "not installed", "" if found else "pip install --upgrade rerank-plugin"))
    for name, (extra, purpose) in OPTIONAL.items():
        found = _version(name)
        advice = "" if found else f"for {purpose}: pip install 'rerank-plugin[{extra}]'"
        rows.append(Row(name, found or "not installed", advice))
    return rows


def _machine() -> list[Row]:
    choice = explain_auto(RankerConfig().model_spec().device)
    cache = cache_folder()
    kept = [folder for folder in cache.glob("*-*") if (folder / "conversion.json").is_file()] if cache.is_dir() else []
    return [
        Row("processors", available_processors()),
        Row("device", choice.device),
        Row("backend", f"{choice.backend}: {choice.backend_reason}"),
        Row("precision", f"{choice.precision}: {choice.precision_reason}"),
        Row("cache", f"{cache}, converted models: {len(kept)}"),
        _free_space("free disk", cache),
    ]


def _models() -> list[Row]:
    state = hub_state()
    hub = Row("Hub", f"{state.host} can be reached")
    if not state.is_reachable:
        hub = Row("Hub", f"cannot be reached: {state.problem}", "bundled models and folders work; for others see below")
    bundled = bundled_models()
    rows = [
        hub,
        Row("rerankers", f"{', '.join(map(_with_languages, bundled))} (bundled; default {DEFAULT_MODEL})"),
    ]
    folder = packaged_model(PACKAGED_MODEL)
    if folder is not None and folder != PACKAGED_MODEL:
        return [*rows, Row("embeddings", f"{PACKAGED_MODEL}, from the extra offline")]
    if cached_weights(PACKAGED_MODEL) is not None:
        return [*rows, Row("embeddings", f"{PACKAGED_MODEL}, from the Hub's cache")]
    if state.is_reachable:
        return [*rows, Row("embeddings", f"{PACKAGED_MODEL}, will be downloaded from the Hub")]
    advice = (
        "pip install 'rerank-plugin[offline]', or --embedding-model FOLDER, or do without: "
        "rerank index --pipeline indexing_keyword"
    )
    return [*rows, Row("embeddings", f"{PACKAGED_MODEL} is not on this machine", advice)]


def _with_languages(model: str) -> str:
    return f"{model}: {' and '.join(sorted(declared_languages(model)))}"


def _script(store: HybridDocumentStore) -> Row:
    """Return the script of most passages, and which bundled model reads it if the default one does not."""
    passages = [document.content or "" for document in store.sample_documents(PASSAGES_LOOKED_AT)]
    script = main_script(" ".join(passage[:PASSAGE_CHARACTERS] for passage in passages))
    if script is None:
        return Row("letters", "mostly Latin")
    known = [model for model in bundled_models() if reads(declared_languages(model), script)]
    advice = (
        ""
        if DEFAULT_MODEL in known
        else f"the default model does not read them: use {' or '.join(known) or 'a multilingual model'}"
    )
    return Row("letters", f"mostly {script.capitalize()}", advice)


def _about_embeddings(documents: int, embedded: int) -> str:
    if embedded == documents:
        return ""
    missing = "no document has one" if not embedded else f"{documents - embedded:,} documents lack one"
    return f"{missing}: dense search cannot find them; rerank index PATH... --pipeline indexing"


def _vectors(store: HybridDocumentStore) -> list[Row]:
    vectors = store.describe_vectors()
    recall = store.recall(RECALL_AT)
    rows = [Row("vector index", f"{vectors['kind']}: {vectors['reason']}")]
    if recall is not None:
        advice = "" if recall >= GOOD_RECALL else "low: choose vector_index flat or hnsw in the pipeline's document_store"
        rows.append(Row(f"recall@{RECALL_AT}", round(recall, 4), advice))
    return rows


def _free_space(name: str, folder: Path) -> Row:
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    return Row(name, _gigabytes(free), "" if free >= LITTLE_SPACE else f"make space on the disk of {folder}")


def _gigabytes(size: int) -> str:
    return f"{size / 1e9:.1f} GB" if size >= 100_000_000 else f"{size / 1e6:.1f} MB"


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
