from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    DistilBertConfig,
    ElectraConfig,
    ElectraForSequenceClassification,
    RobertaConfig,
    RobertaForSequenceClassification,
    XLMRobertaConfig,
    XLMRobertaForSequenceClassification,
)

from rerank_plugin.training.cpu.packed_encoder import (
    ATTENTION,
    MOST_ATTENTION_WEIGHTS,
    SHORTEST_IN_GROUP,
    can_speed_up,
    make_groups,
    share_out,
    speed_up,
)
from rerank_plugin.training.cpu.packed_layer import WIDTH_STEP, Group, LayerPlan
from rerank_plugin.training.cpu.packed_pass import PackedPass, Shard, in_threads

SIZE, HEADS, INNER = 8, 2, 12
ARCHITECTURES = {
    "bert": (BertConfig, BertForSequenceClassification),
    "electra": (partial(ElectraConfig, embedding_size=6), ElectraForSequenceClassification),
    "roberta": (RobertaConfig, RobertaForSequenceClassification),
    "xlm-roberta": (XLMRobertaConfig, XLMRobertaForSequenceClassification),
}
lengths_of_a_batch = st.lists(st.integers(2, 12), min_size=1, max_size=6)


def make_config(architecture: str, dropout: float = 0.0):
    make, _ = ARCHITECTURES[architecture]
    config = make(
        vocab_size=30,
        hidden_size=SIZE,
        num_hidden_layers=2,
        num_attention_heads=HEADS,
        intermediate_size=INNER,
        max_position_embeddings=20,
        num_labels=1,
        hidden_dropout_prob=dropout,
        attention_probs_dropout_prob=dropout,
        pad_token_id=1,
        initializer_range=0.3,  # the usual one leaves attention weights of a network this small all alike
    )
    config._attn_implementation = ATTENTION
    return config


def make_model(architecture: str, *, fast: bool, dropout: float = 0.0) -> nn.Module:
    torch.manual_seed(3)
    model = ARCHITECTURES[architecture][1](make_config(architecture, dropout))
    if fast:
        speed_up(model)
    return model.train()


def make_batch(lengths: list[int]) -> dict[str, torch.Tensor]:
    torch.manual_seed(len(lengths))
    mask = (torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]).long()
    return {"input_ids": torch.randint(5, 30, mask.shape).where(mask.bool(), torch.tensor(1)), "attention_mask": mask}


def learn(model: nn.Module, lengths: list[int]) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    logits = model(**make_batch(lengths)).logits
    (logits * torch.arange(1, len(lengths) + 1)[:, None]).square().sum().backward()
    return logits.detach(), {name: p.grad for name, p in model.named_parameters() if p.grad is not None}


@pytest.fixture(autouse=True)
def three_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield
    torch.set_num_threads(before)


@pytest.mark.slow
@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("threads", [1, 3])
@given(lengths=lengths_of_a_batch)
@settings(max_examples=6, deadline=None)
def test_logits_and_gradients_are_those_of_transformers(architecture, threads, lengths):
    torch.set_num_threads(threads)
    ours, our_gradients = learn(make_model(architecture, fast=True), lengths)
    theirs, their_gradients = learn(make_model(architecture, fast=False), lengths)
    assert torch.allclose(ours, theirs, atol=1e-5)
    assert our_gradients.keys() == their_gradients.keys()
    for name, gradient in our_gradients.items():
        assert torch.allclose(gradient, their_gradients[name], atol=1e-3, rtol=1e-4), name


def test_in_bfloat16_logits_are_about_the_same_and_gradients_are_float32():
    model = make_model("bert", fast=True)
    with torch.autocast("cpu", torch.bfloat16):
        ours, gradients = learn(model, [9, 8, 3])
    theirs, _ = learn(make_model("bert", fast=False), [9, 8, 3])
    assert torch.allclose(ours.float(), theirs, atol=0.05)
    assert {gradient.dtype for gradient in gradients.values()} == {torch.float32}


def test_weights_keep_their_names_and_are_not_copied():
    model = make_model("bert", fast=False)
    names, weight = list(model.state_dict()), model.bert.encoder.layer[1].output.dense.weight
    speed_up(model)
    assert list(model.state_dict()) == names
    assert model.bert.encoder.layer[1].output.dense.weight is weight
    assert len(list(model.parameters())) == len(names)


def test_outside_training_all_tokens_are_returned():
    fast, plain = (make_model("bert", fast=fast).eval() for fast in (True, False))
    batch = make_batch([7, 4])
    states = [model.bert(**batch).last_hidden_state for model in (fast, plain)]
    assert states[0].shape == (2, 7, SIZE)
    assert torch.equal(*states)


def test_embeddings_that_are_frozen_get_no_gradient():
    model = make_model("bert", fast=True)
    model.bert.embeddings.requires_grad_(False)
    _, gradients = learn(model, [5, 5, 4])
    _, plain = learn(make_model("bert", fast=False), [5, 5, 4])
    assert not any("embeddings" in name for name in gradients)
    name = "bert.encoder.layer.0.attention.self.query.weight"
    assert torch.allclose(gradients[name], plain[name], atol=1e-4)


