"""Files that are read: corpora in JSON Lines, judgements, runs, pipelines."""

import io
import json
import random
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml
from haystack import Pipeline
from soak.corpora import KEYWORD
from soak.fuzz import values
from soak.processes import command

from rerank_plugin import HybridDocumentStore, load_pipeline
from rerank_plugin.evaluation import read_qrels, read_run

Input = Callable[[random.Random], None]
_BLANKS = re.compile(r"[ \t\v\f]+")
_PIPELINES = Path(__file__).parents[3] / "pipelines"


def _lines(data: bytes) -> list[str]:
    """The lines of a file that are not blank, as read by Python."""
    text = data.decode("utf-8-sig")
    return [line.rstrip("\r\n") for line in io.StringIO(text, newline=None) if line.strip()]


def corpus_inputs(folder: Path) -> Input:
    """`rerank index` on a faulty corpus: every line is indexed, or none and an error is reported."""
    path, index = folder / "corpus.jsonl", folder / "fuzzed"

    def one(chance: random.Random) -> None:
        rows = [_row(chance, i) for i in range(chance.randint(1, 6))]
        path.write_bytes(
            values.mutated(chance, "\n".join(json.dumps(row, ensure_ascii=False) for row in rows).encode("utf-8", "replace"))
        )
        shutil.rmtree(index, ignore_errors=True)
        ended = command("index", path, "--index", index, "--pipeline", KEYWORD)
        assert ended.is_orderly, f"status {ended.status}: {ended.stderr}"
        if ended.status:
            assert str(path) in ended.stderr, f"the error does not name the file: {ended.stderr}"
            return
        expected = [json.loads(line) for line in _lines(path.read_bytes())]
        store = HybridDocumentStore(index)
        found = store.filter_documents()
        store.close()
        assert len(found) == len(expected), f"{len(expected)} lines, {len(found)} passages"
        wanted = sorted((str(row["_id"]), row["text"] or "") for row in expected)
        assert sorted((d.meta["doc_id"], d.content) for d in found) == wanted, "other texts than in the file"

    return one


def _row(chance: random.Random, number: int) -> Any:
    row: dict[str, Any] = {"_id": f"d{number}", "title": values.text(chance), "text": values.text(chance)}
    kind = chance.randrange(10)
    if kind == 0:
        row[chance.choice(["_id", "title", "text", "metadata"])] = values.json_value(chance)
    elif kind == 1:
        row["metadata"] = values.meta(chance)
    elif kind == 2:
        del row[chance.choice(["_id", "title", "text"])]
    elif kind == 3:
        return values.json_value(chance)
    return row


def qrels_inputs(folder: Path) -> Input:
    """Judgements in both formats: the result equals the content of the file."""
    path = folder / "qrels.tsv"

    def one(chance: random.Random) -> None:
        is_beir = chance.random() < 0.5
        lines = ["query-id\tcorpus-id\tscore"] if is_beir else []
        for _ in range(chance.randint(0, 6)):
            columns = [
                f"q{chance.randrange(3)}",
                f"d{chance.randrange(5)}",
                chance.choice(["0", "1", "2", "-1", "1.5", "x", "٣", "1_0"]),
            ]
            if not is_beir:
                columns.insert(1, "0")
            if chance.random() < 0.1:
                columns[chance.randrange(len(columns))] = values.text(chance).replace("\ud800", "").replace("\udfff", "")
            lines.append((" " if not is_beir and chance.random() < 0.5 else "\t").join(columns))
        path.write_bytes(values.mutated(chance, "\n".join(lines).encode("utf-8", "replace")))
        qrels = read_qrels(path)
        expected: dict[tuple[str, str], int] = {}
        for number, line in enumerate(_lines(path.read_bytes())):
            columns = line.split("\t") if "\t" in line else line.split()
            if number == 0 and columns[0] == "query-id":
                continue
            expected[columns[0], columns[-2]] = int(columns[-1])
        got = {(query, document): grade for query, grades in qrels.items() for document, grade in grades.items()}
        assert got == expected, f"read {got}, the file says {expected}"

    return one


def run_inputs(folder: Path) -> Input:
    """Runs of `trec_eval`."""
    path = folder / "run.txt"

    def one(chance: random.Random) -> None:
        lines = []
        for rank in range(chance.randint(0, 6)):
            score = chance.choice(["1.5", "0", "-3", "1e-400", "nan", "inf", "-inf", "1e999", "x", "1,5", "0x10"])
            columns = [f"q{chance.randrange(3)}", "Q0", f"d{chance.randrange(9)}", str(rank), score, "tag"]
            if chance.random() < 0.1:
                columns[chance.randrange(6)] = values.text(chance).replace("\ud800", "").replace("\udfff", "")
            lines.append(chance.choice([" ", "\t", "  "]).join(columns))
        path.write_bytes(values.mutated(chance, "\n".join(lines).encode("utf-8", "replace")))
        run = read_run(path)
        expected = {}
        for line in _lines(path.read_bytes()):
            query, _, document, _, score, _ = (
                line.split("\t") if line.count("\t") == 5 else _BLANKS.split(line.strip(" \t\v\f"))
            )
            assert (query, document) not in expected, f"{document} occurs twice for {query}, and one of them is dropped"
            expected[query, document] = float(score)
        got = {(query, document): score for query, scores in run.items() for document, score in scores.items()}
        assert got == expected, f"read {got}, the file says {expected}"

    return one


_BOMBS = (
    "components: &a\n  x: *a\nconnections: []\n",
    "components:\n  x: &x {type: a, init_parameters: {y: *x}}\n",
    "components: " + "{a: " * 5_000 + "1" + "}" * 5_000,
    "components: " + "[" * 5_000 + "]" * 5_000,
    "a0: &a0 [x, x, x, x, x, x, x, x, x]\n"
    + "".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 10))
    + "components: {x: *a9}\n",
    "components:\n  x: !!python/object/apply:os.system ['true']\n",
    "components:\n  r:\n    type: rerank_plugin.components.ranker.CrossEncoderRanker\n    init_parameters:\n",
    "",
    "components: {}\n",
)


def pipeline_inputs(folder: Path) -> Input:
    """Pipelines in YAML: loaded, or rejected with an error that names the file."""
    texts = [path.read_text(encoding="utf-8") for path in sorted(_PIPELINES.glob("*.yaml"))]
    path = folder / "fuzzed.yaml"

    def one(chance: random.Random) -> None:
        kind, text = chance.randrange(10), chance.choice(texts)
        if kind == 0:
            path.write_text(chance.choice(_BOMBS), encoding="utf-8")
        elif kind < 4:
            path.write_bytes(values.mutated(chance, text.encode()))
        else:
            data = yaml.safe_load(text)
            _mutate(chance, data)
            path.write_text(yaml.safe_dump(data), encoding="utf-8")
        pipeline = load_pipeline(path, index=folder / "none")
        assert isinstance(pipeline, Pipeline)

    return one


def _mutate(chance: random.Random, node: Any) -> None:
    """Change a random node of a tree."""
    keys = list(node) if isinstance(node, dict) else list(range(len(node)))
    if not keys:
        return
    key = chance.choice(keys)
    if isinstance(node[key], dict | list) and node[key] and chance.random() < 0.85:
        _mutate(chance, node[key])
    elif chance.random() < 0.3:
        del node[key]
    else:
        value = values.json_value(chance)
        node[key] = json.loads(json.dumps(value).encode("utf-8", "replace")) if chance.random() < 0.8 else [node[key]] * 2
