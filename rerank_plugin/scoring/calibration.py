"""What is fitted on judged queries: calibrated probabilities, fusion weights, and when scoring may stop."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rerank_plugin.checks import check_number
from rerank_plugin.errors import InputFileError
from rerank_plugin.files import replace_file
from rerank_plugin.scoring.depth import DepthModel
from rerank_plugin.scoring.exit_rule import ExitModel
from rerank_plugin.scoring.loading.spec import resolve_model

FORMAT = 1
FILE_NAME = "calibration.json"
BINS = 10


def sigmoid(logits: NDArray[np.floating]) -> NDArray[np.float64]:
    """
    Map logits to (0, 1) in float64.

    In float32 the sigmoid is exactly 1.0 for logits from 17, so distinct logits become ties; in float64 only from 37.

    :param logits: Raw outputs, any shape.
    :returns: 1 / (1 + exp(-logits)), same shape.
    """
    wide = logits.astype(np.float64)
    # exp of a negative number only: no overflow, and full precision near 0.
    small = np.exp(-np.abs(wide))
    return np.where(wide >= 0, 1.0 / (1.0 + small), small / (1.0 + small))


@dataclass(frozen=True)
class Calibration:
    """
    Parameters of a model, fitted on judged queries.

    :param scale: Probability = sigmoid(scale * logit + bias): Platt's method, or with no bias a temperature of 1 / scale.
    :param bias: See `scale`.
    :param fusion_weights: For `rrf` and `linear`, the weight of the second stage that was best.
    :param depth: When to stop scoring in first-stage order; `None` where it could not be fitted.
    :param early_exit: What to score after a first look, and when to stop; `None` for a model without an early-exit network.
    :param fitted_on: Data, model, first stage and results of the fit; for information only.
    :raises InvalidValueError: If a number is not finite, or a weight is not between 0 and 1.
    """

    scale: float = 1.0
    bias: float = 0.0
    fusion_weights: dict[str, float] = field(default_factory=dict)
    depth: DepthModel | None = None
    early_exit: ExitModel | None = None
    fitted_on: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_number("scale", self.scale)
        check_number("bias", self.bias)
        for name, weight in self.fusion_weights.items():
            check_number(f"fusion_weights[{name!r}]", weight, least=0, most=1)

    def probabilities(self, logits: NDArray[np.floating]) -> NDArray[np.float64]:
        """Map logits of any shape to probabilities, in float64."""
        return sigmoid(self.scale * logits.astype(np.float64) + self.bias)

    def save(self, file: Path) -> None:
        """Write the file atomically."""
        with replace_file(file) as stream:
            stream.write(json.dumps({"format": FORMAT, **asdict(self)}, indent=2) + "\n")

    @classmethod
    def load(cls, file: Path) -> "Calibration":
        """
        Read what `save` wrote.

        :param file: The file.
        :raises InputFileError: If it cannot be read, or is not a calibration.
        """
        try:
            data = json.loads(file.read_text(encoding="utf-8"))
            if data.pop("format") > FORMAT:
                raise InputFileError(f"{file} was written by a newer version of rerank-plugin: upgrade it")
            if data["depth"] is not None:
                data["depth"] = _depth(data["depth"])
            if data.get("early_exit") is not None:
                data["early_exit"] = ExitModel(data["early_exit"]["rank_weight"], _depth(data["early_exit"]["depth"]))
            return cls(**data)
        except OSError as error:
            raise InputFileError(f"calibration {file} cannot be read: {error.strerror}") from error
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            if isinstance(error, InputFileError):
                raise
            raise InputFileError(
                f"{file} is not a calibration ({error}): make one with `rerank calibrate DATASET --output {file}`"
            ) from error


def _depth(data: dict[str, Any]) -> DepthModel:
    return DepthModel(**{name: tuple(value) for name, value in data.items()})


def load_calibration(chosen: str, model: str) -> Calibration:
    """
    Return the calibration that a ranker reads.

    :param chosen: `none`, `auto` for the one in the model's folder, if there is one, or a file.
    :param model: A bundled name, a folder, or a Hub id.
    :raises InputFileError: If it cannot be read.
    :raises ModelError: If the model is none of the three.
    """
    if chosen == "none":
        return Calibration()
    if chosen != "auto":
        return Calibration.load(Path(chosen).expanduser())
    own = Path(resolve_model(model)) / FILE_NAME
    return Calibration.load(own) if own.is_file() else Calibration()


def fit_probabilities(logits: NDArray[np.floating], relevant: NDArray[np.bool_], *, method: str) -> tuple[float, float]:
    """
    Fit the mapping from logits to probabilities.

    Platt, "Probabilistic outputs for support vector machines" (1999); Guo et al., "On calibration of modern neural networks"
    (2017) for the temperature.

    :param logits: Shape (pairs,).
    :param relevant: Whether each passage was judged relevant; both must occur.
    :param method: `platt` (scale and bias) or `temperature` (scale only).
    :returns: Scale and bias.
    """
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression(C=np.inf, fit_intercept=method == "platt", max_iter=1000)
    model.fit(logits.astype(np.float64).reshape(-1, 1), relevant)
    return float(model.coef_[0, 0]), float(np.ravel(model.intercept_)[0])


def calibration_error(probabilities: NDArray[np.float64], relevant: NDArray[np.bool_]) -> float:
    """
    Compute the expected calibration error (ECE), over ten bins of equal width.

    Naeini, Cooper and Hauskrecht, "Obtaining well calibrated probabilities using Bayesian binning" (2015).

    :param probabilities: Shape (pairs,).
    :param relevant: Whether each passage was judged relevant, shape (pairs,).
    :returns: Mean distance over the bins, weighted by the number of pairs in each; 0 is perfect.
    """
    bins = np.minimum((probabilities * BINS).astype(int), BINS - 1)
    distances: Sequence[float] = [
        abs(float(probabilities[bins == b].mean()) - float(relevant[bins == b].mean())) * int((bins == b).sum())
        for b in range(BINS)
        if (bins == b).any()
    ]
    return sum(distances) / len(probabilities)
