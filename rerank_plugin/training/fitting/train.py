"""Fine-tune a cross-encoder with sentence-transformers' `CrossEncoderTrainer`."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rerank_plugin.errors import InvalidValueError, MissingDependencyError
from rerank_plugin.progress import CountCallback
from rerank_plugin.training.data.pairs import LabelledPair
from rerank_plugin.training.fingerprints import fingerprint_model
from rerank_plugin.training.fitting.checkpoints import check_same_run, last_checkpoint, measurements_since_best
from rerank_plugin.training.fitting.load import load_for_training
from rerank_plugin.training.fitting.losses import make_dataset, make_loss
from rerank_plugin.training.fitting.processes import computed_precision, computes_in_bf16, main_process_first, on_cpu
from rerank_plugin.training.recipe.config import TrainingConfig
from rerank_plugin.training.writing import writing_to

if TYPE_CHECKING:
    from sentence_transformers import CrossEncoder

    from rerank_plugin.training.fitting.dev import DevCollection

CHECKPOINTS = "checkpoints"
METRIC = "eval_dev_ndcg@10"  # the name of `dev.NdcgEvaluator`'s metric in the trainer's log
REMEDY = "free some space, and run the same command again: it resumes from the last complete checkpoint"


@dataclass(frozen=True)
class TrainingResult:
    """
    The result of fitting.

    :param model: The trained model, in memory; the best one if there is a dev collection.
    :param steps: Optimiser steps done, including those before the run was resumed.
    :param total_steps: Steps of the whole run.
    :param log: The logged entries: `step`, `epoch`, and `loss` or `eval_dev_ndcg@10`.
    :param is_main: Whether this is the process that writes; with several devices, the others do not.
    """

    model: "CrossEncoder"
    steps: int
    total_steps: int
    log: list[dict[str, Any]]
    is_main: bool = True

    @property
    def losses(self) -> list[dict[str, Any]]:
        """The entries with a training loss."""
        return [entry for entry in self.log if "loss" in entry]


def train(
    pairs: Sequence[LabelledPair],
    config: TrainingConfig,
    output: Path,
    *,
    dev: "DevCollection | None" = None,
    stop_after: int | None = None,
    on_progress: CountCallback | None = None,
) -> TrainingResult:
    """
    Fine-tune a cross-encoder.

    Checkpoints are kept in `output/checkpoints`; an interrupted run resumes from the last complete one.

    :param pairs: The training pairs.
    :param config: The hyperparameters.
    :param output: Folder for the model; created if it does not exist.
    :param dev: Evaluated every `eval_steps` steps.
    :param stop_after: Stop at this step, with a checkpoint, as if interrupted; the schedule stays that of the whole run.
    :param on_progress: Called with steps done and total steps.
    :returns: The model and the log.
    :raises InvalidValueError: If there are no pairs, or nothing to learn from them, or `eval_steps` is set without `dev`, or
        `output` has checkpoints of a run with another recipe or other data.
    :raises MissingDependencyError: If a package that training needs is not installed.
    :raises ModelError: If the model cannot be loaded.
    :raises OutputError: If a checkpoint cannot be written; the previous one is kept.
    """
    if not pairs:
        raise InvalidValueError("there are no training pairs: check the files that were given")
    if config.eval_steps is not None and dev is None:
        raise InvalidValueError("eval_steps needs a dev collection to measure on: give --dev, or set eval_steps to null")
    check_installed(config)
    from sentence_transformers.cross_encoder import CrossEncoderTrainer
    from transformers import EarlyStoppingCallback, PrinterCallback

    from rerank_plugin.training.fitting.callback import StepCallback

    checkpoints = output / CHECKPOINTS
    fingerprints = {"base": fingerprint_model(config.model)}
    if dev is not None and config.eval_steps is not None:
        fingerprints["dev"] = dev.fingerprint()
    with main_process_first(), writing_to(output, remedy=REMEDY):
        check_same_run(checkpoints, pairs, config, fingerprints=fingerprints)
        last = last_checkpoint(checkpoints)
    model = load_for_training(config)
    precision = computed_precision(config.precision, has_bf16=computes_in_bf16())
    callbacks: list[Any] = []
    is_over = False
    if config.patience is not None:
        patience = EarlyStoppingCallback(early_stopping_patience=config.patience)
        patience.early_stopping_patience_counter = measurements_since_best(last, METRIC) if last else 0
        is_over = patience.early_stopping_patience_counter >= config.patience
        callbacks.append(patience)
    callbacks.append(StepCallback(checkpoints, stop_after=stop_after, is_over=is_over, on_progress=on_progress))
    trainer = CrossEncoderTrainer(
        model=model,
        args=_arguments(config, checkpoints, precision=precision, has_dev=dev is not None),
        train_dataset=make_dataset(pairs, config),
        loss=make_loss(model, config),
        evaluator=None if config.eval_steps is None or dev is None else dev.evaluator(precision=precision),
        callbacks=callbacks,
    )
    trainer.remove_callback(PrinterCallback)  # the log is in the card, not on the terminal
    with writing_to(checkpoints, remedy=REMEDY):
        trainer.train(resume_from_checkpoint=None if last is None else str(last))
    return TrainingResult(
        model=model,
        steps=trainer.state.global_step,
        total_steps=trainer.state.max_steps,
        log=list(trainer.state.log_history),
        is_main=trainer.is_world_process_zero(),
    )


def check_installed(config: TrainingConfig) -> None:
    """
    Check that the packages needed for training are installed, before any long work.

    :raises MissingDependencyError: If one is missing.
    """
    from importlib.util import find_spec

    packages = ["accelerate", "datasets", *([] if config.report_to == "none" else [config.report_to])]
    if missing := [package for package in packages if find_spec(package) is None]:
        raise MissingDependencyError(
            f"training needs {', '.join(missing)}: pip install 'rerank-plugin[train]'"
            + (f" {config.report_to}" if config.report_to in missing else "")
        )


def _arguments(config: TrainingConfig, checkpoints: Path, *, precision: str, has_dev: bool) -> Any:
    from sentence_transformers.cross_encoder import CrossEncoderTrainingArguments

    from rerank_plugin.training.data.batches import LengthGroupedBatchSampler

    more: dict[str, Any] = {"batch_sampler": LengthGroupedBatchSampler} if config.group_by_length else {}
    if has_dev and config.eval_steps is not None:
        more |= {
            "eval_strategy": "steps",
            "eval_steps": config.eval_steps,
            "load_best_model_at_end": True,
            "metric_for_best_model": METRIC,
            "greater_is_better": True,
        }
    return CrossEncoderTrainingArguments(
        output_dir=str(checkpoints),
        num_train_epochs=config.epochs,
        per_device_train_batch_size=config.batch_size,
        learning_rate=config.learning_rate,
        lr_scheduler_type="linear",
        warmup_steps=config.warmup_ratio,
        weight_decay=config.weight_decay,
        max_grad_norm=config.max_grad_norm,
        seed=config.seed,
        bf16=precision == "bf16",
        use_cpu=on_cpu(),
        ddp_find_unused_parameters=False,  # there are none, and the search would count the head's twice
        # One checkpoint per evaluation, or the best model would be lost.
        save_steps=config.eval_steps or config.save_steps,
        save_total_limit=2,
        logging_steps=config.logging_steps,
        report_to=config.report_to,
        disable_tqdm=True,
        dataloader_pin_memory=not on_cpu(),  # only a GPU profits from pinned memory, and torch warns without one
        **more,
    )
