import threading

import numpy as np
import pytest
from conftest import WORDS

from rerank_plugin.scoring.batching import ShapeGrid
from rerank_plugin.scoring.cache import ScoreCache
from rerank_plugin.scoring.depth import DepthRule
from rerank_plugin.scoring.exit_rule import ExitRule
from rerank_plugin.scoring.limits import CallLimits, ScoringStoppedError
from rerank_plugin.scoring.scorer import PairScorer, ScorerSettings
from rerank_plugin.scoring.second_stage import SecondStage
from rerank_plugin.scoring.types import ScoringRequest

PASSAGES = [f"{WORDS[i % 40]} " * (1 + i % 5) for i in range(64)]
# A megabyte; the model of these tests reads 60 tokens at once.
MEGABYTE = "the moon is far and the sun is near " * 29_000


class Counting:
    """Logit = number of tokens. On its clock, each token of a batch takes time; a batch can take longer."""

    precision = "exact"
    grid = ShapeGrid(batch_cost=0)

    def __init__(self, seconds_per_token: float = 0.0, batch_tokens: int = 100_000):
        self.now, self.rows, self.batches, self.seconds_per_token = 0.0, 0, 0, seconds_per_token
        self.batch_tokens = batch_tokens
        self.delay = 0.0
        self.longest = 0.0

    def clock(self):
        return self.now

    def logits(self, features):
        self.rows += len(features["input_ids"])
        self.batches += 1
        seconds = self.seconds_per_token * features["input_ids"].size + self.delay
        self.delay = 0.0
        self.longest = max(self.longest, seconds)
        self.now += seconds
        return features["attention_mask"].sum(axis=1).astype(np.float32)


@pytest.fixture
def stage(tokenizer):
    def make(cache=None, first_look=None, backend=None):
        scorer = PairScorer(tokenizer, backend or Counting(), ScorerSettings(), identity="counting")
        return SecondStage(scorer, cache, first_look)

    return make


def warm(stage):
    """Score everything twice, so that no shape is new; start the clock at 0."""
    for _ in range(2):
        stage.score([ScoringRequest("moon", PASSAGES)], call(stage))
        for start in range(0, 64, 4):
            stage.score([ScoringRequest("moon", PASSAGES[start : start + 4])], call(stage))
            stage.score([ScoringRequest("moon", PASSAGES[start : start + 1])], call(stage))
    stage.scorer.backend.longest = 0.0
    return stage


def call(stage, budget=None, **more):
    return CallLimits(budget, clock=stage.scorer.backend.clock, **more)


def test_requests_with_a_cache_give_the_same_as_without(stage):
    requests = [ScoringRequest("moon", PASSAGES[:5]), ScoringRequest("red fox", PASSAGES[2:9]), ScoringRequest("sea", [])]
    cached, plain = stage(ScoreCache("memory", size=100)), stage()
    for _ in range(2):
        answers = cached.score(requests)
        for result, expected in zip(answers, plain.score(requests), strict=True):
            np.testing.assert_array_equal(result.logits, expected.logits)
    assert cached.scorer.backend.rows == 12
    assert [answer.cached for answer in answers] == [5, 7, 0]


def test_only_what_the_cache_lacks_is_scored(stage):
    cached = stage(ScoreCache("memory", size=100))
    cached.score([ScoringRequest("moon", PASSAGES[:4])])
    cached.score([ScoringRequest("moon", PASSAGES[2:6])])
    assert cached.scorer.backend.rows == 6


def test_a_budget_that_suffices_leaves_nothing_out(stage):
    result = stage().score([ScoringRequest("moon", PASSAGES)], CallLimits(60.0))[0]
    assert result.stopped_by is None
    np.testing.assert_array_equal(result.logits, stage().scorer.logits("moon", PASSAGES))


