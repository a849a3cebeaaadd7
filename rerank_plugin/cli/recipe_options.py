"""The options of `rerank train` that override the fields of a recipe."""

from dataclasses import dataclass, fields
from typing import Annotated, Any

import typer

# Options for which 0 switches off a feature that a preset has switched on.
ZERO_MEANS_NONE = ("eval_steps", "patience", "early_exit_layers", "early_exit_width", "pos_weight")
PANEL = "Recipe (default: the preset, or else the recipe of the published models)"

Model = Annotated[
    str | None,
    typer.Option(help="Model to start from: bundled name, folder or Hub id.", rich_help_panel=PANEL, show_default=False),
]
Loss = Annotated[
    str | None,
    typer.Option(help="bce, listnet, lambda, multiple_negatives or margin_mse.", rich_help_panel=PANEL, show_default=False),
]
PosWeight = Annotated[
    float | None, typer.Option(help="Weight of positives in bce.", rich_help_panel=PANEL, show_default=False)
]
ListSize = Annotated[
    int | None,
    typer.Option(help="Passages per list (listnet, lambda, multiple_negatives).", rich_help_panel=PANEL, show_default=False),
]
Epochs = Annotated[float | None, typer.Option(help="Passes over the data.", rich_help_panel=PANEL, show_default=False)]
BatchSize = Annotated[
    int | None, typer.Option(help="Pairs (lists, triples) per step.", rich_help_panel=PANEL, show_default=False)
]
LearningRate = Annotated[
    float | None, typer.Option(help="Peak learning rate of the linear schedule.", rich_help_panel=PANEL, show_default=False)
]
WarmupRatio = Annotated[
    float | None,
    typer.Option(help="Share of the steps over which the learning rate rises.", rich_help_panel=PANEL, show_default=False),
]
WeightDecay = Annotated[float | None, typer.Option(help="Weight decay of AdamW.", rich_help_panel=PANEL, show_default=False)]
MaxGradNorm = Annotated[
    float | None, typer.Option(help="Gradients are clipped at this norm.", rich_help_panel=PANEL, show_default=False)
]
MaxLength = Annotated[
    int | None,
    typer.Option(help="Maximum tokens per pair; longer pairs are truncated.", rich_help_panel=PANEL, show_default=False),
]
Seed = Annotated[int | None, typer.Option(help="Seed of all random draws.", rich_help_panel=PANEL, show_default=False)]
Precision = Annotated[
    str | None, typer.Option(help="fp32, or bf16 (matrix products only).", rich_help_panel=PANEL, show_default=False)
]
FreezeEmbeddings = Annotated[
    bool | None, typer.Option(help="Do not train the embeddings.", rich_help_panel=PANEL, show_default=False)
]
Dropout = Annotated[
    float | None,
    typer.Option(
        help="Dropout of hidden states and attention; default: the model's.", rich_help_panel=PANEL, show_default=False
    ),
]
GroupByLength = Annotated[
    bool | None, typer.Option(help="Build batches of pairs of similar length.", rich_help_panel=PANEL, show_default=False)
]
LoggingSteps = Annotated[
    int | None, typer.Option(help="Log the loss every N steps.", rich_help_panel=PANEL, show_default=False)
]
SaveSteps = Annotated[
    int | None, typer.Option(help="Save a checkpoint every N steps.", rich_help_panel=PANEL, show_default=False)
]
EvalSteps = Annotated[
    int | None,
    typer.Option(help="Evaluate on --dev every N steps; 0: never.", rich_help_panel=PANEL, show_default=False),
]
Patience = Annotated[
    int | None,
    typer.Option(
        help="Stop after this many evaluations without improvement; 0: never.", rich_help_panel=PANEL, show_default=False
    ),
]
EarlyExitLayers = Annotated[
    int | None,
    typer.Option(
        help="Train an early-exit network with this many layers, too; 0: none.", rich_help_panel=PANEL, show_default=False
    ),
]
EarlyExitWidth = Annotated[
    int | None,
    typer.Option(
        help="Make it a narrow network of this width, such as 128, which needs 100,000 pairs or more; 0: the model's width.",
        rich_help_panel=PANEL,
        show_default=False,
    ),
]
ReportTo = Annotated[
    str | None, typer.Option(help="Also log to tensorboard or trackio.", rich_help_panel=PANEL, show_default=False)
]
Fast = Annotated[
    bool,
    typer.Option(
        "--fast",
        help="Faster on a CPU: bf16, batches of similar length, frozen embeddings, no dropout.",
        rich_help_panel=PANEL,
    ),
]


@dataclass(frozen=True, kw_only=True)
class RecipeOptions:
    """The values of these options, named like the fields of `TrainingConfig`; `None`: the option was not given."""

    model: str | None
    loss: str | None
    pos_weight: float | None
    list_size: int | None
    epochs: float | None
    batch_size: int | None
    learning_rate: float | None
    warmup_ratio: float | None
    weight_decay: float | None
    max_grad_norm: float | None
    max_length: int | None
    seed: int | None
    precision: str | None
    freeze_embeddings: bool | None
    dropout: float | None
    group_by_length: bool | None
    logging_steps: int | None
    save_steps: int | None
    eval_steps: int | None
    patience: int | None
    early_exit_layers: int | None
    early_exit_width: int | None
    report_to: str | None

    def overrides(self, *, fast: bool) -> dict[str, Any]:
        """
        Return the fields of a recipe that the options override.

        :param fast: Whether `--fast` was given; single options override its values.
        """
        from rerank_plugin.training.recipe.config import FAST

        changes: dict[str, Any] = dict(FAST) if fast else {}
        for field in fields(self):
            value = getattr(self, field.name)
            if value is not None:
                changes[field.name] = None if value == 0 and field.name in ZERO_MEANS_NONE else value
        if changes.get("eval_steps", 0) is None:
            changes.setdefault("patience", None)  # patience counts evaluations, of which there are none
        return changes
