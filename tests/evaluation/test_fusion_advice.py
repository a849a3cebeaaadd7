import numpy as np
import pytest

from rerank_plugin.evaluation.candidates import ScoredCandidates
from rerank_plugin.evaluation.fusion_advice import advise_fusion
from rerank_plugin.evaluation.judged_candidates import JudgedCandidates

CANDIDATES = 20


def judged(query: int, *, first_rank: int, second_rank: int, scored: bool = True) -> JudgedCandidates:
    """A query whose relevant document has these ranks, from 0, in the first and the second stage."""
    ids = [f"d{i:02}" for i in range(CANDIDATES)]
    logits = np.linspace(1, -1, CANDIDATES, dtype=np.float32)
    logits = np.insert(np.delete(logits, second_rank), first_rank, logits[second_rank])
    first = np.linspace(9, 1, CANDIDATES) if scored else np.full(CANDIDATES, np.nan)
    candidates = ScoredCandidates(ids, first, logits.astype(np.float32), np.arange(CANDIDATES))
    return JudgedCandidates(f"q{query}", candidates, {ids[first_rank]: 1})


@pytest.mark.parametrize(
    ("first", "second", "word"),
    [(6, 0, "pays"), (0, 0, "does not pay"), (0, 19, "harms")],
)
def test_a_second_stage_pays_only_if_it_is_significantly_better_on_queries_that_chose_nothing(first, second, word):
    advice = advise_fusion([judged(i, first_rank=first, second_rank=second) for i in range(30)])
    assert advice.word == word
    assert f"the second stage {word}" in advice.text


def test_the_better_model_stands_alone_and_two_halves_of_the_truth_are_blended():
    alone = advise_fusion([judged(i, first_rank=9, second_rank=0) for i in range(20)])
    assert "set fusion: none" in alone.text
    mixed = [judged(i, first_rank=2 + 12 * (i % 2), second_rank=2 + 12 * ((i + 1) % 2)) for i in range(40)]
    blended = advise_fusion(mixed)
    assert blended.fusion.method in ("linear", "rrf")
    assert 0 < blended.fusion.weight < 1
    assert blended.as_json()["fusion"] == {"method": blended.fusion.method, "weight": blended.fusion.weight}


def test_without_scores_of_the_first_stage_only_ranks_are_blended():
    advice = advise_fusion([judged(i, first_rank=3, second_rank=1, scored=False) for i in range(4)])
    assert advice.fusion.method in ("none", "rrf")


def test_a_single_query_proves_nothing():
    assert advise_fusion([judged(0, first_rank=9, second_rank=0)]).word == "does not pay"
