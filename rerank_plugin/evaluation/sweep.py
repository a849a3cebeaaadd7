"""Try settings of a second stage on judged queries: the quality and cost of each."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import product

import numpy as np

from rerank_plugin.collections.runs import Run
from rerank_plugin.errors import InvalidValueError
from rerank_plugin.evaluation.experiment import Experiment, ExperimentSettings
from rerank_plugin.evaluation.grid import Grid, Setting, parse_fusion, usual_fusions
from rerank_plugin.evaluation.measures import parse_measures
from rerank_plugin.evaluation.outcomes import Outcome
from rerank_plugin.evaluation.pareto import SweepResult, choose
from rerank_plugin.evaluation.plan import fit_to_index, plan_evaluation, single_group
from rerank_plugin.evaluation.request import EvalRequest
from rerank_plugin.evaluation.run import ANSWERS
from rerank_plugin.evaluation.stage_runners import FirstStage, SecondStage
from rerank_plugin.evaluation.stages import DEPENDENT, StagedPipeline, our_ranker_missing
from rerank_plugin.progress import CountCallback, ProgressCallback, counts_of

TIMED = 10  # queries; each is timed at every depth in every variant

# Precision and windows: each combination needs its own scores.
Variant = tuple[str, str]


def run_sweep(request: EvalRequest, grid: Grid, *, on_progress: ProgressCallback | None = None) -> SweepResult:
    """
    Try all settings of a grid on one pipeline.

    Each combination of precision and windows scores all candidates of each query once; depths and fusions are derived from
    these scores. The retrievers search at the largest depth, and their result is cut to the setting's candidates. Times are
    measured, for each depth, on the first queries.

    :param request: The collection, the queries, and one pipeline with a `CrossEncoderRanker`.
    :param grid: The settings to try.
    :param on_progress: Called with the current step, the work done and the total work.
    :returns: The results, with the recommended setting.
    :raises InvalidValueError: If there is not one pipeline, the queries are in several languages, or every query failed.
    :raises PipelineConfigError: If the pipeline has no `CrossEncoderRanker`.
    """
    measure = next(iter(parse_measures(request.measures)))
    if request.dataset is None or len(request.pipelines) != 1 or request.runs:
        raise InvalidValueError("a sweep needs a collection and one --pipeline, whose second stage it varies, and no --run")
    plan = plan_evaluation(request)
    (template,) = plan.pipelines
    if not template.has_our_ranker:
        raise our_ranker_missing(template, "nothing can be varied")
    if plan.collection is None:
        raise InvalidValueError("a sweep needs a collection")
    group = single_group(plan.request, plan.collection, plan.queries, plan.pipelines, on_progress)
    staged = fit_to_index(request.pipelines[0], group.index, request)
    variants = {pair: _variant(staged, pair) for pair in product(grid.precision, grid.windows)}
    first = replace(staged, name=f"sweep-{staged.name}-first", ranker=None)
    depth = max(grid.candidates)
    experiment = Experiment(ExperimentSettings(depth, None if request.output is None else request.output / ANSWERS))
    outcomes = experiment.run([first, *variants.values()], group.queries, on_progress=counts_of(on_progress, "Scoring"))
    candidates_of = [answer.candidates for variant in variants.values() for answer in outcomes[variant.name]]
    scores = [np.empty(0), *(candidates.first_scores for candidates in candidates_of if candidates is not None)]
    fusions = grid.fusion or usual_fusions(np.concatenate(scores))
    runs: dict[Setting | None, Run] = {None: {answer.query: answer.ranking for answer in outcomes[first.name]}}
    troubles = []
    for (precision, windows), variant in variants.items():
        answers = outcomes[variant.name]
        if failed := [answer for answer in answers if answer.has_failed]:
            line = (
                f"precision {precision}, windows {windows} failed on {len(failed)} of {len(answers)} queries, which count 0"
            )
            troubles.append(f"{line}; the first, {failed[0].query}: {failed[0].error}")
            if len(failed) == len(answers):
                raise InvalidValueError(troubles[-1])
        for candidates, fusion in product(grid.candidates, fusions):
            runs[Setting(candidates, precision, windows, fusion)] = _rankings(answers, candidates, fusion)
    first_ms, second_ms = _measure_times(
        experiment.first_stage(first),
        {pair: experiment.second_stage(variant) for pair, variant in variants.items()},
        grid.candidates,
        list(group.queries.values())[:TIMED],
        on_progress=counts_of(on_progress, "Timing"),
    )
    milliseconds = {s: first_ms if s is None else first_ms + second_ms[s.precision, s.windows, s.candidates] for s in runs}
    title = f"{template.name}: {len(group.queries)} queries"
    if plan.collection is not None:
        title = f"{plan.collection.name}, {title}"
    retrieved = depth if staged.joins else None
    return choose(title, measure, runs, plan.qrels, milliseconds, retrieved=retrieved, troubles=troubles)


def _variant(staged: StagedPipeline, pair: Variant) -> StagedPipeline:
    """Return the pipeline with a ranker that scores all candidates with this precision and windows, and returns logits."""
    precision, windows = pair
    parameters = {
        **staged.ranker_parameters,
        **DEPENDENT,
        "precision": precision,
        "window_aggregation": windows,
        "scale_score": False,
        "calibration": "none",
        "on_error": "raise",
    }
    parameters.pop("fusion_weight", None)
    return replace(
        staged,
        name=f"sweep-{staged.name}-{precision}-{windows}",
        ranker={**(staged.ranker or {}), "init_parameters": parameters},
    )


def _measure_times(
    first_stage: FirstStage,
    second_stages: Mapping[Variant, SecondStage],
    depths: Sequence[int],
    queries: Sequence[str],
    *,
    on_progress: CountCallback,
) -> tuple[float, dict[tuple[str, str, int], float]]:
    """Return median milliseconds of the first stage, and of the second by precision, windows and depth, interleaved."""
    firsts: list[float] = []
    times: dict[tuple[str, str, int], list[float]] = {}
    for number, query in enumerate([queries[0], *queries]):  # the first call is a warm-up
        began = time.perf_counter()
        documents = first_stage.retrieve(query, max(depths)).documents
        firsts.append((time.perf_counter() - began) * 1000)
        for pair, second in second_stages.items():
            for depth in depths:
                times.setdefault((*pair, depth), []).append(second.rank(query, documents[:depth]).milliseconds or 0.0)
        on_progress(number, len(queries))
    return float(np.median(firsts[1:])), {key: float(np.median(values[1:])) for key, values in times.items()}


def _rankings(answers: Sequence[Outcome], depth: int, fusion: str) -> Run:
    """Return the rankings of the first candidates alone, with a fusion; a failed query has none."""
    chosen = parse_fusion(fusion)
    return {
        answer.query: {} if answer.candidates is None else answer.candidates.ranking(depth, chosen) for answer in answers
    }
