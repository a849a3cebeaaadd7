"""Mutated input files: only RerankErrors, which name the file, and no silent misreading. For tests and `tests/soak`."""

import json
import math
import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from rerank_plugin.collections.beir import BeirDataset, read_documents
from rerank_plugin.collections.trec import read_qrels, read_run
from rerank_plugin.errors import RerankError

JSONL = "\n".join(
    json.dumps(
        {
            "_id": f"d{number}",
            "title": "Ein Fuchs",
            "text": "Le renard – лиса",
            "metadata": {"lang": "en", "n": [1, 2.5, None]},
        },
        ensure_ascii=number % 2 == 0,
    )
    for number in range(4)
)
QRELS = "query-id\tcorpus-id\tscore\nq1\td1\t2\nq1\td2\t0\nq2\td 3\t1\n"
TREC_QRELS = "q1 0 d1 2\nq1 0 d2 -1\nq2 0 d1 1\n"
RUN = "q1 Q0 d1 1 3.5 bm25\nq1 Q0 d2 2 -1e-3 bm25\nq2 Q0 d1 1 7 bm25\n"
# Inserted by mutations: text on which parsers are known to fail.
PIECES = [
    b"\xef\xbb\xbf", b"\xff\xfe", b"\0", b"\xff", b"\r", b"\n", b"\n\n", b"\t", b" ", b"\xc2\xa0", b"\xe2\x80\xa8", b'"', b"\\",
    b'"\\ud800"', b"\\udfff", b"\\u0000", b"NaN", b"-Infinity", b"1e999", b"9" * 30, b"9" * 5000, b"0." + b"1" * 5000, b"1_0",
    "١".encode(), b"nan", b"inf", b"-", b"[" * 150, b"[" * 5000, b'{"a":' * 1100, b"{}", b"[]", b"null", b"true", b"5", b'""',
    b'"_id"', b'"text"', b'"metadata"', b'"_id": "d1", ', b"q1 0 d1 1\n", b"query-id", b"x" * 70_000,
]  # fmt: skip


@dataclass
class FuzzReport:
    """
    What was tried.

    :param inputs: Files that were read.
    :param accepted: Files without an error.
    :param slowest: Seconds that the slowest took.
    :param faults: What was wrong: a foreign error, one that does not name the file, or a misreading.
    """

    inputs: int = 0
    accepted: int = 0
    slowest: float = 0.0
    faults: list[str] = field(default_factory=list)


def mutated(seed: bytes, rng: random.Random) -> bytes:
    """Change a text in a few places."""
    data = bytearray(seed)
    for _ in range(rng.choice([1, 1, 1, 2, 3, 8])):
        place = rng.randrange(len(data) + 1)
        kind = rng.randrange(5)
        if kind == 0:
            data[place:place] = rng.choice(PIECES)
        elif kind == 1 and data:
            data[place : place + rng.randrange(1, 20)] = b""
        elif kind == 2 and data:
            data[min(place, len(data) - 1)] = rng.randrange(256)
        elif kind == 3:
            start = rng.randrange(len(data) + 1)
            data[place:place] = data[start : start + rng.randrange(60)]
        else:
            data[place : place + rng.randrange(1, 12)] = rng.choice(PIECES)
    return bytes(data)


def fuzz_files(folder: Path, *, inputs: int, seed: int) -> FuzzReport:
    """
    Read mutated corpora, queries, judgements and runs.

    :param folder: Works in here.
    :param inputs: How many files.
    :param seed: Of the mutations.
    """
    rng, report = random.Random(seed), FuzzReport()
    (folder / "qrels").mkdir(parents=True, exist_ok=True)
    kinds: list[tuple[str, str, Callable[[Path], object], Callable[[bytes, object], str]]] = [
        (JSONL, "corpus.jsonl", lambda path: list(read_documents(path)), check_corpus),
        (JSONL, "queries.jsonl", lambda path: list(BeirDataset(path.parent).queries().values()), check_corpus),
        (QRELS, "qrels/test.tsv", lambda path: BeirDataset(path.parent.parent).qrels("test"), check_qrels),
        (TREC_QRELS, "qrels.txt", read_qrels, check_qrels),
        (RUN, "run.txt", read_run, check_run),
    ]
    for number in range(inputs):
        text, name, read, check = kinds[number % len(kinds)]
        data = mutated(text.encode("utf-8"), rng)
        path = folder / name
        path.write_bytes(data)
        began = time.perf_counter()
        try:
            fault = check(data, read(path))
            report.accepted += 1
        except RerankError as error:
            message = str(error)
            fault = (
                "" if str(path) in message and "\n" not in message and len(message) < 1000 else f"message {message[:300]!r}"
            )
        except Exception as error:  # noqa: BLE001 - what the test is about
            fault = f"{type(error).__name__}: {str(error)[:200]}"
        report.inputs += 1
        report.slowest = max(report.slowest, time.perf_counter() - began)
        if fault:
            report.faults.append(f"{name}, input {number}: {fault}; {data[:300]!r}")
    return report


def lines_of(data: bytes) -> list[str]:
    return [line for line in data.decode("utf-8-sig").replace("\r\n", "\n").split("\n") if line.strip()]


def strict(line: str) -> dict:
    """Parse JSON independently of the package: with Python's parser, and further checks of what it accepts."""

    def unique(pairs: list) -> dict:
        assert len({key for key, _ in pairs}) == len(pairs), "doubled key"
        return dict(pairs)

    record = json.loads(line, object_pairs_hook=unique)
    json.dumps(record, allow_nan=False, ensure_ascii=False).encode("utf-8")
    return record


def check_corpus(data: bytes, entries: list) -> str:
    """Compare the records read with the lines of the file; return a description of the first difference."""
    records = [strict(line) for line in lines_of(data)]
    expected = [
        (str(record["_id"]), record["text"] or "", record.get("title") or "", record.get("metadata") or {})
        for record in records
    ]
    read = [
        (entry.id, entry.text, getattr(entry, "title", title), entry.metadata)
        for entry, (_, _, title, _) in zip(entries, expected, strict=True)
    ]
    if len({entry.id for entry in entries}) != len(entries):
        return "an id occurs twice"
    return "" if read == expected else f"read as {read}"


def columns_of(data: bytes) -> Iterator[list[str]]:
    for line in lines_of(data):
        yield (
            line.split("\t")
            if "\t" in line
            else [column for column in line.replace("\x0b", " ").replace("\x0c", " ").split(" ") if column]
        )


def check_qrels(data: bytes, qrels: dict) -> str:
    expected: dict = {}
    for number, columns in enumerate(columns_of(data)):
        if number == 0 and columns[0] == "query-id":
            continue
        expected.setdefault(columns[0], {})[columns[-2]] = int(columns[-1])
    if any(type(grade) is not int for grades in qrels.values() for grade in grades.values()):
        return "a grade is no whole number"
    return "" if qrels == expected else f"read as {qrels}"


def check_run(data: bytes, run: dict) -> str:
    expected: dict = {}
    for line in lines_of(data):
        columns = (
            line.split("\t")
            if line.count("\t") == 5
            else [c for c in line.replace("\t", " ").replace("\x0b", " ").replace("\x0c", " ").split(" ") if c]
        )
        expected.setdefault(columns[0], {})[columns[2]] = float(columns[4])
    if not all(math.isfinite(score) for scores in run.values() for score in scores.values()):
        return "a score is no finite number"
    return "" if run == expected else f"read as {run}"
