"""Command lines with wrong, missing and contradictory arguments."""

import json
import os
import random
from collections.abc import Callable
from pathlib import Path

from soak.corpora import KEYWORD, write_files
from soak.fuzz import values
from soak.processes import command

Input = Callable[[random.Random], None]


def _collection(folder: Path) -> Path:
    (folder / "qrels").mkdir(parents=True)
    rows = [{"_id": f"d{i}", "title": "", "text": f"the red fox number {i}"} for i in range(8)]
    (folder / "corpus.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    (folder / "queries.jsonl").write_text(
        '{"_id": "q1", "text": "red fox 3"}\n{"_id": "q2", "text": "fox 5"}', encoding="utf-8"
    )
    (folder / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\nq1\td3\t1\nq2\td5\t1\n", encoding="utf-8")
    return folder


def _argument(chance: random.Random, files: list[str]) -> str:
    odd = [
        "",
        "-1",
        "0",
        "1",
        "5",
        "x",
        "nan",
        "1e400",
        "--",
        "-",
        "null",
        "{}",
        "[]",
        '{"field": 1}',
        "\x1b[2J",
        "99999999999999999999",
    ]
    good = [KEYWORD, "bm25", "test", "en", "ru", '{"field": "meta.a", "operator": "==", "value": 1}', "red fox", "nDCG@10"]
    text = values.text(chance).replace("\0", "").encode("utf-8", "replace").decode()
    return chance.choice([chance.choice(odd), chance.choice(good), chance.choice(files), text])


# Commands that are fast on a collection of eight passages.
_COMMANDS: dict[str, tuple[list[str], list[str]]] = {
    "index": (["files"], ["--pipeline", "--language", "--prune", "--repair-text", "--json", "--index"]),
    "search": (["red fox", "--pipeline", "bm25"], ["--top-k", "--candidates", "--filters", "--json", "--index", "--pipeline"]),
    "eval": (["collection", "--pipeline", "bm25", "--output", "report"], ["--split", "--limit", "--candidates", "--run", "--qrels", "--language", "--measure", "--index", "--baseline"]),
    "mine": (["collection", "--output", "mined.jsonl"], ["--pipeline", "--ranks", "--relative-margin", "--seed", "--split", "--index"]),
    "train": (["mined.jsonl", "--output", "model", "--dry-run"], ["--preset", "--loss", "--epochs", "--dev", "--config", "--pos-weight"]),
    "calibrate": (["missing", "--output", "calibration.json"], ["--split", "--index", "--pipeline"]),
    "bench": (["missing"], ["--system", "--memory"]),
    "doctor": ([], ["--index", "--json"]),
}  # fmt: skip


def command_line_inputs(folder: Path) -> Input:
    """Run command lines in this process; each ends with status 0, 1 or 2 and no raw error."""
    home = folder / "home"
    if not home.exists():
        home.mkdir()
        write_files(home / "files", 3, files=3, lines=5)
        _collection(home / "collection")
    os.chdir(home)
    if not (home / "index").exists():
        command("index", "files", "--pipeline", KEYWORD)
        (home / "mined.jsonl").write_text('{"query": "red fox", "passage": "the fox", "label": 1}\n', encoding="utf-8")
    files = [
        "files",
        "collection",
        "collection/qrels/test.tsv",
        "index",
        "index/documents.sqlite",
        "missing",
        "/dev/null",
        "mined.jsonl",
    ]

    def one(chance: random.Random) -> None:
        name = chance.choice(list(_COMMANDS))
        fixed, options = _COMMANDS[name]
        arguments = [name, *fixed]
        # On a real collection, `bench` is at work for minutes.
        if len(arguments) > 1 and name != "bench" and chance.random() < 0.3:
            arguments[1] = _argument(chance, files)
        if name == "index" and "--pipeline" not in arguments:
            arguments += ["--pipeline", KEYWORD]
        for option in chance.sample(options, chance.randint(0, min(3, len(options)))):
            if option in ("--pipeline", "--index", "--config") and chance.random() < 0.5:
                continue
            arguments.append(option)
            if option not in ("--json", "--prune", "--repair-text") or chance.random() < 0.1:
                arguments.append(_argument(chance, files))
        ended = command(*arguments)
        line = " ".join(map(repr, arguments))
        assert ended.status in (0, 1, 2), f"status {ended.status} of {line}"
        assert ended.is_orderly, f"{line}: {ended.stderr}"
        assert "\x1b[2J" not in ended.stdout + ended.stderr, f"{line}: a control sequence reaches the terminal"

    return one
