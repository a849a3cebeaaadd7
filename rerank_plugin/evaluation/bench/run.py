"""Measure systems in turn, so that a change of the machine's speed meets all of them alike."""

import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from statistics import mean, median, quantiles
from typing import Any

from rerank_plugin.errors import InvalidValueError
from rerank_plugin.evaluation.bench.material import Case, draw_call, judged_calls
from rerank_plugin.evaluation.bench.memory import peak_megabytes
from rerank_plugin.evaluation.bench.systems import System, load_system
from rerank_plugin.evaluation.collection import open_collection
from rerank_plugin.evaluation.measures import NDCG, evaluate

WORDS = 200_000
P95 = 18  # of the 19 cuts between twentieths


@dataclass(frozen=True)
class BenchSettings:
    """
    What is measured.

    :param dataset: Collection in BEIR layout.
    :param split: Its judgements.
    :param model: The cross-encoder.
    :param systems: See `load_system`; the first is what the others are compared with.
    :param cases: Kinds of calls.
    :param rounds: Calls of each case that count; one more before them does not.
    :param queries: Judged queries for the quality; 0: none.
    :param candidates: Candidates of a judged query.
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


@dataclass
class BenchResult:
    """
    What was measured.

    :param milliseconds: By case and system: the time of each call.
    :param quality: By system: nDCG@10, and the mean Spearman correlation of its scores with those of the first system.
    :param megabytes: By system: peak memory of a call above the loaded model.
    """

    milliseconds: dict[str, dict[str, list[float]]] = field(default_factory=dict)
    quality: dict[str, dict[str, float]] = field(default_factory=dict)
    megabytes: dict[str, float] = field(default_factory=dict)

    def rows(self) -> list[dict[str, Any]]:
        """Return median, p95 and speed against the first system, by case and system."""
        rows = []
        for case, times in self.milliseconds.items():
            base = median(next(iter(times.values())))
            for system, values in times.items():
                rows.append(
                    {
                        "case": case,
                        "system": system,
                        "median ms": round(median(values), 1),
                        "p95 ms": round(quantiles(values, n=20, method="inclusive")[P95], 1),
                        "speed": round(base / median(values), 2),
                    }
                )
        return rows


def run_bench(settings: BenchSettings, folder: Path, *, progress: Callable[[int, int], None]) -> BenchResult:
    """
    Measure.

    :param settings: What.
    :param folder: For files that a system needs.
    :param progress: Called with calls done and calls in all.
    :returns: The figures.
    :raises InvalidValueError: If the settings name fewer than two systems or rounds.
    """
    if len(settings.systems) < 2 or settings.rounds < 2:
        raise InvalidValueError("a benchmark needs at least two systems and two rounds")
    opened = open_collection(settings.dataset, split=settings.split)
    collection = opened.dataset
    queries, qrels = opened.judged()
    words = list(islice((w for document in collection.documents() for w in document.text.split()), WORDS))
    most = max([settings.candidates, *(case.candidates for case in settings.cases)])
    systems = [load_system(name, settings.model, candidates=most, folder=folder) for name in settings.systems]
    judged = dict(islice(queries.items(), settings.queries))
    total = (len(settings.cases) * (settings.rounds + 1) + len(judged)) * len(systems)
    done = 0

    def count(_: object) -> None:
        nonlocal done
        done += 1
        progress(done, total)

    result = BenchResult()
    draw = random.Random(13)  # noqa: S311 - choosing texts, no secret
    texts = [query.text for query in queries.values()]
    for case in settings.cases:
        times: dict[str, list[float]] = {system.name: [] for system in systems}
        for _ in range(settings.rounds + 1):
            query, documents = draw_call(case, texts, words, draw)
            for system in systems:
                began = time.perf_counter()
                system.rank(query, documents)
                times[system.name].append((time.perf_counter() - began) * 1000)
                count(system)
        result.milliseconds[case.name] = {name: values[1:] for name, values in times.items()}
    if judged:
        calls = judged_calls(collection, {id_: q.text for id_, q in judged.items()}, candidates=settings.candidates)
        runs = {system.name: {id_: system.rank(*call) for id_, call in calls.items()} for system in _counted(systems, count)}
        result.quality = _quality(runs, {id_: qrels[id_] for id_ in judged})
    if settings.memory is not None:
        for name in settings.systems:
            result.megabytes[name] = peak_megabytes(name, settings.model, settings.memory, words)
    return result


def _counted(systems: Sequence[System], count: Callable[[object], None]) -> list[System]:
    def counting(system: System) -> System:
        def rank(query: str, documents: list[Any]) -> dict[str, float]:
            scores = system.rank(query, documents)
            count(system)
            return scores

        return System(system.name, rank)

    return [counting(system) for system in systems]


def _quality(runs: dict[str, dict[str, dict[str, float]]], qrels: dict[str, dict[str, int]]) -> dict[str, dict[str, float]]:
    from scipy.stats import spearmanr

    base = next(iter(runs.values()))
    quality = {}
    for name, run in runs.items():
        correlations = [
            float(spearmanr([scores[id_] for id_ in base[query]], list(base[query].values())).statistic)
            for query, scores in run.items()
            if len(base[query]) > 1
        ]
        quality[name] = {NDCG: round(evaluate(run, qrels, [NDCG]).means[NDCG], 4), "Spearman": round(mean(correlations), 4)}
    return quality
