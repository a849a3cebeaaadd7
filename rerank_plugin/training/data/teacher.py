"""Teacher scores: from a file, or from a better cross-encoder, which is asked once."""

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from rerank_plugin.collections.beir import read_jsonl
from rerank_plugin.errors import InputFileError
from rerank_plugin.training.data.pairs import LabelledPair

SCORES = "teacher_scores.jsonl"
Key = tuple[str, str]


def teach(
    pairs: Sequence[LabelledPair], teacher: str, output: Path, *, progress: Callable[[int, int], None]
) -> list[LabelledPair]:
    """
    Give each pair a teacher score.

    :param pairs: The pairs; scores that they have are replaced.
    :param teacher: A JSON Lines file with `query`, `passage` and `score` (a logit), or a cross-encoder: bundled name,
        folder or Hub id.
    :param output: Folder where the scores of a cross-encoder are kept, query by query: an interrupted run goes on.
    :param progress: Called with queries done and queries in all.
    :returns: The pairs with scores.
    :raises InputFileError: If the file is malformed, or has no score for a pair.
    :raises ModelError: If the teacher cannot be loaded.
    """
    if teacher.endswith(".jsonl"):
        scores = read_scores(Path(teacher))
        if missing := [pair for pair in pairs if (pair.query, pair.passage) not in scores]:
            raise InputFileError(
                f"{teacher} has no score for {len(missing)} of {len(pairs)} pairs, such as {missing[0].query[:60]!r} "
                f"({missing[0].source})"
            )
    else:
        scores = _ask(pairs, teacher, output / SCORES, progress)
    return [replace(pair, teacher_score=scores[pair.query, pair.passage]) for pair in pairs]


def read_scores(path: Path) -> dict[Key, float]:
    """
    Read a file of scores.

    :param path: JSON Lines with `query`, `passage` and `score`.
    :raises InputFileError: If a line lacks one of them.
    """
    scores: dict[Key, float] = {}
    for number, record in read_jsonl(path):
        query, passage, score = (record.get(name) for name in ("query", "passage", "score"))
        if not isinstance(query, str) or not isinstance(passage, str) or not isinstance(score, int | float):
            raise InputFileError(
                f"{path}, line {number}: needs query, passage and score (a number); it has {', '.join(record)}"
            )
        scores[query, passage] = float(score)
    return scores


def _ask(pairs: Sequence[LabelledPair], teacher: str, file: Path, progress: Callable[[int, int], None]) -> dict[Key, float]:
    from rerank_plugin.components import CrossEncoderRanker

    file = file.with_name(f"{Path(teacher).name}.{file.name}")
    scores = _read_until_cut(file)
    todo: dict[str, list[str]] = {}
    for pair in pairs:
        if (pair.query, pair.passage) not in scores:
            todo.setdefault(pair.query, []).append(pair.passage)
    if not todo:
        return scores
    ranker = CrossEncoderRanker(model=teacher)
    ranker.warm_up()
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("a", encoding="utf-8") as out:
        for number, (query, passages) in enumerate(todo.items(), start=1):
            different = list(dict.fromkeys(passages))
            for passage, logit in zip(different, ranker.logits(query, different), strict=True):
                scores[query, passage] = float(logit)
                row = {"query": query, "passage": passage, "score": float(logit)}
                out.write(json.dumps(row, ensure_ascii=False) + "\n")
            out.flush()
            progress(number, len(todo))
    return scores


def _read_until_cut(file: Path) -> dict[Key, float]:
    """Read what is there; the line that a kill cut off is removed."""
    if not file.exists():
        return {}
    with file.open("r+b") as out:
        whole, end, _ = out.read().rpartition(b"\n")
        out.truncate(len(whole) + len(end))
    return read_scores(file) if whole else {}
