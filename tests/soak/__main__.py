"""
Run the attacks and print what was tried and what held.

    make soak                          # all of them, in full
    make soak SOAK=0.1                 # a tenth of each
    make soak SOAK="1 --only forks --only kills --minutes 10"
"""

import argparse
import importlib
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"

from soak.report import Report, Size

# Each has a `run(size, folder)` that returns a Report. Those that need a quiet machine come last.
SUBJECTS = {
    "kills": "soak.kills",
    "judging": "soak.judging",
    "crowds": "soak.crowds",
    "index_kills": "soak.index_kills",
    "two_runs": "soak.two_runs",
    "forks": "soak.forks",
    "damage": "soak.damage",
    "fuzz": "soak.fuzz.run",
    "odd": "soak.odd",
    "cycles": "soak.cycles",
    "time_budget": "soak.time_budget",
    "server": "soak.server",
    "foreign_kills": "soak.foreign_kills",
    "foreign_copies": "soak.foreign_copies",
}


def attack(name: str, size: Size) -> Report:
    """Run one of the subjects in a temporary folder."""
    run: Callable[[Size, Path], Report] = importlib.import_module(SUBJECTS[name]).run
    folder = Path(tempfile.mkdtemp(prefix="rerank-soak-"))
    try:
        return run(size, folder)
    except Exception as error:  # noqa: BLE001 - an attack that breaks off has not held
        broken = Report(name, "")
        broken.fail("the attack itself", f"{type(error).__name__}: {error}")
        return broken
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def show(reports: dict[str, tuple[Report, float]]) -> None:
    """Print a line for each subject, then figures and tables, then the failures."""
    print(f"\n{'subject':14}{'tried':>9}  {'':15}{'fell':>6}{'seconds':>9}")
    for name, (report, seconds) in reports.items():
        print(f"{name:14}{report.tried:>9,}  {report.unit:15}{len(report.failures):>6}{seconds:>9,.0f}")
    for name, (report, _) in reports.items():
        if report.figures or report.rows or report.skipped:
            print(f"\n{name}")
        for figure, value in report.figures.items():
            print(f"  {figure}: {value}")
        for row in report.rows:
            print(f"  {row}")
        for reason in report.skipped:
            print(f"  not tried: {reason}")
    for name, (report, _) in reports.items():
        for failure in report.failures:
            print(f"\nFELL {name}, {failure.reproduce}: {failure.what}")


def main() -> int:
    """Run the selected subjects. Returns the exit status: 1 if anything failed."""
    parser = argparse.ArgumentParser(prog="soak", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scale", type=float, default=1.0, help="share of the full numbers (1)")
    parser.add_argument("--seed", type=int, default=0, help="where the random choices start (0)")
    parser.add_argument(
        "--minutes", type=float, default=float("inf"), help="time limit for each subject; a case in progress is completed"
    )
    parser.add_argument("--only", action="append", choices=SUBJECTS, help="run only this subject; repeatable")
    parser.add_argument("--json", type=Path, help="write the reports to this file too")
    options = parser.parse_args()
    reports: dict[str, tuple[Report, float]] = {}
    with tempfile.TemporaryDirectory(prefix="rerank-soak-cache-") as cache:
        os.environ["RERANK_PLUGIN_CACHE"] = cache
        for name in options.only or SUBJECTS:
            print(f"{name} ...", file=sys.stderr, flush=True)
            began = time.perf_counter()
            report = attack(name, Size(options.scale, options.seed, options.minutes * 60))
            reports[name] = (report, time.perf_counter() - began)
    show(reports)
    if options.json:
        found = {
            name: {**vars(report), "failures": [vars(f) for f in report.failures]} for name, (report, _) in reports.items()
        }
        options.json.write_text(json.dumps(found, indent=1, default=str), encoding="utf-8")
    return 0 if all(report.held for report, _ in reports.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
