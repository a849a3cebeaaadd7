"""The indexes that evaluations search: one for each collection and language, made once and kept."""

import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path

from rerank_plugin.collections.jsonl import read_jsonl
from rerank_plugin.errors import InvalidValueError
from rerank_plugin.evaluation.collection import Collection
from rerank_plugin.evaluation.stages import StagedPipeline, init_parameters
from rerank_plugin.files import cache_folder, replace_file
from rerank_plugin.indexing import index_paths, is_up_to_date

DENSE, KEYWORD = "indexing", "indexing_keyword"


def kept_index(
    collection: Collection,
    *,
    language: str,
    pipelines: Sequence[StagedPipeline],
    lang: str | None = None,
    embedding_model: str | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """
    Return the index of a collection; make it if there is none, and bring it up to date if the corpus has changed.

    It has embeddings if one of the pipelines searches them.

    :param collection: The collection.
    :param language: Of the keyword index.
    :param pipelines: Who will search.
    :param lang: Only documents whose metadata has this `lang`, or none; `None`: all.
    :param embedding_model: Model of the embeddings; `None`: that of the pipelines.
    :param progress: Called with passages done and passages in all.
    :returns: Its folder, in the cache folder.
    :raises InvalidValueError: If the pipelines search the embeddings of different models.
    """
    model = embedding_model or _embedding_model(pipelines)
    corpus = collection.dataset.corpus_file.resolve()
    name = f"{corpus.parent.name}-{language}"
    if lang is not None:
        corpus = _documents_in(corpus, lang)
    kinds = [DENSE] if any(staged.needs_vectors for staged in pipelines) else [KEYWORD, DENSE]
    folders = {kind: _folder(name, corpus, kind, model if kind == DENSE else None) for kind in kinds}
    kind = next((kind for kind, folder in folders.items() if folder.is_dir()), kinds[0])
    model = model if kind == DENSE else None
    if is_up_to_date([corpus], folders[kind], pipeline=kind, embedding_model=model):
        return folders[kind]
    report = index_paths([corpus], folders[kind], pipeline=kind, language=language, embedding_model=model, progress=progress)
    if report.failed:
        raise InvalidValueError(f"{collection.name} cannot be indexed: {report.failed[0]}")
    return folders[kind]


def _documents_in(corpus: Path, lang: str) -> Path:
    """Write the documents in a language, and those that name none, to a file of their own."""
    key = hashlib.sha256(f"{corpus}\0{lang}".encode()).hexdigest()[:12]
    part = cache_folder() / "collections" / f"{corpus.parent.name}-{lang}-{key}" / "documents.jsonl"
    with replace_file(part) as file:
        for _, record in read_jsonl(corpus):
            metadata = record.get("metadata")
            if not isinstance(metadata, dict) or metadata.get("lang", lang) == lang:
                file.write(json.dumps(record, ensure_ascii=False) + "\n")
    return part


def _embedding_model(pipelines: Sequence[StagedPipeline]) -> str | None:
    models = {
        str(init_parameters(component).get("model"))
        for staged in pipelines
        for name, component in staged.first["components"].items()
        if name == "text_embedder"
    }
    if len(models) > 1:
        raise InvalidValueError(
            f"the pipelines embed queries with different models, {sorted(models)}: evaluate them one by one, or make an "
            "index for each with `rerank index` and name it with --index"
        )
    return next(iter(models), None)


def _folder(name: str, corpus: Path, kind: str, model: str | None) -> Path:
    key = hashlib.sha256(f"{corpus}\0{model}".encode()).hexdigest()[:12]
    return cache_folder() / "indexes" / f"{name}-{'keyword' if kind == KEYWORD else 'dense'}-{key}"
