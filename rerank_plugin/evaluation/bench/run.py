"""Measure systems in turn, so that changes in the machine's speed affect all of them alike."""

import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from statistics import mean, median, quantiles
from typing import Any

from rerank_plugin.checks import check_count
from rerank_plugin.errors import InvalidValueError, MissingDependencyError
from rerank_plugin.evaluation.bench.material import Case, draw_call, judged_calls
from rerank_plugin.evaluation.bench.memory import peak_megabytes
from rerank_plugin.evaluation.bench.systems import System, check_system, load_system
from rerank_plugin.evaluation.collection import open_collection
from rerank_plugin.evaluation.measures import NDCG, evaluate
from rerank_plugin.evaluation.plan import check_relevant
from rerank_plugin.progress import CountCallback

WORDS = 200_000
P95 = 18  # index among the 19 cut points of 20 quantiles


@dataclass(frozen=True)
class BenchSettings:
    """
    The settings of a benchmark.

    :param dataset: Collection in BEIR layout.
    :param split: Split of the judgements.
    :param model: The cross-encoder.
    :param systems: See `load_system`; the first is the baseline.
    :param cases: Types of calls.
    :param rounds: Timed calls of each case, after one warm-up call.
    :param queries: Number of judged queries for the quality; 0: none.
    :param candidates: Candidates per judged query.
    :param memory: Case whose memory is measured; `None`: none.
    """

    dataset: Path
    split: str
    model: str
    systems: tuple[str, ...]
    cases: tuple[Case, ...]
    rounds: int = 9
    queries: int = 50
    candidates: int = 100
    memory: Case | None = None


@dataclass(frozen=True)
class SpeedRow:
    """
    The speed of a system in a case.

    :param case: Name of the case.
    :param system: Name of the system.
    :param median: Median time of a call in milliseconds.
    :param p95: 95th percentile in milliseconds.
    :param speed: Speed-up over the first system, by medians.
    """

    case: str
    system: str
    median: float
    p95: float
    speed: float


@dataclass(frozen=True)
class QualityRow:
    """
    The quality of a system on judged queries.

    :param system: Name of the system.
    :param ndcg: nDCG@10.
    :param spearman: Mean Spearman correlation of its scores with those of the first system; `None` if no query has two
        candidates.
    """

    system: str
    ndcg: float
    spearman: float | None


@dataclass(frozen=True)
class BenchResult:
    """
    The results of a benchmark.

    :param milliseconds: By case and system: the time of each call.
    :param quality: Quality of each system; empty if not measured.
    :param megabytes: By system: peak memory of a call above the loaded model; `None` if the operating system does not report
        it.
    """

    milliseconds: dict[str, dict[str, list[float]]]
    quality: list[QualityRow]
    megabytes: dict[str, float | None]

    @property
    def speeds(self) -> list[SpeedRow]:
        """Median, p95 and speed against the first system, by case and system."""
        rows = []
        for case, times in self.milliseconds.items():
            base = median(next(iter(times.values())))
            for system, values in times.items():
                p95 = quantiles(values, n=20, method="inclusive")[P95]
                rows.append(SpeedRow(case, system, round(median(values), 1), round(p95, 1), round(base / median(values), 2)))
        return rows


def check_bench(settings: BenchSettings) -> None:
    """
    Check everything that can be checked before a model is loaded.

    :param settings: The settings.
    :raises InvalidValueError: If a number is too small, or a system is unknown or listed twice.
    :raises MissingDependencyError: If a package is missing.
    """
    if len(settings.systems) < 2 or settings.rounds < 2:
        raise InvalidValueError("a benchmark needs at least two systems and two rounds")
    if len({*settings.systems}) < len(settings.systems):
        raise InvalidValueError(f"each system can be measured once: remove the repetitions from {list(settings.systems)}")
    check_count("queries", settings.queries, least=0)
    for name in settings.systems:
        check_system(name)
    packages = {"matplotlib": "matplotlib", **({"ir_measures": "ir-measures", "scipy": "scipy"} if settings.queries else {})}
    for module, package in packages.items():
        if find_spec(module) is None:
            raise MissingDependencyError(f"the benchmark needs {package}: pip install 'rerank-plugin[bench,eval]'")


