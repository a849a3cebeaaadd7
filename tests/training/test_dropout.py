import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rerank_plugin.training.cpu.dropout import ByteDropout, drop, kept_mask, scale_of


def test_dropout_drops_its_share_and_keeps_the_mean():
    torch.manual_seed(0)
    dropout = ByteDropout(0.1)
    result = dropout(torch.ones(400, 1001))
    assert (result == 0).float().mean().item() == pytest.approx(13 / 128, abs=0.003)
    assert result.mean().item() == pytest.approx(1.0, abs=0.003)
    assert dropout.eval()(torch.ones(3)).tolist() == [1, 1, 1]


@pytest.mark.slow
@given(st.integers(1, 40), st.sampled_from([0.0, 0.1, 0.5, 0.9]))
@settings(deadline=None)
def test_masks_have_the_shape_that_was_asked_for_and_repeat_with_the_seed(count, probability):
    torch.manual_seed(count)
    first = kept_mask((count, 3), probability)
    torch.manual_seed(count)
    assert torch.equal(first, kept_mask((count, 3), probability))
    assert first.shape == (count, 3)
    assert set(first.unique().tolist()) <= {0, -1}
    assert scale_of(probability) == pytest.approx(1 / (1 - probability), rel=0.03)


def test_nothing_is_dropped_with_probability_0_and_never_everything():
    assert kept_mask((999,), 0.0).eq(-1).all()
    torch.manual_seed(0)
    assert 0 < kept_mask((9999,), 0.999).eq(-1).sum() < 200


def test_every_byte_of_the_random_numbers_is_used_alike():
    torch.manual_seed(2)
    shares = kept_mask((80_000,), 0.5).view(-1, 8).eq(-1).float().mean(0)
    assert shares.min() > 0.48
    assert shares.max() < 0.52


@pytest.mark.slow
@given(
    st.sampled_from([torch.float16, torch.bfloat16, torch.float32, torch.float64]),
    st.lists(st.floats(-9, 9), min_size=1, max_size=20),
    st.integers(0, 99),
)
def test_kept_values_are_unchanged_and_the_rest_is_0(dtype, numbers, seed):
    torch.manual_seed(seed)
    values = torch.tensor(numbers, dtype=dtype)
    kept = kept_mask(values.shape, 0.5)
    assert torch.equal(drop(values, kept), torch.where(kept.bool(), values, torch.zeros((), dtype=dtype)))
