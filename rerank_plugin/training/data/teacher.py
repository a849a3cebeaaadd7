"""Teacher scores: from a file, or from a better cross-encoder, whose scores are kept."""

import json
import math
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from rerank_plugin import __version__
from rerank_plugin.checks import shown
from rerank_plugin.collections.jsonl import read_jsonl
from rerank_plugin.errors import InputFileError, ModelError
from rerank_plugin.evaluation.run_key import run_key
from rerank_plugin.progress import CountCallback
from rerank_plugin.training.data.pairs import LabelledPair
from rerank_plugin.training.fingerprints import fingerprint_model

FOLDER = "teacher"
FORMAT = 1
# How the teacher is run; its scores depend on it.
RANKER: dict[str, Any] = {"backend": "auto", "precision": "auto", "window_aggregation": "max"}
Key = tuple[str, str]


def add_teacher_scores(
    pairs: Sequence[LabelledPair], teacher: str, output: Path, *, on_progress: CountCallback
) -> list[LabelledPair]:
    """
    Add a teacher score to each pair.

    :param pairs: The pairs; existing scores are replaced.
    :param teacher: A JSON Lines file with `query`, `passage` and `score` (a logit), or a cross-encoder: bundled name,
        folder or Hub id.
    :param output: The scores of a cross-encoder are kept in its subfolder `teacher`, in a file per teacher, by the
        texts: pairs scored before are not scored again, even after an interruption.
    :param on_progress: Called with queries done and total queries.
    :returns: The pairs with scores.
    :raises InputFileError: If the file is malformed, or has no score for a pair.
    :raises ModelError: If the teacher cannot be loaded.
    """
    if teacher.endswith(".jsonl"):
        scores = read_scores(Path(teacher))
        if missing := [pair for pair in pairs if (pair.query, pair.passage) not in scores]:
            raise InputFileError(
                f"{teacher} has no score for {len(missing)} of {len(pairs)} pairs, such as {shown(missing[0].query)} "
                f"({missing[0].source})"
            )
    else:
        scores = _ask(pairs, teacher, scores_file(teacher, output), on_progress)
    return [replace(pair, teacher_score=scores[pair.query, pair.passage]) for pair in pairs]


def scores_file(teacher: str, output: Path) -> Path:
    """
    Return the file that keeps the scores of a cross-encoder: a different or changed model has a different file.

    :param teacher: Bundled name, folder or Hub id.
    :param output: The folder of the run.
    """
    settings = {"format": FORMAT, "version": __version__, "ranker": RANKER}
    key = run_key(settings=settings, query=None, models={"teacher": fingerprint_model(teacher)}, corpus=None)
    name = re.sub(r"[^\w.-]+", "-", Path(teacher).name)
    return output / FOLDER / f"{name}-{key[:16]}.jsonl"


def read_scores(path: Path) -> dict[Key, float]:
    """
    Read a file of scores.

    :param path: JSON Lines with `query`, `passage` and `score`.
    :raises InputFileError: If a line lacks one of them, or the score is not a finite number.
    """
    scores: dict[Key, float] = {}
    for number, record in read_jsonl(path):
        query, passage, score = (record.get(name) for name in ("query", "passage", "score"))
        is_number = isinstance(score, int | float) and not isinstance(score, bool)
        if not isinstance(query, str) or not isinstance(passage, str) or not is_number:
            raise InputFileError(
                f"{path}, line {number}: needs query, passage and score (a number); it has {', '.join(record)}"
            )
        try:
            scores[query, passage] = float(score or 0.0)
        except OverflowError:
            scores[query, passage] = math.inf
        if not math.isfinite(scores[query, passage]):
            raise InputFileError(f"{path}, line {number}: score must be a finite number, got {shown(score)}")
    return scores


def _ask(pairs: Sequence[LabelledPair], teacher: str, file: Path, on_progress: CountCallback) -> dict[Key, float]:
    from rerank_plugin.components import CrossEncoderRanker

    scores = _read_unfinished(file)
    unscored: dict[str, list[str]] = {}
    for pair in pairs:
        if (pair.query, pair.passage) not in scores:
            unscored.setdefault(pair.query, []).append(pair.passage)
    if not unscored:
        return scores
    ranker = CrossEncoderRanker(model=teacher, **RANKER)
    ranker.warm_up()
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("a", encoding="utf-8") as out:
        for number, (query, passages) in enumerate(unscored.items(), start=1):
            distinct = list(dict.fromkeys(passages))
            for passage, logit in zip(distinct, ranker.logits(query, distinct), strict=True):
                if not math.isfinite(logit):
                    raise ModelError(f"teacher {teacher} returns {logit} for query {shown(query)}: choose another teacher")
                scores[query, passage] = float(logit)
                row = {"query": query, "passage": passage, "score": float(logit)}
                out.write(json.dumps(row, ensure_ascii=False) + "\n")
            out.flush()
            on_progress(number, len(unscored))
    return scores


def _read_unfinished(file: Path) -> dict[Key, float]:
    """Read the scores that an earlier run wrote; an incomplete last line is removed."""
    if not file.exists():
        return {}
    with file.open("r+b") as out:
        whole, end, _ = out.read().rpartition(b"\n")
        out.truncate(len(whole) + len(end))
    try:
        return read_scores(file) if whole else {}
    except InputFileError as error:
        raise InputFileError(f"{error}; delete the file, and the pairs are scored again") from error
