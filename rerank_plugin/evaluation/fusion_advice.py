"""Whether a second stage pays behind its first stage, and with which fusion: fitted and tested on different queries."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rerank_plugin.evaluation.candidates import NO_FUSION, FusionSetting
from rerank_plugin.evaluation.comparison import SIGNIFICANT
from rerank_plugin.evaluation.judged_candidates import JudgedCandidates
from rerank_plugin.evaluation.measures import NDCG, evaluate
from rerank_plugin.evaluation.significance import bootstrap_intervals, randomisation_tests
from rerank_plugin.scoring.fusion import fusions_of

# Weights of the second stage that are tried; of equally good settings the first is taken, which is the simplest.
TRIED = ("log_linear", "linear", "rrf")
STEPS = (0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2)
PAYS, DOES_NOT_PAY, HARMS = "pays", "does not pay", "harms"


@dataclass(frozen=True)
class FusionAdvice:
    """
    Whether a second stage pays, and how to use it.

    :param fusion: The best fusion on all queries.
    :param gain: nDCG@10 over the first stage, with fusions that were chosen on other queries.
    :param interval: Its 95 % bootstrap interval.
    :param p: Two-sided p-value of the paired randomisation test.
    """

    fusion: FusionSetting
    gain: float
    interval: tuple[float, float]
    p: float

    @property
    def word(self) -> str:
        """`pays`, `does not pay` or `harms`."""
        if self.p >= SIGNIFICANT:
            return DOES_NOT_PAY
        return PAYS if self.gain > 0 else HARMS

    @property
    def text(self) -> str:
        """The advice as a sentence."""
        figures = f"{self.gain:+.4f} [{self.interval[0]:+.3f}, {self.interval[1]:+.3f}], p {self.p:.4f}, cross-validated"
        if self.word == PAYS:
            how = (
                "fusion: none"
                if self.fusion == NO_FUSION
                else f"fusion: {self.fusion.method}, fusion_weight: {self.fusion.weight}"
            )
            return f"the second stage pays ({figures}): set {how}"
        if self.word == HARMS:
            return (
                f"the second stage harms, whatever the fusion ({figures}): leave it out, or adapt the model (`rerank adapt`)"
            )
        return f"the second stage does not pay ({figures}): leave it out, or judge more queries"

    def as_json(self) -> dict[str, Any]:
        """Return what a calibration keeps."""
        return {"verdict": self.text, "fusion": {"method": self.fusion.method, "weight": self.fusion.weight}}


def advise_fusion(judged: Sequence[JudgedCandidates]) -> FusionAdvice:
    """
    Choose a fusion on all queries, and estimate its gain with fusions chosen on the other half of the queries.

    Chosen and measured on the same queries, the gain would be too good.

    :param judged: Queries with all their candidates scored.
    :returns: The advice.
    """
    possible = fusions_of(np.concatenate([query.scored.first_scores for query in judged]))
    settings = [NO_FUSION, *(FusionSetting(method, weight) for method in TRIED if method in possible for weight in STEPS)]
    values = np.stack([_per_query(judged, setting) for setting in settings])
    first = _per_query(judged, None)
    halves = np.arange(len(first)) % 2
    held_out = np.empty(len(first))
    for half in (0, 1):
        others = values[:, halves != half]
        chosen = _best(others) if others.shape[1] else 0
        held_out[halves == half] = values[chosen, halves == half]
    differences = (held_out - first)[:, None]
    lows, highs = bootstrap_intervals(differences)
    return FusionAdvice(
        fusion=settings[_best(values)],
        gain=float(differences.mean()),
        interval=(float(lows[0]), float(highs[0])),
        p=float(randomisation_tests(differences)[0]),
    )


def _best(values: NDArray[np.float64]) -> int:
    return int(np.argmax(np.round(values.mean(axis=1), 6)))


def _per_query(judged: Sequence[JudgedCandidates], fusion: FusionSetting | None) -> NDArray[np.float64]:
    """Return the nDCG@10 of each query that has a relevant document; `None`: of the first stage."""
    run = {
        query.query_id: query.scored.ordered_by(-np.arange(len(query.scored), dtype=np.float64))
        if fusion is None
        else query.scored.ranking(len(query.scored), fusion)
        for query in judged
    }
    evaluation = evaluate(run, {query.query_id: query.judgements for query in judged}, [NDCG])
    return np.array(list(evaluation.per_query[NDCG].values()))
