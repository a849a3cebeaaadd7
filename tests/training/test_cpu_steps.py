import pytest
import torch
from conftest import write_cross_encoder
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import scaled_dot_product_attention
from transformers import AutoModelForSequenceClassification

from rerank_plugin.training.cpu_steps import ByteDropout, attention, draw_kept, register, speed_up

HEADS, SIZE = 2, 4


def tensors(lengths: list[int], seed: int) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    shape = (len(lengths), HEADS, max(lengths), SIZE)
    return [torch.randn(shape, generator=generator, requires_grad=True) for _ in range(3)]


def readable(lengths: list[int]) -> torch.Tensor:
    mask = torch.arange(max(lengths))[None] < torch.tensor(lengths)[:, None]
    return mask[:, None, None, :].expand(-1, 1, max(lengths), -1)


def real(result: torch.Tensor, lengths: list[int]) -> torch.Tensor:
    return torch.cat([row[:n] for row, n in zip(result, lengths, strict=True)])


@given(st.lists(st.integers(1, 9), min_size=1, max_size=4), st.integers(0, 99))
@settings(max_examples=40, deadline=None)
def test_attention_and_its_gradients_are_those_of_torch(lengths, seed):
    ours, theirs = tensors(lengths, seed), tensors(lengths, seed)
    mask = readable(lengths)
    one, _ = attention(torch.nn.Identity(), *ours, mask, scaling=0.7)
    other = scaled_dot_product_attention(*theirs, attn_mask=mask, scale=0.7).transpose(1, 2)
    assert torch.allclose(real(one, lengths), real(other, lengths), atol=1e-5)
    weights = torch.randn(real(one, lengths).shape, generator=torch.Generator().manual_seed(seed + 1))
    (real(one, lengths) * weights).sum().backward()
    (real(other, lengths) * weights).sum().backward()
    for a, b in zip(ours, theirs, strict=True):
        assert torch.allclose(a.grad, b.grad, atol=1e-5)


def test_without_a_mask_every_token_is_read():
    query, key, value = tensors([5, 5], 3)
    result, _ = attention(torch.nn.Identity(), query, key, value, None)
    assert torch.allclose(result, scaled_dot_product_attention(query, key, value).transpose(1, 2), atol=1e-5)


def test_the_gradient_under_dropout_is_that_of_the_mask_that_was_drawn():
    inputs = [tensor.detach().double().requires_grad_() for tensor in tensors([4, 3], 5)]

    def run(*values: torch.Tensor) -> torch.Tensor:
        torch.manual_seed(1)
        return attention(torch.nn.Identity(), *values, readable([4, 3]), dropout=0.4)[0]

    assert torch.autograd.gradcheck(run, inputs)


def test_dropout_drops_its_share_and_keeps_the_mean():
    torch.manual_seed(0)
    dropout = ByteDropout(0.1)
    result = dropout(torch.ones(400, 1001))
    assert (result == 0).float().mean().item() == pytest.approx(26 / 256, abs=0.003)
    assert result.mean().item() == pytest.approx(1.0, abs=0.003)
    assert dropout.eval()(torch.ones(3)).tolist() == [1, 1, 1]


@given(st.integers(1, 40), st.sampled_from([0.0, 0.1, 0.5, 0.9]))
@settings(deadline=None)
def test_masks_have_the_shape_that_was_asked_for_and_repeat_with_the_seed(count, probability):
    torch.manual_seed(count)
    first, scale = draw_kept(torch.Size([count, 3]), probability)
    torch.manual_seed(count)
    second, _ = draw_kept(torch.Size([count, 3]), probability)
    assert first.shape == (count, 3)
    assert torch.equal(first, second)
    assert scale == pytest.approx(1 / (1 - probability), rel=0.03)


def test_every_byte_of_the_random_numbers_is_used_alike():
    torch.manual_seed(2)
    kept, _ = draw_kept(torch.Size([70_000]), 0.5)
    shares = kept.view(-1, 7).float().mean(0)
    assert shares.min() > 0.48
    assert shares.max() < 0.52


def test_a_model_that_was_sped_up_computes_the_same_and_learns_the_same(tmp_path):
    folder = write_cross_encoder(tmp_path / "model", seed=3)
    inputs = {"input_ids": torch.randint(5, 20, (3, 8)), "attention_mask": torch.ones(3, 8, dtype=torch.int64)}
    inputs["attention_mask"][1, 5:] = 0
    losses, gradients = [], []
    for implementation in ("eager", register()):
        model = AutoModelForSequenceClassification.from_pretrained(
            folder, attn_implementation=implementation, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0
        ).train()
        if implementation != "eager":
            speed_up(model)
        loss = model(**inputs).logits.square().sum()
        loss.backward()
        losses.append(loss.item())
        gradients.append([p.grad for p in model.parameters() if p.grad is not None])
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)
    for a, b in zip(*gradients, strict=True):
        assert torch.allclose(a, b, atol=1e-5)
