"""`rerank bench`: read what was asked for, measure, write the report."""

import os
import platform
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from rerank_plugin.collections.sample import sample_corpus
from rerank_plugin.evaluation.bench.material import parse_case
from rerank_plugin.evaluation.bench.report import write_report
from rerank_plugin.evaluation.bench.run import BenchSettings, run_bench
from rerank_plugin.evaluation.bench.systems import default_systems

DEFAULT_CASES = ("1x90", "10x90", "100x90", "100x20-512")


def measure_and_report(  # noqa: PLR0913 - the options of the command
    dataset: Path | None,
    output: Path,
    *,
    model: str,
    systems: Sequence[str] | None,
    cases: Sequence[str] | None,
    rounds: int,
    queries: int,
    split: str,
    memory: str | None,
    progress: Callable[[int, int], None],
) -> dict[str, list[dict[str, Any]]]:
    """
    Run a benchmark and write its report.

    :param dataset: Collection in BEIR layout; `None`: the sample corpus.
    :param output: Folder of the report.
    :param model: The cross-encoder.
    :param systems: See `load_system`; `None`: the usual ones.
    :param cases: See `parse_case`; `None`: the usual ones.
    :param rounds: Calls of each case.
    :param queries: Judged queries for the quality.
    :param split: Their judgements.
    :param memory: Case whose memory is measured.
    :param progress: Called with calls done and calls in all.
    :returns: Tables by title, as rows of values.
    """
    settings = BenchSettings(
        dataset=dataset or sample_corpus(),
        split=split,
        model=model,
        systems=tuple(systems or default_systems()),
        cases=tuple(map(parse_case, cases or DEFAULT_CASES)),
        rounds=rounds,
        queries=queries,
        memory=None if memory is None else parse_case(memory),
    )
    with tempfile.TemporaryDirectory() as folder:
        result = run_bench(settings, Path(folder), progress=progress)
    facts = {
        "collection": settings.dataset.name,
        "model": Path(model).name,
        "processors": os.cpu_count(),
        "machine": platform.machine(),
        "rounds": rounds,
        "judged queries": queries,
    }
    files = write_report(result, output, facts)
    tables = {"speed": result.rows()}
    if result.quality:
        tables["quality"] = [{"system": name, **values} for name, values in result.quality.items()]
    if result.megabytes:
        tables["memory"] = [{"system": name, "peak MB": round(mb)} for name, mb in result.megabytes.items()]
    tables["written"] = [{"file": str(file)} for file in files]
    return tables
