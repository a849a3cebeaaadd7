"""An index and its judgements as files: a folder in BEIR layout that any tool reads, and ours reads back as it was."""

import json
import re
import shutil
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import asdict
from hashlib import sha256
from pathlib import Path
from typing import Any

from rerank_plugin.collections.beir import BeirDocument
from rerank_plugin.collections.jsonl import MAX_DEPTH
from rerank_plugin.collections.runs import document_key
from rerank_plugin.errors import OutputError
from rerank_plugin.files import replace_file
from rerank_plugin.judgements.dataset import SPLITS, as_beir, qrels_of, split_of
from rerank_plugin.judgements.judgements import Judgements
from rerank_plugin.judgements.names import is_plain

HISTORY = "judgements.jsonl"
# Characters that stand in JSON as they are, but end a line for some readers, or control a terminal.
_UNSAFE = re.compile(r"[\x7f-\x9f\u2028\u2029]")
# Levels of nesting of metadata, and digits of a number, beyond which a value is written as a text: a line has levels of its
# own, and readers have limits.
_DEEPEST = MAX_DEPTH - 10
_LARGEST = 10**300
# So that the same judgements make the same archive, byte for byte.
_ZIP_TIME = (1980, 1, 1, 0, 0, 0)


def export_collection(judgements: Judgements, folder: Path) -> dict[str, int]:
    """
    Write a judged collection: `corpus.jsonl`, `queries.jsonl`, `qrels/dev.tsv`, `qrels/test.tsv`, and `judgements.jsonl`.

    Documents have the ids by which evaluations of the index know them. An id that cannot be a column of a qrels file, or
    that another document has, is replaced by one made from it; the metadata then has it as `document_id`. The qrels hold
    judgements in force; `judgements.jsonl` also clicks and what is stale, with who and when.

    :param judgements: The judgements of the index.
    :param folder: A folder that does not exist, or is empty.
    :returns: What was written: numbers of `documents`, `queries`, `judgements` of `dev` and of `test`.
    :raises OutputError: If the folder is not empty, or cannot be written.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise OutputError(f"{folder} exists and is not empty: choose a new folder for the export")
    try:
        with _complete(folder) as partial:
            return _write(judgements, partial)
    except OSError as error:
        raise OutputError(f"{folder} cannot be written: {error.strerror}; choose another folder") from error


def export_zip(judgements: Judgements, file: Path) -> None:
    """
    Write the same as a zip archive.

    :param judgements: The judgements of the index.
    :param file: The archive; replaced if it exists.
    :raises OutputError: If it cannot be written.
    """
    folder = file.with_name(f"{file.name}.files")
    try:
        export_collection(judgements, folder)
        with replace_file(file, binary=True) as out, zipfile.ZipFile(out, "w") as archive:
            for path in sorted(folder.rglob("*")):
                if path.is_file():
                    _add(archive, path, path.relative_to(folder).as_posix())
    except OSError as error:
        raise OutputError(f"{file} cannot be written: {error.strerror}; choose another place") from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _add(archive: zipfile.ZipFile, path: Path, name: str) -> None:
    member = zipfile.ZipInfo(name, _ZIP_TIME)
    member.compress_type = zipfile.ZIP_DEFLATED
    member.external_attr = 0o644 << 16
    with path.open("rb") as source, archive.open(member, "w", force_zip64=True) as target:
        shutil.copyfileobj(source, target)


@contextmanager
def _complete(folder: Path) -> Iterator[Path]:
    """Make a folder that has its name only when everything is in it."""
    partial = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        (partial / "qrels").mkdir(parents=True)
        yield partial
        with suppress(FileNotFoundError):
            folder.rmdir()
        partial.replace(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _write(judgements: Judgements, folder: Path) -> dict[str, int]:
    names: dict[str, str] = {}
    counts = {"documents": _write_lines(folder / "corpus.jsonl", _documents(judgements, names))}
    queries = list(judgements.store.judgements.snapshot().queries.values())
    counts["queries"] = _write_lines(
        folder / "queries.jsonl", ({"_id": q.id, "text": q.text, "metadata": _readable(q.metadata)} for q in queries)
    )
    grades = judgements.all_grades()
    splits = {query.id: split_of(query.text) for query in queries}
    for split in SPLITS:
        lines = [
            f"{query}\t{document}\t{grade}\n"
            for query, given in grades.items()
            if splits[query] == split
            for document, grade in qrels_of(given, names).items()
        ]
        if lines:
            with replace_file(folder / "qrels" / f"{split}.tsv") as file:
                file.writelines(["query-id\tcorpus-id\tscore\n", *lines])
        counts[split] = len(lines)
    _write_lines(
        folder / HISTORY,
        (
            {"query_id": query, **asdict(grade), "document_id": names.get(grade.document_id, grade.document_id)}
            for query, given in grades.items()
            for grade in given
        ),
    )
    return counts


def _documents(judgements: Judgements, names: dict[str, str]) -> Iterator[dict[str, Any]]:
    """Yield the lines of the corpus, and note the id of each document in the files."""
    taken: set[str] = set()
    for document in judgements.store.read_all():
        name = document_key(document)
        if not is_plain(name) or name in taken:
            name = sha256(document.id.encode()).hexdigest()
        replaced = {} if name == document_key(document) else {"document_id": document.id}
        taken.add(name)
        names[document.id] = name
        yield _line(as_beir(document, name), replaced)


def _line(document: BeirDocument, replaced: Mapping[str, str]) -> dict[str, Any]:
    metadata = _readable({**document.metadata, **replaced})
    return {"_id": document.id, "title": document.title, "text": document.text, "metadata": metadata}


def _readable(value: Any, depth: int = 0) -> Any:
    """Return a value of JSON with what is nested too deeply, or too large a number, as a text."""
    if isinstance(value, dict):
        if depth >= _DEEPEST:
            return json.dumps(value, ensure_ascii=False)
        return {str(key): _readable(item, depth + 1) for key, item in value.items()}
    if isinstance(value, list):
        return json.dumps(value, ensure_ascii=False) if depth >= _DEEPEST else [_readable(item, depth + 1) for item in value]
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) > _LARGEST:
        return str(value)
    return value


def _write_lines(path: Path, records: Iterable[Mapping[str, Any]]) -> int:
    count = 0
    with replace_file(path) as file:
        for count, record in enumerate(records, start=1):  # noqa: B007 - the count is the result
            text = json.dumps(record, ensure_ascii=False)
            file.write(_UNSAFE.sub(lambda match: f"\\u{ord(match[0]):04x}", text) + "\n")
    return count


def export_index(index: Path, folder: Path) -> dict[str, int]:
    """
    Export an index that is not open; see `export_collection`.

    :param index: Its folder.
    :param folder: The folder to write.
    """
    with closing(Judgements.open(index)) as judgements:
        return export_collection(judgements, folder)
