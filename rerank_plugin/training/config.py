"""The hyperparameters of a training run."""

from dataclasses import asdict, dataclass
from typing import Any

from rerank_plugin.errors import InvalidValueError


@dataclass(frozen=True)
class TrainingConfig:
    """
    The hyperparameters of a run; the defaults are those of the published models' cards.

    :param model: Encoder or cross-encoder to start from: a folder or a Hub id.
    :param epochs: Passes over the data.
    :param batch_size: Pairs in a step.
    :param learning_rate: Peak of the linear schedule (AdamW, no warm-up unless `warmup_ratio` says so).
    :param warmup_ratio: Share of the steps over which the learning rate climbs.
    :param weight_decay: Of AdamW.
    :param max_length: Tokens of a pair while training; longer passages are cut.
    :param seed: Seed of the head's first weights and of the order of the pairs.
    :param save_steps: Steps between two checkpoints.
    :param fast: The CPU fast path: bf16 autocast, batches of like length, frozen embeddings, no dropout. Off, the run is
        the published recipe in fp32.
    """

    model: str
    epochs: float = 3.0
    batch_size: int = 16
    learning_rate: float = 5e-5
    warmup_ratio: float = 0.0
    weight_decay: float = 0.0
    max_length: int = 512
    seed: int = 42
    save_steps: int = 500
    fast: bool = False

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size", "learning_rate", "max_length", "save_steps"):
            if getattr(self, name) <= 0:
                raise InvalidValueError(f"{name} must be above 0, got {getattr(self, name)}")

    def as_dict(self) -> dict[str, Any]:
        """Return the hyperparameters by name, for the model card."""
        return asdict(self)