def run_bench(settings: BenchSettings, folder: Path, *, on_progress: CountCallback) -> BenchResult:
    """
    Run a benchmark.

    :param settings: The settings.
    :param folder: Folder for files that a system needs.
    :param on_progress: Called with calls done and total calls.
    :returns: The figures.
    :raises InvalidValueError: See `check_bench`; or if the collection has no text.
    :raises InputFileError: If the collection cannot be read.
    """
    check_bench(settings)
    opened = open_collection(settings.dataset, split=settings.split)
    collection = opened.dataset
    queries, qrels = opened.judged()
    if settings.queries:
        check_relevant(opened, {id_: qrels[id_] for id_ in islice(queries, settings.queries)}, has_index=False)
    words = list(islice((w for document in collection.documents() for w in document.text.split()), WORDS))
    if not words:
        raise InvalidValueError(f"{collection.place} has no text to rank: choose another collection")
    most = max([settings.candidates, *(case.candidates for case in settings.cases)])
    systems = [load_system(name, settings.model, candidates=most, folder=folder) for name in settings.systems]
    judged = dict(islice(queries.items(), settings.queries))
    total = (len(settings.cases) * (settings.rounds + 1) + len(judged)) * len(systems)
    done = 0

    def count(_: object) -> None:
        nonlocal done
        done += 1
        on_progress(done, total)

    milliseconds: dict[str, dict[str, list[float]]] = {}
    rng = random.Random(13)  # noqa: S311 - no secret depends on it
    texts = [query.text for query in queries.values()]
    for case in settings.cases:
        times: dict[str, list[float]] = {system.name: [] for system in systems}
        for _ in range(settings.rounds + 1):
            query, documents = draw_call(case, texts, words, rng)
            for system in systems:
                began = time.perf_counter()
                system.rank(query, documents)
                times[system.name].append((time.perf_counter() - began) * 1000)
                count(system)
        milliseconds[case.name] = {name: values[1:] for name, values in times.items()}
    quality: list[QualityRow] = []
    if judged:
        calls = judged_calls(collection, {id_: q.text for id_, q in judged.items()}, candidates=settings.candidates)
        runs = {system.name: {id_: system.rank(*call) for id_, call in calls.items()} for system in _counted(systems, count)}
        quality = _quality(runs, {id_: qrels[id_] for id_ in judged})
    megabytes = {}
    if settings.memory is not None:
        megabytes = {name: peak_megabytes(name, settings.model, settings.memory, words) for name in settings.systems}
    return BenchResult(milliseconds, quality, megabytes)


def _counted(systems: Sequence[System], count: Callable[[object], None]) -> list[System]:
    def counting(system: System) -> System:
        def rank(query: str, documents: list[Any]) -> dict[str, float]:
            scores = system.rank(query, documents)
            count(system)
            return scores

        return System(system.name, rank)

    return [counting(system) for system in systems]


def _quality(runs: dict[str, dict[str, dict[str, float]]], qrels: dict[str, dict[str, int]]) -> list[QualityRow]:
    from scipy.stats import spearmanr

    base = next(iter(runs.values()))
    rows = []
    for name, run in runs.items():
        correlations = [
            float(spearmanr([scores[id_] for id_ in base[query]], list(base[query].values())).statistic)
            for query, scores in run.items()
            if len(base[query]) > 1
        ]
        ndcg = round(evaluate(run, qrels, [NDCG]).means[NDCG], 4)
        rows.append(QualityRow(name, ndcg, round(mean(correlations), 4) if correlations else None))
    return rows
