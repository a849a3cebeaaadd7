"""`rerank bench`: from its options to its report."""

import os
import platform
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rerank_plugin.collections.sample import sample_corpus
from rerank_plugin.errors import InputFileError
from rerank_plugin.evaluation.bench.material import parse_case
from rerank_plugin.evaluation.bench.report import write_report
from rerank_plugin.evaluation.bench.run import BenchResult, BenchSettings, run_bench
from rerank_plugin.evaluation.bench.shapes import shape_of
from rerank_plugin.evaluation.bench.systems import default_systems
from rerank_plugin.progress import CountCallback
from rerank_plugin.scoring.loading.spec import resolve_model

JUDGED_QUERIES = 50
DEFAULT_CASES = ("1x90", "10x90", "100x90", "100x20-512")


@dataclass(frozen=True)
class BenchRequest:
    """
    The options of `rerank bench`.

    :param dataset: Collection in BEIR layout; `None`: the sample corpus.
    :param model: The cross-encoder.
    :param systems: See `load_system`; empty: those that the installed packages allow.
    :param cases: See `parse_case`; empty: the default cases.
    :param rounds: Rounds of each case.
    :param callers: Calls at a time.
    :param queries: Number of judged queries for the quality; 0: none; `None`: 50, or none for random weights.
    :param split: Split of the judgements.
    :param memory: Case whose memory is measured; `None`: none.
    """

    dataset: Path | None
    model: str
    systems: Sequence[str] = ()
    cases: Sequence[str] = ()
    rounds: int = 9
    callers: int = 1
    queries: int | None = None
    split: str = "test"
    memory: str | None = None

    def settings(self) -> BenchSettings:
        """
        Return the settings of the benchmark.

        :raises InvalidValueError: If a case cannot be read.
        :raises ModelError: If there is no such model.
        """
        is_random = shape_of(self.model) is not None
        if not is_random:
            resolve_model(self.model)
        queries = self.queries
        if queries is None:
            queries = 0 if is_random else JUDGED_QUERIES
        return BenchSettings(
            dataset=self.dataset or sample_corpus(),
            split=self.split,
            model=self.model,
            systems=tuple(self.systems or default_systems()),
            cases=tuple(map(parse_case, self.cases or DEFAULT_CASES)),
            rounds=self.rounds,
            callers=self.callers,
            queries=queries,
            memory=None if self.memory is None else parse_case(self.memory),
        )


def measure_and_report(request: BenchRequest, output: Path, *, on_progress: CountCallback) -> tuple[BenchResult, list[Path]]:
    """
    Run a benchmark and write its report.

    :param request: The options.
    :param output: Folder of the report.
    :param on_progress: Called with calls done and total calls.
    :returns: The figures, and the files of the report.
    :raises InvalidValueError: If an option is invalid; see `check_bench`.
    :raises InputFileError: If the collection cannot be read, or the report cannot be written.
    """
    settings = request.settings()
    if output.exists() and not output.is_dir():
        raise InputFileError(f"{output} is a file: choose a folder for the report with --output")
    with tempfile.TemporaryDirectory() as folder:
        result = run_bench(settings, Path(folder), on_progress=on_progress)
    facts = {
        "collection": settings.dataset.name,
        "model": Path(settings.model).name,
        "processors": os.cpu_count(),
        "machine": platform.machine(),
        "rounds": settings.rounds,
        "callers": settings.callers,
        "judged queries": settings.queries,
    }
    return result, write_report(result, output, facts)
