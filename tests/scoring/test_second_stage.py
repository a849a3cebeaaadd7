import time

import numpy as np
import pytest
from conftest import WORDS, write_tokenizer

from rerank_plugin.scoring.batching import ShapeGrid
from rerank_plugin.scoring.depth import DepthRule
from rerank_plugin.scoring.score_cache import ScoreCache
from rerank_plugin.scoring.scorer import PairScorer, ScorerSettings, ScoringStoppedError
from rerank_plugin.scoring.second_stage import CHUNK, Limits, SecondStage
from rerank_plugin.scoring.tokens import PairTokenizer
from rerank_plugin.scoring.types import ScoringRequest

PASSAGES = [f"{WORDS[i % 40]} " * (1 + i % 5) for i in range(64)]


class Counting:
    """Logit = number of tokens; remembers the rows that it was given, and can be slow."""

    precision = "exact"
    batch_tokens = 100_000
    grid = ShapeGrid()

    def __init__(self, seconds: float = 0.0):
        self.rows, self.seconds = 0, seconds

    def logits(self, features):
        self.rows += len(features["input_ids"])
        time.sleep(self.seconds)
        return features["attention_mask"].sum(axis=1).astype(np.float32)


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    from transformers import AutoTokenizer

    folder = tmp_path_factory.mktemp("tokenizer")
    write_tokenizer(folder)
    return PairTokenizer.of(AutoTokenizer.from_pretrained(str(folder)), max_length=64)


@pytest.fixture
def stage(tokenizer):
    def make(cache=None, seconds=0.0, first_look=None):
        return SecondStage(
            PairScorer(tokenizer, Counting(seconds), ScorerSettings(), identity="counting"), cache, first_look
        )

    return make


def test_requests_with_a_cache_give_the_same_as_without(stage):
    requests = [ScoringRequest("moon", PASSAGES[:5]), ScoringRequest("red fox", PASSAGES[2:9]), ScoringRequest("sea", [])]
    cached, plain = stage(ScoreCache("memory", size=100)), stage()
    for _ in range(2):
        for found, expected in zip(cached.score(requests), plain.score(requests), strict=True):
            np.testing.assert_array_equal(found.logits, expected.logits)
    assert cached.scorer.backend.rows == 12
    assert cached.cache.hits == 12


def test_only_what_the_cache_lacks_is_scored(stage):
    cached = stage(ScoreCache("memory", size=100))
    cached.score([ScoringRequest("moon", PASSAGES[:4])])
    cached.score([ScoringRequest("moon", PASSAGES[2:6])])
    assert cached.scorer.backend.rows == 6


def test_without_limits_within_reach_all_is_scored(stage):
    scored = stage().score_within(ScoringRequest("moon", PASSAGES), Limits(deadline=time.perf_counter() + 60))
    assert scored.stopped_by is None
    np.testing.assert_array_equal(scored.logits, stage().scorer.logits("moon", PASSAGES))


def test_a_deadline_leaves_the_rest_unscored_in_first_stage_order(stage):
    slow = stage(seconds=0.2)
    scored = slow.score_within(ScoringRequest("moon", PASSAGES), Limits(deadline=time.perf_counter() + 0.3))
    known = ~np.isnan(scored.logits)
    assert scored.stopped_by == "deadline"
    assert 0 < known.sum() < len(PASSAGES)
    assert known[: known.sum()].all()


def test_a_chunk_that_would_end_too_late_is_not_begun(stage):
    slow = stage(seconds=0.2)
    slow.score_within(ScoringRequest("moon", PASSAGES[:CHUNK]), Limits(deadline=time.perf_counter() + 60))
    rows = slow.scorer.backend.rows
    scored = slow.score_within(ScoringRequest("moon", PASSAGES), Limits(deadline=time.perf_counter() + 0.05))
    assert np.isnan(scored.logits).all()
    assert slow.scorer.backend.rows == rows


def test_a_deadline_in_the_past_scores_nothing(stage):
    scored = stage().score_within(ScoringRequest("moon", PASSAGES), Limits(deadline=time.perf_counter() - 1))
    assert scored.stopped_by == "deadline"
    assert np.isnan(scored.logits).all()


@pytest.mark.parametrize(("threshold", "scored"), [(0.0, 64), (1e9, 16)])
def test_a_depth_rule_stops_after_the_result_is_full(stage, threshold, scored):
    limits = Limits(depth=DepthRule((0.0, 0.0, 0.0, 0.0), threshold), top_k=10)
    found = stage().score_within(ScoringRequest("moon", PASSAGES), limits)
    assert (~np.isnan(found.logits)).sum() == scored
    assert found.stopped_by == (None if scored == 64 else "depth")


def test_a_depth_rule_scores_at_least_the_result(stage):
    limits = Limits(depth=DepthRule((0.0, 0.0, 0.0, 0.0), 1e9), top_k=20)
    assert (~np.isnan(stage().score_within(ScoringRequest("moon", PASSAGES), limits).logits)).sum() == 32


def test_after_a_first_look_only_the_best_are_scored_in_full(stage):
    look = stage().scorer  # more tokens, higher logit: the same as the full model
    found = stage(first_look=look).score_within(ScoringRequest("moon", PASSAGES), Limits(survivors=12))
    full = stage().scorer.logits("moon", PASSAGES)
    assert found.stopped_by == "early_exit"
    assert set(np.flatnonzero(~np.isnan(found.logits))) == set(np.argsort(-full, kind="stable")[:12])


def test_no_first_look_is_taken_at_fewer_candidates_than_survive(stage):
    look = stage().scorer
    found = stage(first_look=look).score_within(ScoringRequest("moon", PASSAGES[:12]), Limits(survivors=12))
    assert found.stopped_by is None
    assert look.backend.rows == 0


def test_scoring_can_be_stopped_between_batches(tokenizer):
    backend = Counting()
    scorer = PairScorer(tokenizer, backend, ScorerSettings(max_batch_tokens=200), identity="counting")
    with pytest.raises(ScoringStoppedError):
        scorer.score([ScoringRequest("moon", PASSAGES)], should_stop=lambda: backend.rows > 10)
    assert 10 < backend.rows < len(PASSAGES)
