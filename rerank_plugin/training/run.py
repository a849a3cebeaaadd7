"""A training run from its request to a model folder with its card."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rerank_plugin.collections.beir import is_beir_folder
from rerank_plugin.errors import InputFileError, InvalidValueError
from rerank_plugin.evaluation.collection import open_collection
from rerank_plugin.indexing.text_repair import TextRepair
from rerank_plugin.scoring.loading.spec import not_loaded, resolve_model
from rerank_plugin.training.data.checks import DataReport, check_pairs, with_cut
from rerank_plugin.training.data.pairs import LabelledPair, read_pairs
from rerank_plugin.training.data.teacher import teach
from rerank_plugin.training.fitting.dev import DevCollection, find_candidates
from rerank_plugin.training.fitting.losses import labels_are_bounded, needs_teacher
from rerank_plugin.training.fitting.processes import is_main_process, main_process_first
from rerank_plugin.training.fitting.train import TrainingResult, check_installed, train
from rerank_plugin.training.mining.first_stage import Announce, FirstStage, announced, fingerprint
from rerank_plugin.training.mining.mine import MiningJob, mine
from rerank_plugin.training.recipe.request import Measured, TrainingRequest

HELD_OUT_SPLITS = ("dev", "test", "validation")


@dataclass(frozen=True)
class TrainingSummary:
    """
    What a run did.

    :param model: The model's folder.
    :param steps: Optimiser steps done.
    :param total_steps: Steps of the whole run.
    :param pairs: Training pairs.
    :param loss: The last training loss that was logged.
    :param figures: For each collection that was measured, nDCG@10 of the first stage and of the model.
    """

    model: str
    steps: int
    total_steps: int
    pairs: int
    loss: float | None
    figures: dict[str, dict[str, float]]


def run_training(
    request: TrainingRequest, *, announce: Announce | None = None, tell: Callable[[DataReport], None] | None = None
) -> TrainingSummary | None:
    """
    Gather the pairs, check them, train, save, measure, and write the card.

    An interrupted run goes on where it broke off: in mining, in asking the teacher, or at the last checkpoint.

    :param request: What.
    :param announce: Called with what is being done, how far it is, and how much there is.
    :param tell: Called with the report on the data before training starts.
    :returns: What was done; `None` after a dry run, and in all but the main process of several.
    :raises InputFileError: If a file is missing or malformed.
    :raises InvalidValueError: If the data has problems, or the request makes no sense.
    :raises MissingDependencyError: If a package is not installed.
    :raises ModelError: If a model cannot be loaded.
    """
    check_installed(request.config)
    if not is_main_process():
        announce = tell = None
    pairs, report = _gather(request, announce)
    if tell:
        tell(report)
    if request.dry_run:
        return None
    dev = None
    if request.dev is not None and request.config.eval_steps is not None:
        with main_process_first():
            dev = _candidates(request, request.dev, request.dev_candidates, announce)
    result = train(
        pairs,
        request.config,
        request.output,
        dev=dev,
        stop_after=request.stop_after,
        progress=announced(announce, "Training"),
    )
    return _finish(request, pairs, report, result, announce) if result.is_main else None


def _finish(
    request: TrainingRequest,
    pairs: list[LabelledPair],
    report: DataReport,
    result: TrainingResult,
    announce: Announce | None,
) -> TrainingSummary:
    from rerank_plugin.training.output.card import model_card
    from rerank_plugin.training.output.early_exit import add_exit_head
    from rerank_plugin.training.output.figures import Figure, measure_model
    from rerank_plugin.training.output.save import save_half

    config = request.config
    save_half(result.model, request.output, base=resolve_model(config.model))
    if config.early_exit_layer is not None:
        add_exit_head(result.model, pairs, request.output, layer=config.early_exit_layer, seed=config.seed)
    figures: list[Figure] = []
    for measured in (*([request.dev] if request.dev else []), *request.test):
        candidates = _candidates(request, measured, request.candidates, announce)
        figures.append(measure_model(request.output, candidates, announced(announce, f"Measuring on {candidates.name}")))
    card = model_card(request=request, report=report, samples=pairs, result=result, figures=figures)
    (request.output / "README.md").write_text(card, encoding="utf-8")
    return TrainingSummary(
        model=str(request.output),
        steps=result.steps,
        total_steps=result.total_steps,
        pairs=len(pairs),
        loss=result.losses[-1]["loss"] if result.losses else None,
        figures={figure.name: {name: value.mean for name, value in figure.ndcg.items()} for figure in figures},
    )


def _gather(request: TrainingRequest, announce: Announce | None) -> tuple[list[LabelledPair], DataReport]:
    with main_process_first():
        pairs = [pair for path in request.data for pair in _read(path, request, announce)]
    repair = TextRepair() if request.repair else None
    if repair is not None:
        pairs = [replace(pair, query=repair(pair.query), passage=repair(pair.passage)) for pair in pairs]
    pairs, report = check_pairs(
        pairs,
        bounded_labels=labels_are_bounded(request.config),
        held_out=_held_out(request),
        drop=request.drop,
        repaired=repair.changed if repair else 0,
    )
    report = with_cut(report, pairs, _tokenizer(request.config.model), request.config.max_length)
    if request.dry_run:
        return pairs, report
    if request.teacher is not None:
        with main_process_first():
            pairs = teach(pairs, request.teacher, request.output, progress=announced(announce, "Asking the teacher"))
    elif needs_teacher(request.config) and any(pair.teacher_score is None for pair in pairs):
        raise InvalidValueError(
            f"loss {request.config.loss} needs teacher scores: give --teacher (a cross-encoder, or a file of scores), or a "
            "column teacher_score"
        )
    return pairs, report


def _read(path: Path, request: TrainingRequest, announce: Announce | None) -> list[LabelledPair]:
    if not path.exists():
        raise InputFileError(f"{path} does not exist: check the path")
    if not is_beir_folder(path):
        return read_pairs(path)
    collection = open_collection(path, split=request.split)
    key = hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:6]  # two folders may have one name
    output = request.output / "mined" / f"{collection.name}-{request.split}-{key}.jsonl"
    output.parent.mkdir(parents=True, exist_ok=True)
    stage = fingerprint(request.first_stage, language=request.language)
    job = MiningJob(collection, output, request.rules, stage, limit=request.limit)
    mine(
        job,
        lambda: FirstStage(collection, request.first_stage, language=request.language, announce=announce),
        progress=announced(announce, f"Mining {collection.name}"),
    )
    return read_pairs(output)


def _held_out(request: TrainingRequest) -> dict[str, str]:
    """Queries that must not be trained on: those that are measured, and the other splits of what is trained on."""
    measured = [*([request.dev] if request.dev else []), *request.test]
    for path in request.data:
        if is_beir_folder(path):
            there = {file.stem for file in (path / "qrels").glob("*.tsv")}
            measured += [Measured(str(path), split) for split in HELD_OUT_SPLITS if split in there - {request.split}]
    held_out: dict[str, str] = {}
    for one in measured:
        collection = open_collection(one.folder, split=one.split)
        queries = collection.dataset.queries(collection.split)
        held_out |= {query.text: f"{collection.name}, {collection.split}" for query in queries.values()}
    return held_out


def _candidates(request: TrainingRequest, measured: Measured, depth: int, announce: Announce | None) -> DevCollection:
    collection = open_collection(measured.folder, split=measured.split)
    return find_candidates(
        collection,
        FirstStage(collection, request.first_stage, language=request.language, announce=announce),
        name=request.first_stage,
        depth=depth,
        limit=measured.queries,
        progress=announced(announce, f"Searching {collection.name}"),
    )


def _tokenizer(model: str) -> Any:
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(resolve_model(model))
    except (OSError, ValueError) as error:
        raise not_loaded(model, error) from error
