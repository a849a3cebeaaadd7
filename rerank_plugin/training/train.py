"""Fine-tune a cross-encoder with sentence-transformers' `CrossEncoderTrainer` and binary cross-entropy."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rerank_plugin.errors import InvalidValueError, MissingDependencyError
from rerank_plugin.training.config import TrainingConfig
from rerank_plugin.training.data import LabelledPair, describe
from rerank_plugin.training.model_card import model_card
from rerank_plugin.training.recipe import TrainingData
from rerank_plugin.training.save import save_half

if TYPE_CHECKING:
    from sentence_transformers import CrossEncoder


def train_and_save(
    pairs: Sequence[LabelledPair], config: TrainingConfig, output: Path, *, sources: TrainingData
) -> dict[str, Any]:
    """
    Fine-tune a cross-encoder, and save it with its card.

    :param pairs: See `train`.
    :param config: See `train`.
    :param output: Folder for the model; checkpoints stand in `checkpoints` in it.
    :param sources: Where the pairs came from, for the card.
    :returns: `steps`, `pairs`, the last logged `loss` and the `model` folder.
    :raises InvalidValueError: See `train`.
    :raises MissingDependencyError: See `train`.
    """
    result = train(pairs, config, output)
    save_half(result.model, output, base=config.model)
    card = model_card(
        name=output.name, config=config, sources=sources, statistics=describe(pairs), steps=result.steps, log=result.log
    )
    (output / "README.md").write_text(card, encoding="utf-8")
    loss = result.log[-1]["loss"] if result.log else None
    return {"steps": result.steps, "pairs": len(pairs), "loss": loss, "model": str(output)}


def train(pairs: Sequence[LabelledPair], config: TrainingConfig, output: Path, *, resume: bool = True) -> "TrainingResult":
    """
    Fine-tune a cross-encoder on labelled pairs and save it under `output`.

    Checkpoints stand in `output/checkpoints`; a run that was interrupted goes on from the last one.

    :param pairs: Query, passage and label (0 to 1) of each training pair.
    :param config: The hyperparameters.
    :param output: Folder for the model; made where it is missing.
    :param resume: Go on from the last checkpoint where there is one.
    :returns: The model's folder, the number of steps and the training log.
    :raises InvalidValueError: If there are no pairs.
    :raises MissingDependencyError: If `datasets` or `accelerate` is not installed.
    """
    if not pairs:
        raise InvalidValueError("there are no training pairs: check the files that were given")
    try:
        import accelerate  # type: ignore[import-untyped]  # noqa: F401 - the trainer needs it and says so only late
        from datasets import Dataset
    except ImportError as error:
        raise MissingDependencyError("training needs datasets and accelerate: pip install 'rerank-plugin[train]'") from error
    from sentence_transformers.cross_encoder import CrossEncoderTrainer
    from sentence_transformers.cross_encoder.losses import BinaryCrossEntropyLoss
    from transformers.trainer_utils import get_last_checkpoint

    model = _load(config)
    checkpoints = output / "checkpoints"
    checkpoints.mkdir(parents=True, exist_ok=True)
    trainer = CrossEncoderTrainer(
        model=model,
        args=_arguments(config, checkpoints),
        train_dataset=Dataset.from_dict(
            {
                "sentence_0": [pair.query for pair in pairs],
                "sentence_1": [pair.passage for pair in pairs],
                "label": [float(pair.label) for pair in pairs],
            }
        ),
        loss=BinaryCrossEntropyLoss(model),
    )
    last = get_last_checkpoint(str(checkpoints)) if resume else None  # type: ignore[no-untyped-call]
    trainer.train(resume_from_checkpoint=last)
    history = [entry for entry in trainer.state.log_history if "loss" in entry]
    return TrainingResult(model=model, steps=trainer.state.global_step, log=history)


@dataclass(frozen=True)
class TrainingResult:
    """
    What a training run leaves.

    :param model: The trained `CrossEncoder`, in memory.
    :param steps: Optimiser steps done, those of resumed runs included.
    :param log: The logged entries: `step`, `epoch`, `loss`, `learning_rate`.
    """

    model: "CrossEncoder"
    steps: int
    log: list[dict[str, float]]


def _load(config: TrainingConfig) -> "CrossEncoder":
    import torch
    from sentence_transformers import CrossEncoder
    from transformers import set_seed

    set_seed(config.seed)  # before loading: the classification head starts from random weights
    # Dropout costs 40 % of a CPU step (random numbers), and over few epochs of varied pairs it is not needed.
    no_dropout = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    model: CrossEncoder = CrossEncoder(
        config.model,
        num_labels=1,
        max_length=config.max_length,
        activation_fn=torch.nn.Sigmoid(),
        config_kwargs=no_dropout if config.fast else None,
        # The backward pass of torch's fused attention takes twice as long as plain matrix products on a CPU.
        model_kwargs={"attn_implementation": "eager"} if config.fast else None,
    )
    if config.fast:
        for name, parameter in model.named_parameters():
            if ".embeddings." in name:
                parameter.requires_grad = False
    return model


def _arguments(config: TrainingConfig, checkpoints: Path) -> Any:
    import torch
    from sentence_transformers.cross_encoder import CrossEncoderTrainingArguments

    from rerank_plugin.training.batches import LengthGroupedBatchSampler

    fast: dict[str, Any] = {}
    if config.fast:
        fast = {
            "bf16": True,
            "use_cpu": not torch.cuda.is_available(),
            "optim": "adamw_torch_fused",
            "batch_sampler": LengthGroupedBatchSampler,
        }
    return CrossEncoderTrainingArguments(
        output_dir=str(checkpoints),
        num_train_epochs=config.epochs,
        per_device_train_batch_size=config.batch_size,
        learning_rate=config.learning_rate,
        lr_scheduler_type="linear",
        warmup_steps=config.warmup_ratio,
        weight_decay=config.weight_decay,
        seed=config.seed,
        save_steps=config.save_steps,
        save_total_limit=2,
        logging_steps=min(500, config.save_steps),
        report_to="none",
        dataloader_pin_memory=torch.cuda.is_available(),  # pinned memory is of use to a GPU alone, and torch warns without
        **fast,
    )