@pytest.mark.parametrize("budget", [0.0, 0.001, 0.1, 0.3, 1.0])
def test_t1_t2_a_deadline_is_overrun_by_one_batch_at_most_and_something_is_scored(stage, budget):
    timed = warm(stage(backend=Counting(1e-3)))
    limits = call(timed, budget)
    (result,) = timed.score([ScoringRequest("moon", PASSAGES)], limits)
    backend = timed.scorer.backend
    known = ~np.isnan(result.logits)
    assert known.any()
    assert result.stopped_by == (None if known.all() else "deadline")
    assert backend.now - limits.began <= budget + backend.longest
    np.testing.assert_array_equal(result.logits[known], stage().scorer.logits("moon", PASSAGES)[known])


def test_the_best_candidates_of_the_first_stage_are_scored_first(stage):
    timed = warm(stage(backend=Counting(1e-3)))
    (result,) = timed.score([ScoringRequest("moon", PASSAGES)], call(timed, 0.2))
    known = np.flatnonzero(~np.isnan(result.logits))
    assert 4 < len(known) < len(PASSAGES)
    assert known.max() < len(known) + 16


@pytest.mark.parametrize("seconds", [10.0, 600.0])
def test_t1_after_a_call_that_was_stopped_the_next_one_is_complete(stage, seconds):
    timed = warm(stage(backend=Counting(1e-4)))
    timed.scorer.backend.delay = seconds
    (slow,) = timed.score([ScoringRequest("moon", PASSAGES)], call(timed, 0.2))
    assert slow.stopped_by == "deadline"
    (next_one,) = timed.score([ScoringRequest("moon", PASSAGES)], call(timed, 0.2))
    assert next_one.stopped_by is None


def test_t1_after_a_cold_call_of_empty_passages_the_next_one_is_complete(stage):
    timed = stage(backend=Counting(1e-4))
    timed.scorer.backend.delay = 5.0
    timed.score([ScoringRequest("moon", [""] * 16)], call(timed, 0.5))
    (result,) = timed.score([ScoringRequest("moon", PASSAGES)], call(timed, 0.5))
    assert result.stopped_by is None


def test_t2_a_thousand_long_documents_end_in_time(stage):
    timed = warm(stage(backend=Counting(1e-4, batch_tokens=2048)))
    passages = ["the moon is far and the sun is near " * 170] * 1000
    limits = call(timed, 0.5)
    (result,) = timed.score([ScoringRequest("moon", passages)], limits)
    assert (~np.isnan(result.logits)).any()
    assert result.stopped_by == "deadline"
    assert timed.scorer.backend.now - limits.began <= 0.5 + timed.scorer.backend.longest


def test_t10_a_megabyte_is_read_as_far_as_time_allows(stage):
    timed = warm(stage(backend=Counting(1e-4, batch_tokens=2048)))
    limits = call(timed, 3.0)
    (result,) = timed.score([ScoringRequest("moon", [MEGABYTE, "sea"])], limits)
    assert result.stopped_by == "deadline"
    assert result.partly_read.tolist() == [True, False]
    assert result.logits[0] > result.logits[1]
    assert timed.scorer.backend.now - limits.began <= 3.0 + timed.scorer.backend.longest


def test_t2_tokenising_ends_with_the_deadline(stage, monkeypatch):
    timed = warm(stage(backend=Counting(1e-4)))
    tokenizer, characters = timed.scorer.tokenizer, []
    encode = type(tokenizer).encode

    def slow(self, texts):
        characters.append(sum(map(len, texts)))
        timed.scorer.backend.now += characters[-1] * 1e-6
        return encode(self, texts)

    monkeypatch.setattr(type(tokenizer), "encode", slow)
    limits = call(timed, 0.1)
    timed.score([ScoringRequest("moon", [MEGABYTE] * 10)], limits)
    assert sum(characters) < 400_000  # of 10 million
    assert timed.scorer.backend.now - limits.began < 0.3


def test_a_long_document_does_not_keep_the_others_from_being_scored(stage):
    timed = warm(stage(backend=Counting(1e-5, batch_tokens=2048)))
    (result,) = timed.score([ScoringRequest("moon", [MEGABYTE, *PASSAGES])], call(timed, 0.5))
    assert not np.isnan(result.logits).any()
    assert result.partly_read.tolist() == [True] + [False] * 64


