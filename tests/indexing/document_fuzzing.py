"""Indexing of mutated files of most types. For tests and `tests/soak`."""

import json
import random
import shutil
import time
from dataclasses import dataclass, field
from pathlib import Path

from sample_files import MAIL, NOTEBOOK, RST, epub, xlsx

from rerank_plugin import HybridDocumentStore
from rerank_plugin.indexing import index_paths

HTML = (
    "<html><head><meta charset='utf-8'><title>The page</title></head><body><article><h1>Moon</h1><p>The moon is near the earth, "
    "the sun is far away.</p><table><tr><td>1</td></tr></table></article></body></html>"
)
MARKDOWN = "# The guide\n\nTea and **coffee** are [drinks](x).\n\n```sh\n# comment\n```\n\n| a | b |\n|---|---|\n| 1 | 2 |\n\n- one\n"
TEXT = "The red fox sleeps. Лиса спит.\n\nIt wakes up. " * 5
CORPUS = "\n".join(json.dumps({"_id": f"d{i}", "title": "T", "text": "A red fox.", "metadata": {"n": i}}) for i in range(3))
PIECES = [
    b"\0", b"\xff\xfe", b"\xef\xbb\xbf", b"\x80", b"\xed\xa0\x80", b"\x1b[2J", b"\x0c", b"\r", "\u2028".encode(), b"<title>", b"<!--",
    b"<" * 500, b"<div>" * 2000, b"&#xd800;", b"&#0;", b"<svg><title>", b"]]>", b"<?xml", b"[" * 3000, b"`" * 3000, b"*a " * 2000,
    b">" * 3000, b"# " + b" " * 3000, b"|" * 3000, b"- " * 2000, b"a" * 20_000, b"a b " * 5000, b"%PDF-1.4\n", b"/Length 99999999",
    b"<< /Kids [3 0 R] >>", b"999999999 0 R", b"stream\n", b'"\\ud800"', b"NaN", b"{" * 500,
]  # fmt: skip


@dataclass
class DocumentFuzzReport:
    """
    What was tried.

    :param inputs: Files that were indexed or refused.
    :param refused: Those that were reported.
    :param slowest: Seconds that the slowest run, over one file of each kind, took.
    :param faults: What was wrong.
    """

    inputs: int = 0
    refused: int = 0
    slowest: float = 0.0
    faults: list[str] = field(default_factory=list)


def mutated(seed: bytes, rng: random.Random) -> bytes:
    """Change a file in a few places."""
    data = bytearray(seed)
    for _ in range(rng.choice([1, 1, 2, 4])):
        place = rng.randrange(len(data) + 1)
        kind = rng.randrange(4)
        if kind == 0:
            data[place:place] = rng.choice(PIECES)
        elif kind == 1:
            data[place : place + rng.randrange(1, 40)] = b""
        elif kind == 2 and data:
            data[min(place, len(data) - 1)] = rng.randrange(256)
        else:
            start = rng.randrange(len(data) + 1)
            data[place:place] = data[start : start + rng.randrange(100)]
    return bytes(data)


def fuzz_documents(folder: Path, *, inputs: int, seed: int, pdf: bytes) -> DocumentFuzzReport:
    """
    Index folders with one mutated file of each kind beside a good one.

    :param folder: Works in here.
    :param inputs: How many mutated files.
    :param seed: Of the mutations.
    :param pdf: A PDF to begin with.
    """
    rng, report = random.Random(seed), DocumentFuzzReport()
    seeds = {
        "a.html": HTML.encode(),
        "b.md": MARKDOWN.encode(),
        "c.txt": TEXT.encode(),
        "d.jsonl": CORPUS.encode(),
        "e.pdf": pdf,
        "f.rst": RST.encode(),
        "g.csv": b"city;population\nParis;2100000\n",
        "h.eml": MAIL,
        "i.ipynb": json.dumps(NOTEBOOK).encode(),
        "j.epub": epub(),
        "k.xlsx": xlsx(),
    }
    files, index = folder / "files", folder / "index"
    files.mkdir(parents=True)
    (files / "good.txt").write_text("Always there.")
    while report.inputs < inputs:
        for name, data in seeds.items():
            (files / name).write_bytes(mutated(data, rng))
        report.inputs += len(seeds)
        began = time.perf_counter()
        try:
            done = index_paths([files], index, pipeline="indexing_keyword")
        except Exception as error:  # noqa: BLE001 - what the test is about
            report.faults.append(f"input {report.inputs}: {type(error).__name__}: {str(error)[:300]}")
            shutil.rmtree(index, ignore_errors=True)
            continue
        report.slowest = max(report.slowest, time.perf_counter() - began)
        report.refused += len(done.failed)
        report.faults += _faults(done, files, index)
        shutil.rmtree(index)
    return report


def _faults(done, files: Path, index: Path) -> list[str]:
    faults = []
    if done.files + len(done.failed) != len(list(files.iterdir())):
        faults.append(f"{done.files} files and {len(done.failed)} failures")
    faults += [
        f"message {text[:200]!r}" for text in done.failed if str(files) not in text or "\n" in text or len(text) > 1500
    ]
    store = HybridDocumentStore(index)
    documents = store.filter_documents()
    if len(documents) != done.passages - done.merged or not any(
        document.content == "Always there." for document in documents
    ):
        faults.append(f"{len(documents)} passages stand, {done.passages} were written, {done.merged} merged")
    store.close()
    again = index_paths([files], index, pipeline="indexing_keyword")
    if (again.files, len(again.failed)) != (0, len(done.failed)):
        faults.append(f"a second run does something else: {again}")
    return faults
