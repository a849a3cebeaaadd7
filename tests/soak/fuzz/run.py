"""Feed the inputs in separate processes, and report failures with their seeds."""

import faulthandler
import random
import signal
import traceback
from collections.abc import Callable
from pathlib import Path
from types import FrameType

from soak.corpora import ranker_model
from soak.fuzz import command_lines, file_formats, python_api
from soak.processes import attempt, is_project_error
from soak.report import Report, Size

_HANGS_AFTER = 20
_CHUNK = 250

AREAS: dict[str, tuple[Callable[[Path], Callable[[random.Random], None]], int]] = {
    "ranker": (python_api.ranker_inputs, 1_500),
    "retrievers": (python_api.retriever_inputs, 1_500),
    "filters": (python_api.filter_inputs, 2_500),
    "documents": (python_api.document_inputs, 1_500),
    "corpora": (file_formats.corpus_inputs, 700),
    "qrels": (file_formats.qrels_inputs, 700),
    "runs": (file_formats.run_inputs, 700),
    "pipelines": (file_formats.pipeline_inputs, 500),
    "command_lines": (command_lines.command_line_inputs, 400),
}
"""The generator of the inputs of an area, and their number at scale 1."""


class _HangError(BaseException):
    """An input takes too long; no handler of the code under attack catches it."""


def _ring(_signal: int, _frame: FrameType | None) -> None:
    raise _HangError


def feed(area: str, first: int, count: int, folder: str, progress: str) -> list[list[object]]:
    """
    Try inputs of an area.

    :param area: One of `AREAS`.
    :param first: The first seed.
    :param count: How many.
    :param folder: For files; the models are there.
    :param progress: A file that always holds the seed at work: should this process crash, it says where.
    :returns: Seeds of the inputs that fell, and why.
    """
    one = AREAS[area][0](Path(folder))
    fell: list[list[object]] = []
    signal.signal(signal.SIGALRM, _ring)
    for seed in range(first, first + count):
        Path(progress).write_text(str(seed), encoding="utf-8")
        # If library code delays the alarm, this reports later where it was.
        faulthandler.dump_traceback_later(3 * _HANGS_AFTER, exit=True)
        signal.alarm(_HANGS_AFTER)
        try:
            one(random.Random(f"{area} {seed}"))
        except _HangError:
            fell.append([seed, f"HANG: at work for {_HANGS_AFTER} s: {_place()}"])
        except AssertionError as error:
            fell.append([seed, f"WRONG: {error}"])
        except Exception as error:  # noqa: BLE001 - judged here
            text = str(error)
            if not is_project_error(error):
                fell.append([seed, f"RAW ERROR: {type(error).__name__}: {text} {_place()}"])
            elif not text or "\n" in text or len(text) > 2_000:
                fell.append([seed, f"VAGUE ERROR: {type(error).__name__}: {text!r}"])
        finally:
            signal.alarm(0)
    faulthandler.cancel_dump_traceback_later()
    return fell


def _place() -> str:
    """The last line of the package in the traceback of the error at hand."""
    ours = [line for line in traceback.format_exc().splitlines() if "rerank_plugin" in line]
    return " ".join(ours[-1].split()) if ours else ""


def run(size: Size, folder: Path) -> Report:
    """Try 10,000 inputs."""
    report = Report("fuzz", "inputs")
    ranker_model(folder)
    progress = folder / "progress"
    for area, (_, full) in AREAS.items():
        seeds = list(size.seeds(full, least=2))
        at, end, fallen = size.seed, size.seed + len(seeds), len(report.failures)
        while at < end:
            count = min(_CHUNK, end - at)
            outcome = attempt(feed, area, at, count, str(folder), str(progress), seconds=120 + 3 * _HANGS_AFTER + 2 * count)
            if outcome.value is not None:
                for seed, why in outcome.value:
                    report.fail(f"{area} seed {seed}", why)
                at += count
            elif outcome.error is not None:  # generating the inputs failed, not one of the inputs
                report.fail(f"{area} from seed {at}", outcome.error)
                at += count
            else:
                seed = int(progress.read_text(encoding="utf-8")) if progress.exists() else at
                report.fail(f"{area} seed {seed}", "HANG" if outcome.hung else f"CRASH: signal {outcome.crashed}")
                at = seed + 1
        report.tried += len(seeds)
        report.figures[area] = f"{len(seeds)}, {len(report.failures) - fallen} fell"
    return report
