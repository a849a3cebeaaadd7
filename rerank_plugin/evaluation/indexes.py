"""The indexes that evaluations search: one per collection and language, built once and kept in the cache folder."""

import hashlib
import json
import re
from collections.abc import Sequence
from copy import deepcopy
from pathlib import Path

from rerank_plugin.collections.beir import BeirDataset
from rerank_plugin.collections.jsonl import read_jsonl
from rerank_plugin.errors import BusyError, InvalidValueError, StoreError
from rerank_plugin.evaluation.collection import Collection
from rerank_plugin.evaluation.stages import StagedPipeline
from rerank_plugin.files import cache_folder, replace_file
from rerank_plugin.indexing import index_paths, is_up_to_date
from rerank_plugin.pipelines.embedding_models import TEXT_EMBEDDER
from rerank_plugin.pipelines.yaml_file import init_parameters
from rerank_plugin.progress import CountCallback

DENSE, KEYWORD = "indexing", "indexing_keyword"
# Characters of a name in the name of a folder; a hash after them makes it unique.
_SHOWN_CHARACTERS = 40


def kept_index(
    collection: Collection,
    *,
    language: str,
    pipelines: Sequence[StagedPipeline],
    lang: str | None = None,
    embedding_model: str | None = None,
    on_progress: CountCallback | None = None,
) -> Path:
    """
    Return the index of a collection; build it if there is none, and update it if the corpus has changed.

    It has embeddings if one of the pipelines searches them.

    :param collection: The collection, in files.
    :param language: Language of the keyword index.
    :param pipelines: The pipelines that will search it.
    :param lang: Only documents whose metadata has this `lang`, or none; `None`: all.
    :param embedding_model: Model of the embeddings; `None`: that of the pipelines.
    :param on_progress: Called with passages done and total passages.
    :returns: Its folder, in the cache folder.
    :raises InvalidValueError: If the pipelines search the embeddings of different models, or the corpus cannot be indexed.
    :raises StoreError: If the kept index is damaged; the message says how to rebuild it.
    """
    model = embedding_model or _embedding_model(pipelines)
    dataset = collection.dataset
    assert isinstance(dataset, BeirDataset), "a collection that is an index is searched as it is"
    corpus = dataset.corpus_file.resolve()
    name = f"{corpus.parent.name}-{language}"
    if lang is not None:
        corpus = _documents_in(corpus, lang)
    kinds = [DENSE] if any(staged.needs_vectors for staged in pipelines) else [KEYWORD, DENSE]
    folders = {kind: _folder(name, corpus, kind, language, model if kind == DENSE else None) for kind in kinds}
    kind = next((kind for kind, folder in folders.items() if folder.is_dir()), kinds[0])
    folder, model = folders[kind], model if kind == DENSE else None
    try:
        if is_up_to_date([corpus], folder, pipeline=kind, embedding_model=model):
            return folder
        report = index_paths([corpus], folder, pipeline=kind, language=language, embedding_model=model, progress=on_progress)
    except BusyError:
        raise
    except StoreError as error:
        raise type(error)(
            f"{error} (this index was built for evaluations of {collection.name}: delete {folder}, and it is built again)"
        ) from error
    if report.failed:
        raise InvalidValueError(f"{collection.name} cannot be indexed: {report.failed[0]}")
    return folder


def _documents_in(corpus: Path, lang: str) -> Path:
    """Write the documents in a language, and those without a language, to a separate file."""
    documents = (
        cache_folder() / "collections" / _unique(f"{corpus.parent.name}-{lang}", str(corpus), lang) / "documents.jsonl"
    )
    with replace_file(documents) as file:
        for _, record in read_jsonl(corpus):
            metadata = record.get("metadata")
            if not isinstance(metadata, dict) or metadata.get("lang", lang) == lang:
                file.write(json.dumps(record) + "\n")
    return documents


def _embedding_model(pipelines: Sequence[StagedPipeline]) -> str | None:
    models = {
        str(parameters.get("model"))
        for staged in pipelines
        if staged.needs_vectors
        for parameters in init_parameters(deepcopy(staged.first), TEXT_EMBEDDER)
    }
    if len(models) > 1:
        raise InvalidValueError(
            f"the pipelines embed queries with different models, {sorted(models)}: evaluate them one by one, or build an "
            "index for each with `rerank index` and pass it with --index"
        )
    return next(iter(models), None)


def _folder(name: str, corpus: Path, kind: str, language: str, model: str | None) -> Path:
    shown = f"{name}-{'keyword' if kind == KEYWORD else 'dense'}"
    return cache_folder() / "indexes" / _unique(shown, str(corpus), language, str(model))


def _unique(shown: str, *parts: str) -> str:
    """Return the name of a folder: a readable name, followed by a hash of everything that it stands for."""
    readable = re.sub(r"[^A-Za-z0-9._-]", "_", shown)[:_SHOWN_CHARACTERS].lstrip(".")
    return f"{readable}-{hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:12]}"
