"""How much work a call may save, as one choice."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Effort:
    """
    What a call keeps of the full result (all candidates scored with all layers), mean of the queries that the calibration
    was fitted on.

    :param gain: After a first look: the share of the discounted cumulative gain, with calibrated probabilities as gains.
    :param documents: In first-stage order, without an early-exit network: the share of the documents.
    """

    gain: float
    documents: float


# `None`: everything is scored.
EFFORTS: dict[str, Effort | None] = {
    "exact": None,
    "balanced": Effort(gain=0.98, documents=0.95),
    "fast": Effort(gain=0.95, documents=0.85),
}
