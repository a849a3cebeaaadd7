"""The options of `rerank train` that stand for the fields of a recipe; each is left to the preset where it is not given."""

from typing import Annotated

import typer

PANEL = "Recipe (by default the preset's, else that of the published models)"

Model = Annotated[
    str | None,
    typer.Option(help="What to start from: bundled name, folder or Hub id.", rich_help_panel=PANEL, show_default=False),
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
    typer.Option(
        help="Passages of a list (listnet, lambda, multiple_negatives).", rich_help_panel=PANEL, show_default=False
    ),
]
Epochs = Annotated[float | None, typer.Option(help="Passes over the data.", rich_help_panel=PANEL, show_default=False)]
BatchSize = Annotated[
    int | None, typer.Option(help="Pairs (lists, triples) in a step.", rich_help_panel=PANEL, show_default=False)
]
LearningRate = Annotated[
    float | None, typer.Option(help="Peak of the linear schedule.", rich_help_panel=PANEL, show_default=False)
]
WarmupRatio = Annotated[
    float | None,
    typer.Option(help="Share of the steps over which the learning rate climbs.", rich_help_panel=PANEL, show_default=False),
]
WeightDecay = Annotated[float | None, typer.Option(help="Of AdamW.", rich_help_panel=PANEL, show_default=False)]
MaxGradNorm = Annotated[
    float | None, typer.Option(help="Gradients are clipped at this norm.", rich_help_panel=PANEL, show_default=False)
]
MaxLength = Annotated[
    int | None, typer.Option(help="Tokens of a pair while training.", rich_help_panel=PANEL, show_default=False)
]
Seed = Annotated[
    int | None, typer.Option(help="Seed of everything that is drawn.", rich_help_panel=PANEL, show_default=False)
]
Precision = Annotated[
    str | None, typer.Option(help="fp32, or bf16 (matrix products only).", rich_help_panel=PANEL, show_default=False)
]
FreezeEmbeddings = Annotated[
    bool | None, typer.Option(help="Leave the embeddings as they are.", rich_help_panel=PANEL, show_default=False)
]
Dropout = Annotated[
    float | None,
    typer.Option(
        help="Of hidden states and attention; by default the model's own.", rich_help_panel=PANEL, show_default=False
    ),
]
GroupByLength = Annotated[
    bool | None, typer.Option(help="Batches of like length.", rich_help_panel=PANEL, show_default=False)
]
LoggingSteps = Annotated[
    int | None, typer.Option(help="Steps between two logged losses.", rich_help_panel=PANEL, show_default=False)
]
SaveSteps = Annotated[
    int | None, typer.Option(help="Steps between two checkpoints.", rich_help_panel=PANEL, show_default=False)
]
EvalSteps = Annotated[
    int | None,
    typer.Option(help="Steps between two measurements on --dev; 0: none.", rich_help_panel=PANEL, show_default=False),
]
Patience = Annotated[
    int | None,
    typer.Option(
        help="Stop after so many measurements without a new best; 0: never.", rich_help_panel=PANEL, show_default=False
    ),
]
EarlyExitLayer = Annotated[
    int | None,
    typer.Option(help="Fit an early-exit head after this layer; 0: none.", rich_help_panel=PANEL, show_default=False),
]
ReportTo = Annotated[
    str | None, typer.Option(help="Also log to tensorboard or trackio.", rich_help_panel=PANEL, show_default=False)
]
Fast = Annotated[
    bool,
    typer.Option(
        "--fast", help="Fast on a CPU: bf16, batches of like length, frozen embeddings, no dropout.", rich_help_panel=PANEL
    ),
]
