"""Two `rerank index` runs on one index at the same time: the index ends up with exactly the corpus, as one run writes it."""

import random
import re
import shutil
import time
from pathlib import Path

from soak.corpora import KEYWORD, contents, difference, other_pipeline, write_corpus, write_file, write_files
from soak.processes import Ended, Running
from soak.report import Report, Size

_SECONDS = 120.0
_REPOSITORY = Path(__file__).parents[2]
# The messages with which a run may refuse to work beside another one.
_DECLINED = re.compile(r"another|other run|process \d+|pid|in use|holds|is being indexed|at work", re.IGNORECASE)


def run(size: Size, folder: Path) -> Report:
    """Take 20 rounds: two runs with two pipelines, a file and the corpus edited while they work, and one run after them."""
    report = Report("two_runs", "rounds")
    files = write_files(folder / "files", size.seed, files=size.of(30, least=6), lines=size.of(2_000, least=200))
    pipelines = [KEYWORD, str(other_pipeline(folder, _REPOSITORY))]
    declined = waited = 0
    for seed in size.seeds(20):
        report.tried += 1
        try:
            first, second = _round(folder, files, pipelines, seed)
            declined += (first.status != 0) + (second.status != 0)
            waited += first.status == second.status == 0
        except Exception as error:  # noqa: BLE001 - whatever fell, the others are tried all the same
            report.fail(f"seed {seed}", f"{type(error).__name__}: {error}")
            shutil.rmtree(folder / "shared", ignore_errors=True)
    report.figures = {"runs that declined": declined, "rounds in which both worked": waited}
    return report


def _run(folder: Path, files: Path, pipeline: str, index: str, name: str) -> Running:
    ended = folder / f"{name}.ended"
    ended.unlink(missing_ok=True)
    return Running(ended, "index", files, "--index", folder / index, "--pipeline", pipeline)


def _round(folder: Path, files: Path, pipelines: list[str], seed: int) -> tuple[Ended, Ended]:
    chance = random.Random(seed)
    # Often different pipelines; where they are the same, an edited file alone makes the difference.
    mine, theirs = chance.choice([pipelines, pipelines[::-1], [pipelines[0]] * 2])
    write_corpus(files / "corpus.jsonl", chance, chance.randint(150, 250))
    first = _run(folder, files, mine, "shared", "mine")
    time.sleep(chance.uniform(0, 0.5))
    if chance.random() < 0.7:
        write_file(files, chance.randrange(6), chance)
    second = _run(folder, files, theirs, "shared", "theirs")
    time.sleep(chance.uniform(0, 0.5))
    if chance.random() < 0.7:
        write_corpus(files / "corpus.jsonl", chance, chance.randint(150, 250))
    results = first.result(_SECONDS), second.result(_SECONDS)
    for ended in results:
        if ended.status != 0 and not (ended.status == 1 and ended.is_orderly and _DECLINED.search(ended.stderr)):
            raise AssertionError(f"a run ended with status {ended.status}: {ended.stderr}")
    if all(ended.status for ended in results):
        raise AssertionError(f"neither run worked: {results[0].stderr} {results[1].stderr}")
    last = chance.choice(pipelines)
    for name, index in (("last", "shared"), ("fresh", "fresh")):
        ended = _run(folder, files, last, index, name).result(_SECONDS)
        if ended.status != 0:
            raise AssertionError(f"the run after them ended with status {ended.status}: {ended.stderr}")
    found = difference(contents(folder / "fresh"), contents(folder / "shared"))
    shutil.rmtree(folder / "fresh")
    if found:
        raise AssertionError(found)
    return results
