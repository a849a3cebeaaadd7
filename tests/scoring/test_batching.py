from itertools import combinations, pairwise

from hypothesis import given
from hypothesis import strategies as st

from rerank_plugin.scoring.batching import ShapeGrid, plan_batches

lengths_strategy = st.lists(st.integers(min_value=1, max_value=600), max_size=60)
grids = st.sampled_from([ShapeGrid(), ShapeGrid(16), ShapeGrid(16, own_width=True)])


@given(lengths_strategy, st.integers(1, 4000), st.integers(1, 20), grids)
def test_every_pair_is_in_exactly_one_batch(lengths, max_tokens, max_pairs, grid):
    batches = plan_batches(lengths, max_tokens=max_tokens, max_pairs=max_pairs, grid=grid)
    assert sorted(position for batch in batches for position in batch.positions) == list(range(len(lengths)))


@given(lengths_strategy, st.integers(1, 4000), st.integers(1, 20), grids)
def test_no_batch_exceeds_a_budget_unless_it_is_one_pair(lengths, max_tokens, max_pairs, grid):
    for batch in plan_batches(lengths, max_tokens=max_tokens, max_pairs=max_pairs, grid=grid):
        assert (len(batch.positions) <= max_pairs and batch.tokens <= max_tokens) or len(batch.positions) == 1


@given(lengths_strategy, grids)
def test_shapes_are_on_the_grid_and_not_wider_than_the_input_length(lengths, grid):
    for batch in plan_batches(lengths, max_tokens=4000, max_pairs=32, grid=grid, max_width=600):
        longest = max(lengths[position] for position in batch.positions)
        assert longest <= batch.width <= 600
        assert batch.width % grid.width_step == 0 or batch.width == 600
        assert batch.width - longest < grid.width_step


def work(batches) -> int:
    return sum(batch.tokens + ShapeGrid().batch_cost for batch in batches)


@given(st.lists(st.integers(1, 300), min_size=1, max_size=9), st.integers(200, 1500))
def test_no_other_partition_costs_less(lengths, max_tokens):
    ordered = sorted(lengths, reverse=True)

    def cost(cuts) -> float:
        edges = [0, *cuts, len(ordered)]
        parts = [ordered[a:b] for a, b in pairwise(edges)]
        if any(len(part) > 1 and len(part) * part[0] > max_tokens for part in parts):
            return float("inf")
        return sum(len(part) * part[0] + ShapeGrid().batch_cost for part in parts)

    places = range(1, len(ordered))
    best = min(cost(cuts) for count in range(len(ordered)) for cuts in combinations(places, count))
    assert work(plan_batches(lengths, max_tokens=max_tokens, max_pairs=100)) == best


def test_pairs_of_similar_length_are_together_and_the_longest_come_first():
    batches = plan_batches([3, 50, 4, 48], max_tokens=100, max_pairs=16)
    assert [batch.positions for batch in batches] == [[1, 3], [2, 0]]
    assert [batch.width for batch in batches] == [50, 4]


@given(lengths_strategy)
def test_with_own_widths_a_pair_is_as_wide_as_it_would_be_alone(lengths):
    grid = ShapeGrid(16, own_width=True)
    for batch in plan_batches(lengths, max_tokens=2048, max_pairs=64, grid=grid):
        assert {grid.width(lengths[position], None) for position in batch.positions} == {batch.width}
