"""A benchmark: speed, quality and memory of several systems, on the same pairs."""

import random
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from statistics import mean

from rerank_plugin.checks import check_count
from rerank_plugin.errors import InvalidValueError, MissingDependencyError
from rerank_plugin.evaluation.bench.material import Case, draw_call, first_words, judged_calls
from rerank_plugin.evaluation.bench.memory import peak_megabytes
from rerank_plugin.evaluation.bench.shapes import shape_of, write_random
from rerank_plugin.evaluation.bench.speed import Call, Round, SpeedRow, WorkRow, measure_speed, noise, speed_rows, work_rows
from rerank_plugin.evaluation.bench.systems import check_system, load_system
from rerank_plugin.evaluation.collection import open_collection
from rerank_plugin.evaluation.measures import NDCG, evaluate
from rerank_plugin.evaluation.plan import check_relevant
from rerank_plugin.progress import CountCallback
from rerank_plugin.scoring.loading.location import locate
from rerank_plugin.scoring.loading.spec import ModelSpec, resolve_model
from rerank_plugin.scoring.loading.torch_model import load_in_torch
from rerank_plugin.scoring.tokens import Pair


@dataclass(frozen=True)
class BenchSettings:
    """
    The settings of a benchmark.

    :param dataset: Collection in BEIR layout.
    :param split: Split of the judgements.
    :param model: The cross-encoder: bundled name, folder, Hub id, or `random:` and a key of `SHAPES`.
    :param systems: See `load_system`; the first is the baseline.
    :param cases: Types of calls.
    :param rounds: Timed rounds of each case, after one to warm up.
    :param callers: Calls at a time in a round.
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
    callers: int = 1
    queries: int = 50
    candidates: int = 100
    memory: Case | None = None


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

    :param rounds: By case and system: what was measured in each round.
    :param quality: Quality of each system; empty if not measured.
    :param megabytes: By system: peak memory of a call above the loaded model; `None` if the operating system does not report
        it.
    """

    rounds: dict[str, dict[str, list[Round]]]
    quality: list[QualityRow]
    megabytes: dict[str, float | None]

    @property
    def speeds(self) -> list[SpeedRow]:
        """Times of a call, by case and system."""
        return speed_rows(self.rounds)

    @property
    def works(self) -> list[WorkRow]:
        """What the time went into, by case and system."""
        return work_rows(self.rounds)

    @property
    def noise(self) -> str | None:
        """What makes the figures doubtful; `None` if nothing does."""
        return noise(self.works)


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
    check_count("concurrency", settings.callers)
    if shape_of(settings.model) is not None and settings.queries:
        raise InvalidValueError(f"{settings.model} has random weights, which rank nothing: give --queries 0")
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
    words = first_words(collection)
    if not words:
        raise InvalidValueError(f"{collection.place} has no text to rank: choose another collection")
    model, shape = settings.model, shape_of(settings.model)
    if shape is not None:
        model = str(write_random(shape, (document.text for document in collection.documents()), folder))
    most = max([settings.candidates, *(case.candidates for case in settings.cases)])
    judged = dict(islice(queries.items(), settings.queries))
    total = (len(settings.cases) * (settings.rounds + 1) + len(judged)) * len(settings.systems)
    done = 0

    def count() -> None:
        nonlocal done
        done += 1
        on_progress(done, total)

    rng = random.Random(13)  # noqa: S311 - no secret depends on it
    with ExitStack() as loaded:
        systems = []
        for name in settings.systems:
            system = load_system(name, model, candidates=most, folder=folder, callers=settings.callers)
            loaded.callback(system.close)
            systems.append(system)
        count_tokens, texts = _token_counter(model), [query.text for query in queries.values()]
        rounds = {
            case.name: measure_speed(
                case,
                systems,
                rounds=settings.rounds,
                callers=settings.callers,
                draw=partial(draw_call, queries=texts, words=words, rng=rng),
                count_tokens=count_tokens,
                on_round=count,
            )
            for case in settings.cases
        }
        quality: list[QualityRow] = []
        if judged:
            calls = judged_calls(collection, {id_: q.text for id_, q in judged.items()}, candidates=settings.candidates)
            runs: dict[str, dict[str, dict[str, float]]] = {}
            for system in systems:
                runs[system.name] = {}
                for id_, call in calls.items():
                    runs[system.name][id_] = system.rank(*call).scores
                    count()
            quality = _quality(runs, {id_: qrels[id_] for id_ in judged})
    megabytes = {}
    if settings.memory is not None:
        megabytes = {name: peak_megabytes(name, model, settings.memory, words) for name in settings.systems}
    return BenchResult(rounds, quality, megabytes)


def _token_counter(model: str) -> Callable[[Call], int]:
    """Return a function that counts the tokens of a query's pairs as the model reads them: truncated."""
    tokenizer = load_in_torch(locate(ModelSpec(resolve_model(model)))).tokenizer

    def count(call: Call) -> int:
        query, documents = tokenizer.encode_query(call[0]), tokenizer.encode([one.content or "" for one in call[1]])
        return sum(tokenizer.length(tokenizer.truncated(Pair(query, passage))) for passage in documents)

    return count


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
