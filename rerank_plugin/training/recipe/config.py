"""The hyperparameters of a training run, and how presets, a YAML file and single options make them up."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from rerank_plugin.errors import InvalidValueError

PRESETS = Path(__file__).parent / "presets"
CLASSIC = "bce"
LISTWISE = ("listnet", "lambda")
LOSSES = (CLASSIC, *LISTWISE, "multiple_negatives", "margin_mse")
PRECISIONS = ("fp32", "bf16")
REPORTERS = ("none", "tensorboard", "trackio")
# What `rerank train --fast` stands for: less work for a CPU.
FAST = {"precision": "bf16", "freeze_embeddings": True, "dropout": 0.0, "group_by_length": True}
ABOVE_ZERO = (
    "epochs batch_size learning_rate max_length save_steps logging_steps max_grad_norm pos_weight eval_steps patience "
    "early_exit_layer"
).split()
SHARES = ("warmup_ratio", "weight_decay", "dropout")


@dataclass(frozen=True)
class TrainingConfig:
    """
    The hyperparameters of a run; the defaults are those of the published models' cards.

    AdamW with betas 0.9 and 0.999 and epsilon 1e-8, linear schedule.

    :param model: Encoder or cross-encoder to start from: a bundled name, a folder or a Hub id.
    :param loss: `bce` (each pair by its label), `listnet` or `lambda` (the passages of a query as a list; labels may be any
        numbers, so a teacher's scores too), `multiple_negatives` (positives against the negatives and the other positives
        of the batch), `margin_mse` (the difference between two passages as the teacher sees it).
    :param pos_weight: Weight of positives in `bce`; `None`: 1.
    :param list_size: Passages of a query in a list (`listnet`, `lambda`); negatives of a positive, plus one, in
        `multiple_negatives`.
    :param epochs: Passes over the data.
    :param batch_size: What a step takes on a device: pairs, or lists, or triples, as the loss says.
    :param learning_rate: Peak of the linear schedule.
    :param warmup_ratio: Share of the steps over which the learning rate climbs.
    :param weight_decay: Of AdamW.
    :param max_grad_norm: Gradients are clipped at this norm.
    :param max_length: Tokens of a pair while training; longer passages are cut.
    :param seed: Seed of the head's first weights, of dropout and of the order of the data.
    :param precision: `fp32`, or `bf16`: matrix products in bfloat16, weights in float32.
    :param freeze_embeddings: Leave the word embeddings as they are.
    :param dropout: Of hidden states and attention weights; `None`: as the model says.
    :param group_by_length: Make batches of like length: less padding, another order of the data.
    :param logging_steps: Steps between two logged losses.
    :param save_steps: Steps between two checkpoints.
    :param eval_steps: Steps between two measurements on the dev collection; `None`: none before the end.
    :param patience: Stop after so many measurements without a new best nDCG@10; `None`: never. The best one is kept.
    :param early_exit_layer: Give the model an early-exit head after this many layers; `None`: none.
    :param report_to: Where losses are logged besides the card: `none`, `tensorboard` or `trackio`.
    """

    model: str = "cross-encoder/ms-marco-MiniLM-L6-v2"
    loss: str = CLASSIC
    pos_weight: float | None = None
    list_size: int = 8
    epochs: float = 3.0
    batch_size: int = 16
    learning_rate: float = 5e-5
    warmup_ratio: float = 0.0
    weight_decay: float = 0.0
    max_grad_norm: float = 1.0
    max_length: int = 512
    seed: int = 42
    precision: str = "fp32"
    freeze_embeddings: bool = False
    dropout: float | None = None
    group_by_length: bool = False
    logging_steps: int = 500
    save_steps: int = 500
    eval_steps: int | None = None
    patience: int | None = None
    early_exit_layer: int | None = None
    report_to: str = "none"

    def __post_init__(self) -> None:
        self._check_numbers()
        for name, choices in (("loss", LOSSES), ("precision", PRECISIONS), ("report_to", REPORTERS)):
            if getattr(self, name) not in choices:
                raise InvalidValueError(f"{name} must be one of {', '.join(choices)}, got {getattr(self, name)!r}")
        if self.pos_weight is not None and self.loss != CLASSIC:
            raise InvalidValueError(f"pos_weight belongs to the loss bce, not to {self.loss}: leave it out")
        if self.patience is not None and self.eval_steps is None:
            raise InvalidValueError("patience counts measurements on the dev collection: set eval_steps too")

    def _check_numbers(self) -> None:
        for name in ABOVE_ZERO:
            value = getattr(self, name)
            if value is not None and not 0 < value < math.inf:
                raise InvalidValueError(f"{name} must be above 0, got {value}")
        for name in SHARES:
            value = getattr(self, name)
            if value is not None and not 0 <= value < 1:
                raise InvalidValueError(f"{name} must be from 0 to below 1, got {value}")
        if self.list_size < 2:
            raise InvalidValueError(f"list_size must be at least 2, got {self.list_size}")

    def as_dict(self) -> dict[str, Any]:
        """Return the hyperparameters by name, for the model card."""
        return asdict(self)


def preset_names() -> list[str]:
    """Return the names of the recipes that are built in."""
    return sorted(file.stem for file in PRESETS.glob("*.yaml"))


def make_config(
    preset: str | None = None, *, file: Path | None = None, overrides: Mapping[str, Any] | None = None
) -> TrainingConfig:
    """
    Put a configuration together; what comes later counts.

    :param preset: Name of a built-in recipe; `None`: the defaults of `TrainingConfig`.
    :param file: A YAML file with some of the fields.
    :param overrides: Single fields.
    :returns: The configuration.
    :raises InvalidValueError: If there is no such preset, or the file cannot be read, or a field or value is unknown.
    """
    values: dict[str, Any] = {}
    if preset is not None:
        if preset not in preset_names():
            raise InvalidValueError(f"there is no preset {preset!r}: choose one of {', '.join(preset_names())}")
        values |= _read(PRESETS / f"{preset}.yaml")
    if file is not None:
        values |= _read(file)
    values |= _checked(overrides or {}, "options")
    return TrainingConfig(**values)


def _read(file: Path) -> dict[str, Any]:
    import yaml

    try:
        values = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise InvalidValueError(f"{file} cannot be read as YAML: {' '.join(str(error).split())}") from error
    if not isinstance(values, dict):
        raise InvalidValueError(f"{file} must hold names and values, such as `epochs: 3`")
    return _checked(values, str(file))


def _checked(values: Mapping[Any, Any], place: str) -> dict[str, Any]:
    # A union has a __name__ of its own from Python 3.14 on.
    types = {f.name: f.type.__name__ if isinstance(f.type, type) else str(f.type) for f in fields(TrainingConfig)}
    if unknown := [name for name in values if name not in types]:
        raise InvalidValueError(f"{place} has unknown names: {', '.join(map(str, unknown))}; known are {', '.join(types)}")
    return {name: _typed(name, value, types[name], place) for name, value in values.items()}


def _typed(name: str, value: Any, kind: str, place: str) -> Any:
    """Check a value's type. YAML 1.1 reads 5e-5 as a text (it wants 5.0e-5): for a number, a text will do too."""
    if value is None and "None" in kind:
        return None
    wanted = kind.partition(" |")[0]
    if wanted == "float" and isinstance(value, int | float | str) and not isinstance(value, bool):
        try:
            return float(value)
        except ValueError:
            pass
    elif type(value).__name__ == wanted:
        return value
    raise InvalidValueError(f"{place}: {name} must be of type {kind}, got {value!r}")
