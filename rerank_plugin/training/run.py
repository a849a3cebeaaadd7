"""A training run: gather pairs, check them, add teacher scores, train, save, measure, and write the card."""

from collections.abc import Callable
from dataclasses import dataclass, replace

from rerank_plugin.errors import InvalidValueError
from rerank_plugin.indexing.text_repair import TextRepair
from rerank_plugin.progress import ProgressCallback, counts_of
from rerank_plugin.training.data.checks import DataReport, check_pairs, with_cut
from rerank_plugin.training.data.gather import gather, held_out_queries, read_files
from rerank_plugin.training.data.pairs import LabelledPair
from rerank_plugin.training.data.teacher import add_teacher_scores
from rerank_plugin.training.fitting.dev import candidates_of
from rerank_plugin.training.fitting.load import fetch_base, load_tokenizer, reading_limit
from rerank_plugin.training.fitting.losses import labels_are_bounded, needs_teacher
from rerank_plugin.training.fitting.processes import is_main_process, main_process_first
from rerank_plugin.training.fitting.train import TrainingResult, check_installed, train
from rerank_plugin.training.output.card import write_card
from rerank_plugin.training.output.fit_early_exit import fit_early_exit
from rerank_plugin.training.output.folder import check_output
from rerank_plugin.training.output.measure import measure
from rerank_plugin.training.output.save import save_half
from rerank_plugin.training.recipe.request import TrainingRequest
from rerank_plugin.training.writing import writing_to

REMEDY = "free some space, and run the same command again: it resumes"


@dataclass(frozen=True)
class TrainingSummary:
    """
    The result of a run.

    :param model: The model's folder.
    :param steps: Optimiser steps done.
    :param total_steps: Steps of the whole run.
    :param pairs: Training pairs.
    :param loss: The last logged training loss.
    :param figures: For each evaluated collection, nDCG@10 of the first stage and of the model.
    :param replaced: Files of an earlier model that were removed from the folder, and the new name of a README.md that was
        not written by a training run.
    """

    model: str
    steps: int
    total_steps: int
    pairs: int
    loss: float | None
    figures: dict[str, dict[str, float]]
    replaced: list[str]


def run_training(
    request: TrainingRequest,
    *,
    on_progress: ProgressCallback | None = None,
    on_report: Callable[[DataReport], None] | None = None,
) -> TrainingSummary | None:
    """
    Gather the pairs, check them, add teacher scores, train, save, measure, and write the card.

    An interrupted run resumes: in mining, in teacher scoring, or from the last complete checkpoint.

    :param request: The run.
    :param on_progress: Called with the current step, the work done and the total work.
    :param on_report: Called with the report on the data before training starts.
    :returns: The result; `None` after a dry run, and in all but the main process of several.
    :raises InputFileError: If a file is missing or malformed.
    :raises InvalidValueError: If the data has problems, or the request is invalid.
    :raises MissingDependencyError: If a package is not installed.
    :raises ModelError: If a model cannot be loaded.
    :raises OutputError: If checkpoints or model cannot be written.
    """
    check_installed(request.config)
    check_output(request)
    if not is_main_process():
        on_progress = on_report = None
    files = read_files(request)
    with main_process_first():
        base = fetch_base(request.config.model)  # before any long work, such as mining
    with main_process_first(), writing_to(request.output, remedy=REMEDY):
        pairs = gather(request, on_progress, files=files)
    pairs, report = _check(pairs, request, base)
    if on_report:
        on_report(report)
    if request.dry_run:
        return None
    with main_process_first(), writing_to(request.output, remedy=REMEDY):
        pairs = _teach(pairs, request, on_progress)
    result = _train(pairs, request, on_progress)
    if not result.is_main:
        return None
    replaced = _save(result, pairs, request, base, on_progress)
    figures = measure(request, on_progress)
    kept = write_card(request=request, report=report, samples=pairs, result=result, figures=figures)
    return TrainingSummary(
        model=str(request.output),
        steps=result.steps,
        total_steps=result.total_steps,
        pairs=len(pairs),
        loss=result.losses[-1]["loss"] if result.losses else None,
        figures={figure.name: {name: value.mean for name, value in figure.ndcg.items()} for figure in figures},
        replaced=[*replaced, *([kept] if kept else [])],
    )


def _check(pairs: list[LabelledPair], request: TrainingRequest, base: str) -> tuple[list[LabelledPair], DataReport]:
    repair = TextRepair() if request.repair else None
    if repair is not None:
        pairs = [replace(pair, query=repair(pair.query), passage=repair(pair.passage)) for pair in pairs]
    pairs, report = check_pairs(
        pairs,
        bounded_labels=labels_are_bounded(request.config),
        held_out=held_out_queries(request),
        drop=request.drop,
        repaired=repair.changed if repair else 0,
    )
    max_length = min(request.config.max_length, reading_limit(base))
    return pairs, with_cut(report, pairs, load_tokenizer(base), max_length)


def _teach(pairs: list[LabelledPair], request: TrainingRequest, on_progress: ProgressCallback | None) -> list[LabelledPair]:
    if request.teacher is not None:
        progress = counts_of(on_progress, "Scoring with the teacher")
        return add_teacher_scores(pairs, request.teacher, request.output, on_progress=progress)
    if needs_teacher(request.config) and any(pair.teacher_score is None for pair in pairs):
        raise InvalidValueError(
            f"loss {request.config.loss} needs teacher scores: give --teacher (a cross-encoder, or a file of scores), or a "
            "column teacher_score"
        )
    return pairs


def _train(pairs: list[LabelledPair], request: TrainingRequest, on_progress: ProgressCallback | None) -> TrainingResult:
    dev = None
    if request.dev is not None and request.config.eval_steps is not None:
        with main_process_first():
            dev = candidates_of(request.dev, request, depth=request.dev_candidates, on_progress=on_progress)
    return train(
        pairs,
        request.config,
        request.output,
        dev=dev,
        stop_after=request.stop_after,
        on_progress=counts_of(on_progress, "Training"),
    )


def _save(
    result: TrainingResult,
    pairs: list[LabelledPair],
    request: TrainingRequest,
    base: str,
    on_progress: ProgressCallback | None,
) -> list[str]:
    config = request.config
    removed = save_half(result.model, request.output, base=base)
    if config.early_exit_layers is not None:
        exit_network = fit_early_exit(
            request.output,
            pairs,
            layers=config.early_exit_layers,
            width=config.early_exit_width,
            seed=config.seed,
            on_progress=counts_of(on_progress, "Training the early exit"),
        )
        if exit_network is not None:
            saved = exit_network.save(request.output)
            removed = [name for name in removed if name != saved.name]
    return removed
