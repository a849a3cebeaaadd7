"""Fine-tune a cross-encoder with sentence-transformers' `CrossEncoderTrainer`."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rerank_plugin.errors import InvalidValueError, MissingDependencyError
from rerank_plugin.training.data.pairs import LabelledPair
from rerank_plugin.training.fitting.checkpoints import claim, last_checkpoint
from rerank_plugin.training.fitting.load import load_for_training, on_cpu
from rerank_plugin.training.fitting.losses import make_dataset, make_loss
from rerank_plugin.training.fitting.processes import main_process_first
from rerank_plugin.training.recipe.config import TrainingConfig

if TYPE_CHECKING:
    from sentence_transformers import CrossEncoder

    from rerank_plugin.training.fitting.dev import DevCollection

CHECKPOINTS = "checkpoints"
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class TrainingResult:
    """
    What a training run leaves.

    :param model: The trained model, in memory: the best one, where a dev collection was measured.
    :param steps: Optimiser steps done, those of earlier starts of the run included.
    :param total_steps: Steps of the whole run.
    :param log: The logged entries: `step`, `epoch`, and `loss` or `eval_dev_ndcg@10`.
    :param is_main: Whether this is the process that writes; the others of a run on several devices do not.
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
    progress: Progress | None = None,
) -> TrainingResult:
    """
    Fine-tune a cross-encoder.

    Checkpoints stand in `output/checkpoints`; a run that was interrupted goes on from the last one.

    :param pairs: The training pairs.
    :param config: The hyperparameters.
    :param output: Folder for the model; made where it is missing.
    :param dev: What is measured every `eval_steps` steps.
    :param stop_after: Stop at this step, with a checkpoint, as if interrupted; the schedule stays that of the whole run.
    :param progress: Called with steps done and steps in all.
    :returns: The model and the log.
    :raises InvalidValueError: If there are no pairs, or nothing to learn in them, or `eval_steps` is set and `dev` is not,
        or `output` has checkpoints of a run with another recipe or other data.
    :raises MissingDependencyError: If a package that training needs is not installed.
    :raises ModelError: If the model cannot be loaded.
    """
    if not pairs:
        raise InvalidValueError("there are no training pairs: check the files that were given")
    if config.eval_steps is not None and dev is None:
        raise InvalidValueError("eval_steps needs a dev collection to measure on: give --dev, or set eval_steps to null")
    check_installed(config)
    from sentence_transformers.cross_encoder import CrossEncoderTrainer
    from transformers import EarlyStoppingCallback, PrinterCallback

    from rerank_plugin.training.fitting.watch import Watch

    with main_process_first():
        claim(output / CHECKPOINTS, pairs, config)
        last = last_checkpoint(output / CHECKPOINTS)
    model = load_for_training(config)
    checkpoints = output / CHECKPOINTS
    checkpoints.mkdir(parents=True, exist_ok=True)
    callbacks: list[Any] = [Watch(stop_after=stop_after, progress=progress)]
    if config.patience is not None:
        callbacks.append(EarlyStoppingCallback(early_stopping_patience=config.patience))
    trainer = CrossEncoderTrainer(
        model=model,
        args=_arguments(config, checkpoints, has_dev=dev is not None),
        train_dataset=make_dataset(pairs, config),
        loss=make_loss(model, config),
        evaluator=None if config.eval_steps is None or dev is None else dev.evaluator(precision=config.precision),
        callbacks=callbacks,
    )
    trainer.remove_callback(PrinterCallback)  # the log is in the card, not on the terminal
    trainer.train(resume_from_checkpoint=last)
    return TrainingResult(
        model=model,
        steps=trainer.state.global_step,
        total_steps=trainer.state.max_steps,
        log=list(trainer.state.log_history),
        is_main=trainer.is_world_process_zero(),
    )


def check_installed(config: TrainingConfig) -> None:
    """
    Look for the packages that training needs, before anything long begins.

    :raises MissingDependencyError: If one is missing.
    """
    from importlib.util import find_spec

    packages = ["accelerate", "datasets", *([] if config.report_to == "none" else [config.report_to])]
    if missing := [package for package in packages if find_spec(package) is None]:
        raise MissingDependencyError(
            f"training needs {', '.join(missing)}: pip install 'rerank-plugin[train]'"
            + (f" {config.report_to}" if config.report_to in missing else "")
        )


def _arguments(config: TrainingConfig, checkpoints: Path, *, has_dev: bool) -> Any:
    from sentence_transformers.cross_encoder import CrossEncoderTrainingArguments

    from rerank_plugin.training.data.batches import LengthGroupedBatchSampler

    more: dict[str, Any] = {"batch_sampler": LengthGroupedBatchSampler} if config.group_by_length else {}
    if has_dev and config.eval_steps is not None:
        more |= {
            "eval_strategy": "steps",
            "eval_steps": config.eval_steps,
            "load_best_model_at_end": True,
            "metric_for_best_model": "eval_dev_ndcg@10",
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
        bf16=config.precision == "bf16",
        use_cpu=on_cpu(),
        ddp_find_unused_parameters=False,  # there are none; the search for them counts those of the head twice
        # A model is measured where it is kept, or the best one would be lost.
        save_steps=config.eval_steps or config.save_steps,
        save_total_limit=2,
        logging_steps=config.logging_steps,
        report_to=config.report_to,
        disable_tqdm=True,
        dataloader_pin_memory=not on_cpu(),  # pinned memory is of use to a GPU alone, and torch warns without
        **more,
    )
