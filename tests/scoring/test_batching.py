from hypothesis import given
from hypothesis import strategies as st

from rerank_plugin.scoring.batching import plan_batches

lengths_strategy = st.lists(st.integers(min_value=1, max_value=600), max_size=80)


@given(lengths_strategy, st.integers(1, 4000), st.integers(1, 20))
def test_every_pair_is_in_exactly_one_batch(lengths, max_tokens, max_pairs):
    batches = plan_batches(lengths, max_tokens=max_tokens, max_pairs=max_pairs)
    assert sorted(position for batch in batches for position in batch) == list(range(len(lengths)))


@given(lengths_strategy, st.integers(1, 4000), st.integers(1, 20))
def test_no_batch_exceeds_a_budget_unless_it_is_one_pair(lengths, max_tokens, max_pairs):
    for batch in plan_batches(lengths, max_tokens=max_tokens, max_pairs=max_pairs):
        assert len(batch) <= max_pairs
        padded = max(lengths[i] for i in batch) * len(batch)
        assert padded <= max_tokens or len(batch) == 1


def test_pairs_of_like_length_stand_together_and_the_longest_come_first():
    assert plan_batches([3, 50, 4, 48], max_tokens=100, max_pairs=16) == [[1, 3], [2, 0]]
