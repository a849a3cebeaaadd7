"""`rerank index`, killed at any moment and restarted: the same documents and vectors as after an undisturbed run."""

import random
import shutil
import time
from dataclasses import dataclass
from pathlib import Path

from soak.corpora import KEYWORD, contents, difference, embedding_pipeline, write_file, write_files
from soak.processes import Running
from soak.report import Report, Size

_SECONDS = 180.0
_REPOSITORY = Path(__file__).parents[2]


@dataclass(frozen=True)
class _Way:
    """A pipeline, and the duration of a run with it on this machine."""

    pipeline: str
    seconds: float


def run(size: Size, folder: Path) -> Report:
    """
    Kill runs at 60 random moments, and resume each.

    Half of the runs embed. A quarter of them is killed twice; before another quarter is resumed, a file is edited.
    """
    report = Report("index_kills", "kills")
    files = write_files(folder / "files", size.seed, files=size.of(24, least=6), lines=size.of(400, least=60))
    ways = [_measure(folder, files, name) for name in (KEYWORD, str(embedding_pipeline(folder, _REPOSITORY)))]
    in_time = 0
    for seed in size.seeds(60):
        way = ways[seed % len(ways)]
        try:
            killed = _kill_and_resume(folder, files, way, seed)
            report.tried += 1
            in_time += killed
        except Exception as error:  # noqa: BLE001 - whatever fell, the others are tried all the same
            report.tried += 1
            report.fail(f"seed {seed}", f"{Path(way.pipeline).stem}: {type(error).__name__}: {error}")
        shutil.rmtree(folder / "killed", ignore_errors=True)
    report.figures["killed while at work"] = in_time
    return report


def _index(folder: Path, files: Path, pipeline: str, name: str) -> Running:
    ended = folder / f"{name}.ended"
    ended.unlink(missing_ok=True)
    return Running(ended, "index", files, "--index", folder / name, "--pipeline", pipeline)


def _whole(folder: Path, files: Path, pipeline: str, name: str) -> None:
    ended = _index(folder, files, pipeline, name).result(_SECONDS)
    if ended.status != 0:
        raise AssertionError(f"rerank index ended with status {ended.status}: {ended.stderr}")


def _measure(folder: Path, files: Path, pipeline: str) -> _Way:
    _whole(folder, files, pipeline, "first")  # loading for the first time takes longer
    shutil.rmtree(folder / "first")
    began = time.perf_counter()
    _whole(folder, files, pipeline, "first")
    seconds = time.perf_counter() - began
    shutil.rmtree(folder / "first")
    return _Way(pipeline, seconds)


def _kill_and_resume(folder: Path, files: Path, way: _Way, seed: int) -> bool:
    chance, killed = random.Random(seed), False
    for _ in range(2 if seed % 4 == 3 else 1):
        run = _index(folder, files, way.pipeline, "killed")
        run.process.join(chance.uniform(0, way.seconds))
        killed |= run.kill()
    if seed % 4 == 2:
        write_file(files, chance.randrange(6), chance)
    _whole(folder, files, way.pipeline, "killed")
    expected = _expected(folder, files, way.pipeline)
    if found := difference(expected, contents(folder / "killed")):
        raise AssertionError(found)
    again = _index(folder, files, way.pipeline, "killed").result(_SECONDS)
    if again.status != 0 or not again.stdout.startswith("0 passages of 0 files"):
        raise AssertionError(f"one run more finds something to do: {again.stdout} {again.stderr}")
    return killed


def _expected(folder: Path, files: Path, pipeline: str) -> dict[str, object]:
    """Return the result of an undisturbed run over the files, cached until they change."""
    state = "".join(f"{path.name}{path.stat().st_mtime_ns}" for path in sorted(files.iterdir()))
    name = f"whole-{Path(pipeline).stem}"
    if _SEEN.get(name) != (str(folder), state):
        shutil.rmtree(folder / name, ignore_errors=True)
        _whole(folder, files, pipeline, name)
        _SEEN[name] = (str(folder), state)
    return contents(folder / name)


_SEEN: dict[str, tuple[str, str]] = {}
