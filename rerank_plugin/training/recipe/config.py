"""The hyperparameters of a training run, composed of a preset, a YAML file and single options."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from functools import cache
from pathlib import Path
from types import NoneType
from typing import Annotated, Any, Literal, get_args, get_type_hints

from pydantic import BeforeValidator, ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.fields import FieldInfo

from rerank_plugin.checks import shown
from rerank_plugin.errors import InvalidValueError, reason_of
from rerank_plugin.scoring.early_exit import NARROW_HEADS

PRESETS = Path(__file__).parent / "presets"
CLASSIC = "bce"
LISTWISE = ("listnet", "lambda")
LossName = Literal["bce", "listnet", "lambda", "multiple_negatives", "margin_mse"]
LOSSES: tuple[str, ...] = get_args(LossName)
# The settings of `rerank train --fast`: less work for a CPU.
FAST = {"precision": "bf16", "freeze_embeddings": True, "dropout": 0.0, "group_by_length": True}


def _number_from_text(value: Any) -> Any:
    """Accept a text that is a number: YAML 1.1 reads 5e-5 as a text (it needs 5.0e-5)."""
    if isinstance(value, str):
        try:
            return float(value)
        except ValueError:
            pass
    return value


# The description of each type is part of the error message.
Text = Annotated[str, Field(min_length=1, description="a text")]
Flag = Annotated[bool, Field(description="true or false")]
Count = Annotated[int, Field(gt=0, description="a whole number above 0")]
Positive = Annotated[
    float, BeforeValidator(_number_from_text), Field(gt=0, allow_inf_nan=False, description="a finite number above 0")
]
Share = Annotated[float, BeforeValidator(_number_from_text), Field(ge=0, lt=1, description="a number from 0 to below 1")]
ListSize = Annotated[int, Field(ge=2, description="a whole number of at least 2")]
# A pair has up to 4 special tokens; below 8 tokens too little of the texts remains.
MaxLength = Annotated[int, Field(ge=8, description="a whole number of at least 8")]
Seed = Annotated[int, Field(ge=0, lt=2**32, description="a whole number from 0 to 4294967295")]
Loss = Annotated[LossName, Field(description=f"one of {', '.join(LOSSES)}")]
Precision = Annotated[Literal["fp32", "bf16"], Field(description="one of fp32, bf16")]
Reporter = Annotated[Literal["none", "tensorboard", "trackio"], Field(description="one of none, tensorboard, trackio")]


@dataclass(frozen=True)
class TrainingConfig:
    """
    The hyperparameters of a run; the defaults are those of the published models' cards.

    AdamW with betas 0.9 and 0.999 and epsilon 1e-8, linear schedule.

    :param model: Encoder or cross-encoder to start from: a bundled name, a folder or a Hub id.
    :param loss: `bce` (pointwise, by label), `listnet` or `lambda` (listwise, over the passages of a query; labels may be
        any numbers, such as a teacher's scores), `multiple_negatives` (positives against the negatives and the other
        positives of the batch), `margin_mse` (the teacher's score difference between two passages).
    :param pos_weight: Weight of positives in `bce`; `None`: 1.
    :param list_size: Passages per list (`listnet`, `lambda`); negatives per positive, plus one, in `multiple_negatives`.
    :param epochs: Passes over the data.
    :param batch_size: Pairs, lists or triples (depending on the loss) per step and device.
    :param learning_rate: Peak learning rate of the linear schedule.
    :param warmup_ratio: Warm-up: share of the steps over which the learning rate rises from 0 to its peak.
    :param weight_decay: Weight decay of AdamW.
    :param max_grad_norm: Gradients are clipped to this norm.
    :param max_length: Maximum tokens of a pair in training, at most the base model's input length; longer passages are cut.
    :param seed: Seed of the weights of a new head, of dropout and of the order of the data.
    :param precision: `fp32`, or `bf16`: matrix products in bfloat16, weights in float32. A CPU without it takes fp32.
    :param freeze_embeddings: Do not train the embeddings.
    :param dropout: Dropout of hidden states and attention weights; `None`: that of the model.
    :param group_by_length: Batch pairs or lists of similar length: less padding, but a different order of the data.
    :param logging_steps: Steps between logged losses.
    :param save_steps: Steps between checkpoints.
    :param eval_steps: Steps between evaluations on the dev collection; `None`: only at the end.
    :param patience: Stop after this many evaluations without a better nDCG@10, keeping the best model; `None`: never.
    :param early_exit_layers: Train an early-exit network with this many layers after the model; `None`: none.
    :param early_exit_width: Size of a token in its layers, a multiple of 4; `None`: that of the model.
    :param report_to: Logger of losses in addition to the card: `none`, `tensorboard` or `trackio`.
    """

    model: Text = "cross-encoder/ms-marco-MiniLM-L6-v2"
    loss: Loss = "bce"
    pos_weight: Positive | None = None
    list_size: ListSize = 8
    epochs: Positive = 3.0
    batch_size: Count = 16
    learning_rate: Positive = 5e-5
    warmup_ratio: Share = 0.0
    weight_decay: Share = 0.0
    max_grad_norm: Positive = 1.0
    max_length: MaxLength = 512
    seed: Seed = 42
    precision: Precision = "fp32"
    freeze_embeddings: Flag = False
    dropout: Share | None = None
    group_by_length: Flag = False
    logging_steps: Count = 500
    save_steps: Count = 500
    eval_steps: Count | None = None
    patience: Count | None = None
    early_exit_layers: Count | None = None
    early_exit_width: Count | None = None
    report_to: Reporter = "none"

    def __post_init__(self) -> None:
        for field in fields(self):
            object.__setattr__(self, field.name, _checked_value(field.name, getattr(self, field.name)))
        if self.pos_weight is not None and self.loss != CLASSIC:
            raise InvalidValueError(f"pos_weight is for the loss bce, not {self.loss}: leave it out")
        if self.patience is not None and self.eval_steps is None:
            raise InvalidValueError("patience counts evaluations on the dev collection: set eval_steps too")
        if self.early_exit_width is not None and self.early_exit_layers is None:
            raise InvalidValueError("early_exit_width is for an early-exit network: set early_exit_layers too")
        if (self.early_exit_width or 0) % NARROW_HEADS:
            raise InvalidValueError(f"early_exit_width must be a multiple of {NARROW_HEADS}, got {self.early_exit_width}")

    def as_dict(self) -> dict[str, Any]:
        """Return the hyperparameters by name, for the model card."""
        return asdict(self)


def preset_names() -> list[str]:
    """Return the names of the built-in recipes."""
    return sorted(file.stem for file in PRESETS.glob("*.yaml"))


def make_config(
    preset: str | None = None, *, file: Path | None = None, overrides: Mapping[str, Any] | None = None
) -> TrainingConfig:
    """
    Compose a configuration. A file overrides the preset, and single fields override both.

    :param preset: Name of a built-in recipe; `None`: the defaults of `TrainingConfig`.
    :param file: A YAML file with some of the fields.
    :param overrides: Single fields.
    :returns: The configuration.
    :raises InvalidValueError: If there is no such preset, or the file cannot be read, or a field or value is unknown.
    """
    values: dict[str, Any] = {}
    if preset is not None:
        if preset not in preset_names():
            raise InvalidValueError(f"there is no preset {shown(preset)}: choose one of {', '.join(preset_names())}")
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
        raise InvalidValueError(f"{file} cannot be read as YAML: {reason_of(error)}") from error
    if not isinstance(values, dict):
        raise InvalidValueError(f"{file} must contain names and values, such as `epochs: 3`")
    return _checked(values, str(file))


def _checked(values: Mapping[Any, Any], place: str) -> dict[str, Any]:
    known = [field.name for field in fields(TrainingConfig)]
    if unknown := [name for name in values if name not in known]:
        raise InvalidValueError(f"{place} has unknown names: {', '.join(map(str, unknown))}; choose from {', '.join(known)}")
    return {name: _checked_value(name, value, f"{place}: ") for name, value in values.items()}


def _checked_value(name: str, value: Any, place: str = "") -> Any:
    adapter, wanted = _field_types()[name]
    try:
        return adapter.validate_python(value)
    except (ValidationError, OverflowError):  # a whole number may be too large for a float
        raise InvalidValueError(f"{place}{name} must be {wanted}, got {shown(value)}") from None


@cache
def _field_types() -> dict[str, tuple[TypeAdapter[Any], str]]:
    """Return the validator of each field, and a description of its values."""
    types: dict[str, tuple[TypeAdapter[Any], str]] = {}
    for name, hint in get_type_hints(TrainingConfig, include_extras=True).items():
        annotated, *none = get_args(hint) if NoneType in get_args(hint) else [hint]
        wanted = next(info.description for info in annotated.__metadata__ if isinstance(info, FieldInfo))
        types[name] = TypeAdapter(hint, config=ConfigDict(strict=True)), f"{wanted}, or null" if none else str(wanted)
    return types
