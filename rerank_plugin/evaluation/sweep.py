"""Try the settings of a second stage on judged queries: what each costs and brings, and which is cheap and good enough."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import partial
from importlib.util import find_spec
from itertools import product
from typing import Any

import numpy as np

from rerank_plugin.collections.runs import Run
from rerank_plugin.collections.trec import Qrels
from rerank_plugin.errors import InvalidValueError, PipelineConfigError
from rerank_plugin.evaluation.collection import open_collection
from rerank_plugin.evaluation.command import ANSWERS, Announce, EvalRequest, fit_to_index, indexed_groups
from rerank_plugin.evaluation.comparison import SIGNIFICANT
from rerank_plugin.evaluation.experiment import Experiment, ExperimentSettings
from rerank_plugin.evaluation.measures import Evaluation, evaluate, parse_measures
from rerank_plugin.evaluation.outcomes import Outcome
from rerank_plugin.evaluation.significance import randomisation_tests
from rerank_plugin.evaluation.stages import DEPENDENT, OUR_RANKER, FirstStage, SecondStage, StagedPipeline, init_parameters
from rerank_plugin.scoring.fusion import FUSIONS, fuse

NO_FUSION = ("none", 1.0)
TIMED = 10  # queries; each is timed at every depth in every way


@dataclass(frozen=True)
class Grid:
    """
    The settings that are tried: all combinations.

    :param candidates: Depths of the first stage.
    :param precision: See `CrossEncoderRanker`.
    :param windows: See its `window_aggregation`.
    :param fusion: See its `fusion`; with a weight, as in `linear:0.7`.
    """

    candidates: tuple[int, ...] = (10, 20, 50, 100, 200)
    precision: tuple[str, ...] = ("auto", "int8") if find_spec("nncf") else ("auto",)
    windows: tuple[str, ...] = ("max", "truncate")
    fusion: tuple[str, ...] = ("none", "linear:0.3", "linear:0.5", "linear:0.7", "linear:0.9", "rrf:0.5")

    @classmethod
    def parse(cls, texts: Sequence[str]) -> "Grid":
        """
        Read what shall be tried from the command line.

        :param texts: Such as `candidates=10,50`; what is not named stays as by default.
        :raises InvalidValueError: If a name or a value cannot be used.
        """
        names = [field.name for field in fields(cls)]
        given: dict[str, Any] = {}
        for text in texts:
            name, found, values = text.partition("=")
            parts = tuple(part.strip() for part in values.split(",") if part.strip())
            if name not in names or not found or not parts:
                raise InvalidValueError(f"--grid {text!r}: write NAME=VALUE,VALUE with one of {names} as NAME")
            given[name] = parts
        if "candidates" in given:
            if not all(part.isdecimal() and int(part) > 0 for part in given["candidates"]):
                raise InvalidValueError(
                    f"--grid candidates={','.join(given['candidates'])}: numbers of at least 1 are needed"
                )
            given["candidates"] = tuple(sorted({int(part) for part in given["candidates"]}))
        grid = cls(**given)
        for fusion in grid.fusion:
            parse_fusion(fusion)
        return grid


@dataclass(frozen=True)
class Setting:
    """
    A point of the grid.

    :param candidates: Depth of the first stage.
    :param precision: Of the model.
    :param windows: How windows of long passages are aggregated.
    :param fusion: `none`, or method and weight.
    """

    candidates: int
    precision: str
    windows: str
    fusion: str

    def __str__(self) -> str:
        return f"{self.candidates} candidates, {self.precision}, {self.windows}, fusion {self.fusion}"

    @property
    def ranker_parameters(self) -> dict[str, Any]:
        """The init parameters of `CrossEncoderRanker` that make it work so."""
        method, weight = parse_fusion(self.fusion)
        fusion: dict[str, Any] = {"fusion": method} if method == "none" else {"fusion": method, "fusion_weight": weight}
        return {"precision": self.precision, "window_aggregation": self.windows, **fusion}


@dataclass(frozen=True)
class Tried:
    """
    What a setting costs and brings.

    :param setting: The setting; `None`: the first stage alone.
    :param quality: Mean of the measure.
    :param milliseconds: Median time of a query, both stages.
    :param p: p-value of the paired randomisation test against the best setting, not corrected: a correction for many tests
        would let more settings pass as no worse.
    :param p_first: The same against the first stage alone: whether the second stage brings anything.
    :param on_front: Whether no other is both faster and better.
    """

    setting: Setting | None
    quality: float
    milliseconds: float
    p: float
    p_first: float
    on_front: bool

    @property
    def name(self) -> str:
        """As it is shown."""
        return str(self.setting or "first stage alone")


@dataclass(frozen=True)
class SweepResult:
    """
    What came out of a sweep.

    :param title: Collection, pipeline and number of queries.
    :param measure: The measure.
    :param queries: How many.
    :param tried: Everything that was tried, fastest first.
    :param best: The one with the highest quality.
    :param choice: The fastest that is not significantly worse.
    """

    title: str
    measure: str
    queries: int
    tried: list[Tried]
    best: Tried
    choice: Tried

    @property
    def front(self) -> list[Tried]:
        """What is worth having: fastest first, each better than all before it."""
        return [tried for tried in self.tried if tried.on_front]


def parse_fusion(text: str) -> tuple[str, float]:
    """
    Read a fusion with its weight.

    :param text: `none`, or such as `linear:0.7`.
    :returns: Method, and weight of the second stage.
    :raises InvalidValueError: If it is neither.
    """
    method, found, weight = text.partition(":")
    try:
        value = float(weight) if found else 1.0
    except ValueError:
        value = -1.0
    if method not in FUSIONS or (method == "none") == bool(found) or not 0 <= value <= 1:
        raise InvalidValueError(
            f"fusion {text!r}: write none, or METHOD:WEIGHT such as linear:0.7 with a weight from 0 to 1"
        )
    return method, value


def run_sweep(request: EvalRequest, grid: Grid, *, announce: Announce) -> SweepResult:
    """
    Try all settings of a grid on one pipeline.

    Each model setting scores all candidates of each query once; depths and fusions are worked out from that. Times are
    measured, for each depth, on the first queries.

    :param request: The collection, the queries, and one pipeline with a `CrossEncoderRanker`.
    :param grid: What to try.
    :param announce: Called with what is being done, how far it is, and how much there is.
    :returns: The settings, and which to choose.
    :raises InvalidValueError: If there is not one pipeline, the queries are in several languages, or every query failed.
    :raises PipelineConfigError: If the pipeline has no `CrossEncoderRanker`.
    """
    measure = next(iter(parse_measures(request.measures)))
    if request.dataset is None or len(request.pipelines) != 1:
        raise InvalidValueError("a sweep needs a collection and one --pipeline, whose second stage it varies")
    collection = open_collection(request.dataset, split=request.split, qrels_file=request.qrels)
    queries, qrels = collection.judged(lang=request.lang, limit=request.limit)
    source = request.pipelines[0]
    template = fit_to_index(source, None, request)
    if template.ranker is None or template.ranker["type"] != OUR_RANKER:
        raise PipelineConfigError(f"pipeline {template.name} has no CrossEncoderRanker named ranker: nothing can be varied")
    groups = list(indexed_groups(request, collection, queries, [template], announce))
    if len(groups) > 1:
        raise InvalidValueError(
            f"the queries are in several languages, {[g.language for g in groups]}: choose one with --lang"
        )
    (group,) = groups
    staged = fit_to_index(source, group.index, request)
    variants = {pair: _variant(staged, *pair) for pair in product(grid.precision, grid.windows)}
    first = replace(staged, name=f"sweep-{staged.name}-first", ranker=None)
    folder = None if request.output is None else request.output / ANSWERS
    experiment = Experiment(ExperimentSettings(max(grid.candidates), folder))
    outcomes = experiment.run([first, *variants.values()], group.queries, progress=partial(announce, "Scoring"))
    timed = list(group.queries.values())[:TIMED]
    seconds = {pair: experiment.second_stage(variant) for pair, variant in variants.items()}
    alone, times = _measure_times(experiment.first_stage(first), seconds, grid, timed, progress=partial(announce, "Timing"))
    runs: dict[Setting | None, Run] = {None: {answer.query: answer.ranking for answer in outcomes[first.name]}}
    for (precision, windows), variant in variants.items():
        if all(answer.has_failed for answer in outcomes[variant.name]):
            raise InvalidValueError(f"precision {precision}, windows {windows} failed: {outcomes[variant.name][0].error}")
        for depth, fusion in product(grid.candidates, grid.fusion):
            setting = Setting(depth, precision, windows, fusion)
            runs[setting] = _rankings(outcomes[variant.name], outcomes[first.name], depth, parse_fusion(fusion))
    milliseconds = {s: alone if s is None else alone + times[s.precision, s.windows, s.candidates] for s in runs}
    title = f"{collection.name}, {staged.name}: {len(group.queries)} queries"
    return choose(title, measure, runs, qrels, milliseconds)


def choose(
    title: str,
    measure: str,
    runs: Mapping[Setting | None, Run],
    qrels: Qrels,
    milliseconds: Mapping[Setting | None, float],
) -> SweepResult:
    """
    Find the front, and the cheapest setting that is not significantly worse than the best.

    :param title: Of the result.
    :param measure: Name of the measure.
    :param runs: The rankings of each setting; `None` is the first stage alone.
    :param qrels: Judgements of the queries.
    :param milliseconds: Time of a query, by setting.
    """
    evaluations: dict[Setting | None, Evaluation] = {
        setting: evaluate(run, qrels, [measure]) for setting, run in runs.items()
    }
    values = np.array([list(evaluation.per_query[measure].values()) for evaluation in evaluations.values()])
    means = values.mean(axis=1)
    best = int(np.lexsort((list(milliseconds.values()), -means))[0])
    p_values = randomisation_tests((values[best] - values).T)
    p_first = randomisation_tests((values - values[list(evaluations).index(None)]).T)
    tried = []
    for i, setting in enumerate(evaluations):
        time_ = milliseconds[setting]
        beaten = any(
            milliseconds[other] <= time_ and means[j] >= means[i] and (milliseconds[other] < time_ or means[j] > means[i])
            for j, other in enumerate(evaluations)
        )
        tried.append(Tried(setting, float(means[i]), round(time_, 2), float(p_values[i]), float(p_first[i]), not beaten))
    good_enough = [candidate for candidate in tried if candidate.p >= SIGNIFICANT]
    choice = min(good_enough, key=lambda candidate: (candidate.milliseconds, -candidate.quality))
    tried_best = tried[best]
    tried.sort(key=lambda candidate: (candidate.milliseconds, -candidate.quality))
    return SweepResult(title, measure, values.shape[1], tried, tried_best, choice)


def _variant(staged: StagedPipeline, precision: str, windows: str) -> StagedPipeline:
    """The pipeline with a ranker that scores all candidates in this way, and gives logits."""
    ranker: dict[str, Any] = staged.ranker or {}
    parameters = {
        **init_parameters(ranker),
        **DEPENDENT,
        "precision": precision,
        "window_aggregation": windows,
        "scale_score": False,
        "calibration": "none",
    }
    return replace(
        staged, name=f"sweep-{staged.name}-{precision}-{windows}", ranker={**ranker, "init_parameters": parameters}
    )


def _measure_times(
    first_stage: FirstStage,
    seconds: Mapping[tuple[str, str], SecondStage],
    grid: Grid,
    queries: Sequence[str],
    *,
    progress: Callable[[int, int], None],
) -> tuple[float, dict[tuple[str, str, int], float]]:
    """Median milliseconds of the first stage, and of the second by precision, windows and depth; in turn."""
    firsts: list[float] = []
    times: dict[tuple[str, str, int], list[float]] = {}
    for number, query in enumerate([queries[0], *queries]):  # the first time does not count
        began = time.perf_counter()
        documents = first_stage.retrieve(query, max(grid.candidates)).documents
        firsts.append((time.perf_counter() - began) * 1000)
        for pair, second in seconds.items():
            for depth in grid.candidates:
                times.setdefault((*pair, depth), []).append(second.rank(query, documents[:depth]).milliseconds or 0.0)
        progress(number, len(queries))
    return float(np.median(firsts[1:])), {key: float(np.median(values[1:])) for key, values in times.items()}


def _rankings(answers: Sequence[Outcome], firsts: Sequence[Outcome], depth: int, fusion: tuple[str, float]) -> Run:
    """The rankings if the second stage had got only the first candidates, and were combined with the first stage."""
    run: Run = {}
    for answer, first in zip(answers, firsts, strict=True):
        kept = [
            (document, score, rank)
            for document, score, rank in zip(answer.documents, answer.scores, answer.first_ranks, strict=True)
            if rank <= depth
        ]
        if fusion == NO_FUSION or not kept:
            run[answer.query] = {document: score for document, score, _ in kept}
            continue
        before = first.ranking
        fused = fuse(
            *fusion,
            np.array([score for _, score, _ in kept], dtype=np.float32),
            first_ranks=np.array([rank for _, _, rank in kept]),
            first_scores=np.array([before[document] for document, _, _ in kept]),
        )
        run[answer.query] = {document: float(score) for (document, _, _), score in zip(kept, fused, strict=True)}
    return run