def test_frozen_layers_get_no_gradient_and_change_no_other_gradient():
    lengths = [5, 3, 9]
    _, all_gradients = learn(make_model("bert", fast=True), lengths)
    model = make_model("bert", fast=True)
    for name, parameter in model.named_parameters():
        parameter.requires_grad = ".embeddings." not in name and ".layer.0." not in name
    _, gradients = learn(model, lengths)
    assert not [name for name in gradients if ".layer.0." in name or ".embeddings." in name]
    assert [name for name in gradients if ".layer.1." in name]
    for name, gradient in gradients.items():
        assert torch.allclose(gradient, all_gradients[name], atol=1e-6), name


def test_dropout_drops_while_training_and_repeats_with_the_seed():
    model = make_model("bert", fast=True, dropout=0.3)
    batch = make_batch([6, 6, 5])
    results = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        results.append(model(**batch).logits)
    assert torch.equal(results[0], results[1])
    assert not torch.equal(results[0], results[2])
    still = make_model("bert", fast=True).eval()(**batch).logits
    assert torch.allclose(model.eval()(**batch).logits, still)


def test_dropout_that_is_rounded_to_0_changes_nothing():
    some, none = (make_model("bert", fast=True, dropout=dropout) for dropout in (0.003, 0.0))
    batch = make_batch([6, 5])
    assert torch.allclose(some(**batch).logits, none(**batch).logits, atol=1e-6)


@pytest.mark.slow
def test_the_mean_over_many_samples_is_the_layer_without_dropout():
    x, weights = tensors_of_a_layer(16)
    plain = PackedPass.apply(x, [one_layer([3, 3], dropout=0.0)], *weights)
    torch.manual_seed(0)
    draws = [PackedPass.apply(x, [one_layer([3, 3], dropout=0.02)], *weights) for _ in range(1500)]
    assert (torch.stack(draws).mean(0) - plain).abs().max() < 0.05


def tensors_of_a_layer(tokens: int) -> tuple[torch.Tensor, list[torch.Tensor]]:
    generator = torch.Generator().manual_seed(7)
    shapes = [(SIZE, SIZE), (SIZE,)] * 4 + [(SIZE,)] * 2 + [(INNER, SIZE), (INNER,), (SIZE, INNER), (SIZE,)] + [(SIZE,)] * 2
    numbers = [torch.randn(shape, generator=generator, dtype=torch.float64) / 2 for shape in [(tokens, SIZE), *shapes]]
    for tensor in numbers:
        tensor.requires_grad_()
    return numbers[0], numbers[1:]


def one_layer(*groups: list[int], dropout: float, first_only: bool = False) -> Shard:
    made: list[Group] = []
    for lengths in groups:
        made.append(Group(made[-1].end if made else 0, tuple(lengths)))
    plan = LayerPlan(HEADS, tuple(made), first_only, (1e-5, 1e-5), dropout, dropout, torch.float64)
    return Shard(0, made[-1].end, (plan,))


@pytest.mark.parametrize("first_only", [False, True])
@pytest.mark.parametrize("dropout", [0.0, 0.4])
def test_the_backward_pass_matches_the_forward_pass(dropout, first_only):
    shard = one_layer([3, 2], [2], dropout=dropout, first_only=first_only)
    x, weights = tensors_of_a_layer(shard.end)

    def run(*tensors: torch.Tensor) -> torch.Tensor:
        torch.manual_seed(1)  # the same values are dropped each time
        result = PackedPass.apply(tensors[0], [shard], *tensors[1:])
        return result if first_only else result[[0, 1, 2, 8, 9, 16, 17]]  # the others are padding

    assert torch.autograd.gradcheck(run, (x, *weights), atol=1e-4, fast_mode=True)


@given(st.lists(st.integers(1, 500), min_size=1, max_size=30))
def test_groups_hold_every_pair_once_with_little_padding_and_bounded_size(lengths):
    lengths.sort(reverse=True)
    groups = make_groups(lengths)
    assert [length for group in groups for length in group.lengths] == lengths
    for group, after in pairwise(groups):
        assert group.end == after.start
    for group in groups:
        assert min(group.lengths) >= SHORTEST_IN_GROUP * max(group.lengths)
        assert max(group.lengths) <= group.width < max(group.lengths) + WIDTH_STEP
        assert len(group.lengths) == 1 or len(group.lengths) * max(group.lengths) ** 2 <= MOST_ATTENTION_WEIGHTS


@given(st.lists(st.integers(1, 500), min_size=1, max_size=30), st.integers(1, 8))
def test_threads_get_every_pair_once_and_about_the_same_load(lengths, threads):
    shares = share_out(lengths, threads)
    assert sorted(pair for share in shares for pair in share) == list(range(len(lengths)))
    loads = [sum(lengths[pair] for pair in share) for share in shares]
    assert max(loads) - min(loads) <= max(lengths)
    assert len(shares) == min(threads, len(lengths))


def test_threads_leave_the_number_of_threads_as_it_was():
    seen = in_threads(lambda number: (number, torch.get_num_threads(), torch.is_grad_enabled()), [(1,), (2,)])
    assert seen == [(1, 1, False), (2, 1, False)]
    assert torch.get_num_threads() == 3
    with ThreadPoolExecutor(1) as later:
        assert later.submit(torch.get_num_threads).result() == 3


def test_which_models_can_be_sped_up():
    assert all(can_speed_up(make_config(architecture)) for architecture in ARCHITECTURES)
    assert not can_speed_up(DistilBertConfig())
    assert not can_speed_up(BertConfig(hidden_act="relu"))
    assert not can_speed_up(BertConfig(is_decoder=True))
