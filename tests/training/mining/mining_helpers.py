"""A judged collection on disk, and a first stage that needs no index."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from rerank_plugin.collections.beir import BeirDocument, BeirQuery
from rerank_plugin.evaluation.collection import Collection, open_collection
from rerank_plugin.training.mining.draw import MiningCounts, Negative, draw_negatives
from rerank_plugin.training.mining.mine import MiningJob, mine
from rerank_plugin.training.mining.rules import MiningRules, RankWindow


def write_collection(
    folder: Path, texts: Mapping[str, str], queries: Mapping[str, Any], qrels: Mapping[str, Mapping[str, int]]
) -> Collection:
    """Write a collection with a split `train`; a query is a text, or a text and its metadata."""
    (folder / "qrels").mkdir(parents=True)
    documents = [{"_id": id_, "title": "", "text": text} for id_, text in texts.items()]
    rows = []
    for id_, query in queries.items():
        text, metadata = query if isinstance(query, tuple) else (query, {})
        rows.append({"_id": id_, "text": text, "metadata": metadata})
    for name, lines in (("corpus", documents), ("queries", rows)):
        content = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
        (folder / f"{name}.jsonl").write_text(content, encoding="utf-8")
    write_qrels(folder, qrels)
    return open_collection(folder, split="train")


def write_qrels(folder: Path, qrels: Mapping[str, Mapping[str, int]]) -> None:
    rows = [f"{query}\t{id_}\t{grade}\n" for query, grades in qrels.items() for id_, grade in grades.items()]
    (folder / "qrels" / "train.tsv").write_text("query-id\tcorpus-id\tscore\n" + "".join(rows))


def foxes_and_skies(folder: Path, *, judged: Iterable[int] = range(4)) -> Collection:
    """Ten passages on foxes, ten on the sky; fox N answers query `qN`. q8 and q9 have no answer, and there is no q7."""
    texts = {f"d{i}": f"fox number {i} in the red wood, лиса" for i in range(10)}
    texts |= {f"d{i}": f"sky above town {i}" for i in range(10, 20)}
    answered = {f"q{i}": {f"d{i}": 1} for i in judged}
    queries = {id_: f"fox {id_[1:]} где" for id_ in answered}
    unanswered = {"q7": {"d7": 1}, "q8": {"d8": 0}, "q9": {"gone": 1}}
    return write_collection(folder, texts, queries | {"q8": "fox 8", "q9": "fox 9"}, answered | unanswered)


class SharedWords:
    """Ranks the documents of a collection by how many words they share with the query, then by file order."""

    def __init__(self, collection: Collection) -> None:
        self._documents = list(collection.dataset.documents())
        self.asked: list[tuple[str, int]] = []

    def find(self, query: BeirQuery, depth: int) -> list[tuple[str, float]]:
        self.asked.append((query.id, depth))
        words = set(query.text.split())
        scores = {document.id: float(len(words & set(document.text.split()))) for document in self._documents}
        return sorted(((id_, score) for id_, score in scores.items() if score), key=lambda pair: -pair[1])[:depth]


def draw_from(
    texts: Mapping[str, str],
    ranked: list[tuple[str, float]],
    *,
    relevant: list[str],
    query: BeirQuery | None = None,
    scores: Mapping[str, float] | None = None,
    counts: MiningCounts | None = None,
    **rules: Any,
) -> list[Negative]:
    """Sample negatives for one query from a corpus of texts; without rules, no windows and no random negatives."""
    wanted = {"windows": (), "random": 0} | rules
    return draw_negatives(
        query or BeirQuery("q", "query"),
        relevant,
        ranked,
        dict(ranked) if scores is None else scores,
        {id_: BeirDocument(id_, text) for id_, text in texts.items()},
        list(texts),
        MiningRules(**wanted),
        counts or MiningCounts(),
    )


def windows(*texts: str) -> tuple[RankWindow, ...]:
    return tuple(RankWindow.parse(text) for text in texts)


RULES = MiningRules(windows=windows("1-5:2", "6-10:1"), random=1)


def run(collection: Collection, output: Path, *, finder=None, rescore=None, on_progress=None, **job) -> MiningCounts:
    job = MiningJob(collection, output, **{"rules": RULES, **job})
    return mine(job, lambda: finder or SharedWords(collection), rescore=rescore, on_progress=on_progress)


def rows(output: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in output.read_text(encoding="utf-8").splitlines()]


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}
