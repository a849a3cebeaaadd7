"""BERT without padding gives the logits that transformers gives with it."""

import numpy as np
import pytest
import torch
from conftest import SENTENCES
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import RobertaConfig, RobertaForSequenceClassification

from rerank_plugin.scoring.backends.padding_free import PaddingFreeBert, without_padding
from rerank_plugin.scoring.early_exit import narrow
from rerank_plugin.scoring.loading.location import locate
from rerank_plugin.scoring.loading.spec import ModelSpec
from rerank_plugin.scoring.loading.torch_model import load_in_torch
from rerank_plugin.scoring.scorer import ScorerSettings, load_scorer
from rerank_plugin.scoring.tokens import Pair

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def model(cross_encoder):
    return load_in_torch(locate(ModelSpec(str(cross_encoder))))


def batch(model, texts, *, query="what is the capital", width=64):
    first, *others = model.tokenizer.encode([query, *texts])
    pairs = [model.tokenizer.truncated(Pair(first, other)) for other in others]
    return model.tokenizer.features(pairs, width=width)


@pytest.mark.slow
@settings(max_examples=40, deadline=None)
@given(texts=st.lists(st.text("abc fox. ", max_size=90), min_size=1, max_size=9), query=st.text("sky ", max_size=20))
def test_logits_are_those_of_the_padded_network(model, texts, query):
    network = model.cross_encoder[0].model.eval()
    features = batch(model, texts, query=query)
    with torch.inference_mode():
        padded = network(**{name: torch.from_numpy(array) for name, array in features.items()}).logits.view(-1)
        packed = PaddingFreeBert(network).score(features, CPU)
    torch.testing.assert_close(packed, padded, atol=1e-5, rtol=1e-5)


def test_left_padding_is_removed_too(model):
    network = model.cross_encoder[0].model.eval()
    features = batch(model, SENTENCES, width=48)
    moved = {name: np.stack([np.roll(row, int((features["attention_mask"][i] == 0).sum())) for i, row in enumerate(array)])
             for name, array in features.items()}  # fmt: skip
    made = PaddingFreeBert(network)
    with torch.inference_mode():
        torch.testing.assert_close(made.score(moved, CPU), made.score(features, CPU))


def test_a_narrow_early_exit_network_keeps_its_padding(cross_encoder):
    """Its embeddings compare the tokens of a pair with each other."""
    model = load_in_torch(locate(ModelSpec(str(cross_encoder))))
    network = narrow(model.cross_encoder, 2, model.cross_encoder[0].model.config.hidden_size)
    assert without_padding(network, batch(model, SENTENCES)) is None


def test_a_network_that_computes_something_else_keeps_its_padding(model, cross_encoder):
    features = batch(model, SENTENCES)
    network = load_in_torch(locate(ModelSpec(str(cross_encoder)))).cross_encoder[0].model.eval()
    assert without_padding(network, features) is not None
    # Hooks of a layer run in transformers' code but not in ours, like a network with a different inner structure.
    network.bert.encoder.layer[0].register_forward_hook(lambda module, inputs, output: output * 1.5)
    assert without_padding(network, features) is None


def test_other_architectures_keep_their_padding(model):
    config = RobertaConfig(
        vocab_size=200, hidden_size=32, num_hidden_layers=1, num_attention_heads=4, intermediate_size=64, num_labels=1
    )
    assert without_padding(RobertaForSequenceClassification(config), batch(model, SENTENCES)) is None


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_half_precision_on_a_gpu(cross_encoder):
    expected = load_scorer(ModelSpec(str(cross_encoder)), ScorerSettings(backend="torch")).logits("what is blue", SENTENCES)
    scorer = load_scorer(ModelSpec(str(cross_encoder), device="cuda:0"), ScorerSettings(backend="torch"))
    assert scorer.backend_name == "torch fp16"
    np.testing.assert_allclose(scorer.logits("what is blue", SENTENCES), expected, atol=0.05)