def test_t10_without_a_budget_every_window_of_a_long_document_is_read(stage):
    plain = stage(backend=Counting(batch_tokens=8192))
    text = MEGABYTE[:100_000] + " fox " * 50
    (result,) = plain.score([ScoringRequest("moon", [text])])
    assert result.is_complete
    window = result.windows[0]
    start, stop = plain.scorer.characters(text, window)
    assert 0 <= start < stop <= len(text)
    most = plain.scorer.tokenizer.encode([text[start:stop]])[0]
    assert len(most) == window.stop - window.start
    assert plain.scorer.backend.rows > 100_000 / 4.5 / 60


def test_t10_reading_a_long_document_stops_when_the_call_is_cancelled(stage):
    plain = stage(backend=Counting(batch_tokens=512))
    with pytest.raises(ScoringStoppedError):
        plain.score([ScoringRequest("moon", [MEGABYTE])], CallLimits(should_stop=lambda: plain.scorer.backend.batches >= 3))
    assert plain.scorer.backend.batches == 3


def test_a_partial_score_is_not_cached(stage):
    cached = stage(ScoreCache("memory", size=100), backend=Counting(1e-3, batch_tokens=64))
    warm(cached)
    before = len(cached.cache)
    text = MEGABYTE[:2000]
    (part,) = cached.score([ScoringRequest("sea", [text])], call(cached, 0.3))
    assert part.partly_read[0]
    assert len(cached.cache) == before
    (whole,) = cached.score([ScoringRequest("sea", [text])], call(cached))
    assert whole.is_complete
    assert len(cached.cache) == before + 1


def test_scores_from_the_cache_need_no_time(stage):
    cached = stage(ScoreCache("memory", size=100), backend=Counting(1e-3))
    cached.score([ScoringRequest("moon", PASSAGES)], call(cached))
    (result,) = cached.score([ScoringRequest("moon", PASSAGES)], call(cached, 0.001))
    assert (result.stopped_by, result.cached) == (None, 64)


def test_several_queries_share_the_time(stage):
    timed = warm(stage(backend=Counting(1e-3)))
    answers = timed.score([ScoringRequest(query, PASSAGES) for query in ("moon", "sea", "fox")], call(timed, 0.5))
    counts = [int((~np.isnan(answer.logits)).sum()) for answer in answers]
    assert min(counts) > 0
    assert max(counts) - min(counts) <= 16


@pytest.mark.parametrize(("threshold", "scored"), [(0.0, 64), (1e9, 16)])
def test_a_depth_rule_stops_after_the_result_is_full(stage, threshold, scored):
    result = stage().score_to_depth(ScoringRequest("moon", PASSAGES), *depth(threshold, 10), CallLimits())
    assert (~np.isnan(result.logits)).sum() == scored
    assert result.stopped_by == (None if scored == 64 else "depth")


def depth(threshold, top_k):
    return DepthRule((0.0, 0.0, 0.0, 0.0), threshold), np.full(64, np.nan), top_k


def test_a_depth_rule_scores_at_least_the_result(stage):
    result = stage().score_to_depth(ScoringRequest("moon", PASSAGES), *depth(1e9, 20), CallLimits())
    assert (~np.isnan(result.logits)).sum() == 32


def test_v_fewer_candidates_than_a_depth_rule_looks_at_are_all_scored(stage):
    result = stage().score_to_depth(ScoringRequest("moon", PASSAGES[:2]), *depth(1e9, 1), CallLimits())
    assert (result.stopped_by, result.is_complete) == (None, True)


def test_after_a_first_look_only_the_best_are_scored_in_full(stage):
    look = stage().scorer  # more tokens, higher logit: the same as the full model
    result = stage(first_look=look).score_survivors(ScoringRequest("moon", PASSAGES), 12, CallLimits())
    full = stage().scorer.logits("moon", PASSAGES)
    assert result.stopped_by == "early_exit"
    assert set(np.flatnonzero(~np.isnan(result.logits))) == set(np.argsort(-full, kind="stable")[:12])


