"""Collections of the package ir_datasets, written once in the BEIR layout that the rest of the package reads."""

import json
import logging
import re
import shutil
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from rerank_plugin.errors import InputFileError, MissingDependencyError, reason_of
from rerank_plugin.files import cache_folder

logger = logging.getLogger(__name__)

SPLIT = "judged"
QRELS_HEADER = "query-id\tcorpus-id\tscore"
# Each segment of an id begins with a letter or a digit, as the id becomes the name of a folder.
IDENTIFIER = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)*", re.ASCII)
NEEDS = ("docs", "queries", "qrels")


def fetch(identifier: str) -> Path:
    """
    Load a collection with ir_datasets, and keep it in BEIR layout.

    Collections with the same documents (splits, for example) share their file.

    :param identifier: Such as `beir/scifact/test`.
    :returns: The folder; its split is called `judged`.
    :raises InputFileError: If ir_datasets does not know the collection or cannot load it, or it has no judgements.
    :raises MissingDependencyError: If ir_datasets is not installed.
    """
    try:
        import ir_datasets
    except ImportError as error:
        raise MissingDependencyError(
            f"irds:{identifier} needs ir_datasets: pip install 'rerank-plugin[ir-datasets]'"
        ) from error
    if not IDENTIFIER.fullmatch(identifier):
        raise InputFileError(f"{identifier!r} is not an id of ir_datasets: write one such as beir/scifact/test")
    root = cache_folder() / "collections"
    folder = root / identifier.replace("/", "__")
    if folder.is_dir():
        return folder
    try:
        dataset = ir_datasets.load(identifier)
    except KeyError:
        raise InputFileError(f"ir_datasets has no collection {identifier!r}: `ir_datasets list` shows them") from None
    if missing := [kind for kind in NEEDS if not getattr(dataset, f"has_{kind}")()]:
        raise InputFileError(f"{identifier} of ir_datasets has no {' and no '.join(missing)}: choose one with judgements")
    corpus = root / f"corpus-{ir_datasets.docs_parent_id(identifier).replace('/', '__')}"
    try:
        _make(corpus, lambda target: _write_documents(dataset, target))
        _make(folder, lambda target: _write_queries(dataset, target, corpus / "documents.jsonl"))
    except (RuntimeError, OSError) as error:  # requests' errors are OSErrors
        raise InputFileError(f"{identifier} cannot be loaded by ir_datasets: {reason_of(error)}") from error
    return folder


def _make(folder: Path, write: Callable[[Path], None]) -> None:
    """Create a folder atomically, unless it exists."""
    if folder.is_dir():
        return
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=".making-", dir=folder.parent))
    try:
        write(temporary)
        try:
            temporary.rename(folder)
        except OSError:
            if not folder.is_dir():  # otherwise another process was faster
                raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _write_documents(dataset: Any, folder: Path) -> None:
    _write_jsonl(
        folder / "documents.jsonl",
        ({"_id": doc.doc_id, "title": getattr(doc, "title", "") or "", "text": _text(doc)} for doc in dataset.docs_iter()),
    )


def _text(document: Any) -> str:
    """Return the field `text` if there is one beside a title, else the default text of ir_datasets."""
    text = getattr(document, "text", None) if getattr(document, "title", None) else None
    return str(text if text is not None else document.default_text())


def _write_queries(dataset: Any, folder: Path, documents: Path) -> None:
    (folder / documents.name).symlink_to(Path("..") / documents.parent.name / documents.name)
    _write_jsonl(folder / "queries.jsonl", ({"_id": q.query_id, "text": q.default_text()} for q in dataset.queries_iter()))
    (folder / "qrels").mkdir()
    with (folder / "qrels" / f"{SPLIT}.tsv").open("w", encoding="utf-8") as file:
        file.write(QRELS_HEADER + "\n")
        for judgement in dataset.qrels_iter():
            file.write(f"{judgement.query_id}\t{judgement.doc_id}\t{judgement.relevance}\n")


def _write_jsonl(file: Path, records: Iterable[dict[str, str]]) -> None:
    with file.open("w", encoding="utf-8") as lines:
        for record in records:
            lines.write(json.dumps(record, ensure_ascii=False) + "\n")