def test_no_first_look_is_taken_at_fewer_candidates_than_survive(stage):
    look = stage().scorer
    result = stage(first_look=look).score_survivors(ScoringRequest("moon", PASSAGES[:12]), 12, CallLimits())
    assert result.stopped_by is None
    assert look.backend.rows == 0


def test_t10_the_first_look_leaves_time_to_score(stage):
    backend = Counting(1e-3, batch_tokens=64)
    look = warm(stage(backend=backend)).scorer
    both = warm(stage(first_look=look, backend=backend))
    limits = call(both, 0.4)
    result = both.score_survivors(ScoringRequest("moon", PASSAGES), 12, limits)
    assert result.stopped_by == "deadline"
    assert 0 < (~np.isnan(result.logits)).sum() <= 12
    assert backend.now - limits.began <= 0.4 + backend.longest


def test_an_exit_rule_leaves_time_to_score(stage):
    backend = Counting(1e-3, batch_tokens=64)
    look = warm(stage(backend=backend)).scorer
    both = warm(stage(first_look=look, backend=backend))
    limits = call(both, 0.4)
    rule = ExitRule(0.0, DepthRule((0.0, 0.0, 0.0, 0.0), 0.0))
    result = both.score_likeliest(ScoringRequest("moon", PASSAGES), rule, 10, limits)
    assert result.stopped_by == "deadline"
    assert (~np.isnan(result.logits)).sum() > 0
    assert backend.now - limits.began <= 0.4 + backend.longest


def test_scoring_can_be_stopped_between_batches(tokenizer):
    backend = Counting()
    scorer = PairScorer(tokenizer, backend, ScorerSettings(max_batch_tokens=200), identity="counting")
    with pytest.raises(ScoringStoppedError):
        scorer.score([ScoringRequest("moon", PASSAGES)], CallLimits(should_stop=lambda: backend.rows > 10))
    assert 10 < backend.rows < len(PASSAGES)


class Gate(Counting):
    """Holds its first batch until it is released, so that other calls queue up."""

    def __init__(self, *arguments, **more):
        super().__init__(*arguments, **more)
        self.entered, self.go = threading.Event(), threading.Event()
        self.ends = {}

    def logits(self, features):
        self.entered.set()
        assert self.go.wait(30)
        result = super().logits(features)
        for query in features["input_ids"][:, 1].tolist():  # each call asks with a word of its own
            self.ends[query] = self.now
        return result


@pytest.mark.parametrize("callers", [2, 16])
@pytest.mark.parametrize("budget", [0.1, 2.0])
def test_concurrent_callers_all_get_a_result_and_overrun_by_their_batches_at_most(stage, callers, budget):
    gate = Gate(1e-4, batch_tokens=512)
    gate.go.set()
    timed = warm(stage(backend=gate))
    gate.go.clear(), gate.entered.clear()
    answers, ends = {}, {}

    def work(number, limits):
        answers[number] = timed.score([ScoringRequest(WORDS[number], PASSAGES)], limits)[0]
        (word,) = timed.scorer.tokenizer.encode([WORDS[number]])[0]
        ends[number] = gate.ends[word] - limits.began

    first = threading.Thread(target=work, args=(0, call(timed)))  # without a budget, so it must yield to the others
    first.start()
    assert gate.entered.wait(10)
    others = [threading.Thread(target=work, args=(n, call(timed, budget))) for n in range(1, callers)]
    for thread in others:
        thread.start()
    while timed.scorer.scheduler.calls < callers:
        first.join(0.001)
    gate.go.set()
    for thread in [first, *others]:
        thread.join(30)
    assert answers[0].is_complete
    for number in range(1, callers):
        assert (~np.isnan(answers[number].logits)).any()
        assert ends[number] <= budget + callers * gate.longest
