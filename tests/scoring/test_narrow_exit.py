"""A narrow early-exit network gives the same logits wherever it runs."""

import shutil

import numpy as np
import pytest
import torch
from conftest import WORDS, write_cross_encoder
from early_exits import narrow_exit_of
from sentence_transformers import CrossEncoder

from rerank_plugin import CrossEncoderRanker
from rerank_plugin.errors import ModelError
from rerank_plugin.scoring.early_exit import EarlyExitNetwork, cut_to_exit, narrow
from rerank_plugin.scoring.loading.spec import ModelSpec
from rerank_plugin.scoring.matching import KERNELS
from rerank_plugin.scoring.scorer import ScorerSettings, load_first_look, load_scorer

QUERY = "the moon is near"
PASSAGES = [
    *(" ".join(np.random.default_rng(seed).choice(WORDS, 1 + 7 * seed % 50)) for seed in range(24)),
    "the moon is near",
    "",
    "[SEP] [CLS] moon [PAD]",
    "moon " * 300,
]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A model with a narrow early-exit network."""
    folder = write_cross_encoder(tmp_path_factory.mktemp("models") / "reranker", seed=5, max_length=512)
    narrow_exit_of(folder).save(folder)
    return folder


def look_logits(folder, passages, **settings):
    spec, chosen = ModelSpec(str(folder)), ScorerSettings(**settings)
    return load_first_look(spec, chosen, load_scorer(spec, chosen)).logits(QUERY, passages)


@pytest.mark.parametrize("backend", ["torch", "openvino", "onnx"])
def test_backends_agree_with_the_network_alone(model, backend):
    cross_encoder = CrossEncoder(str(model), device="cpu")
    cut_to_exit(cross_encoder, EarlyExitNetwork.load(model))
    short = [passage for passage in PASSAGES if len(passage.split()) < 40]
    expected = [float(cross_encoder.predict([(QUERY, passage)], activation_fn=torch.nn.Identity())[0]) for passage in short]
    assert np.ptp(expected) > 0.1
    assert look_logits(model, short, backend=backend, precision="fp32") == pytest.approx(expected, abs=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["openvino", "onnx"])
def test_int8_keeps_the_order(model, backend):
    """
    Quantisation measures long pairs too, longer than a narrow network has positions for, if it is not told.

    The bound is low since in a network of sixteen random units each weight counts.
    """
    pytest.importorskip("nncf")
    exact, rounded = (look_logits(model, PASSAGES, backend=backend, precision=one) for one in ("fp32", "int8"))
    assert np.corrcoef(exact, rounded)[0, 1] > 0.5


def test_neighbours_in_a_batch_do_not_change_a_logit(model):
    together = look_logits(model, PASSAGES, precision="fp32")
    alone = [look_logits(model, [passage], precision="fp32")[0] for passage in PASSAGES[::5]]
    assert together[::5] == pytest.approx(alone, abs=1e-3)


def test_a_word_of_the_other_text_is_told_from_others(model):
    """With nothing but the kernel of the same token left, words are told apart by whether the other text has them."""
    cross_encoder = CrossEncoder(str(model), device="cpu")
    embeddings = narrow(cross_encoder, 2, 16).base_model.embeddings
    with torch.no_grad():
        for parameter in (embeddings.projection, embeddings.matching, embeddings.position_embeddings):
            parameter.weight.zero_()
        embeddings.side_embeddings.weight.zero_()
        embeddings.match_embeddings.weight.zero_()
        embeddings.match_embeddings.weight[:, KERNELS].normal_()
        ids = cross_encoder.tokenizer("moon", "sun moon fox", return_tensors="pt")["input_ids"]
        _, query, _, sun, moon, fox, _ = embeddings(ids)[0]
    assert torch.equal(sun, fox)
    assert torch.equal(query, moon)
    assert not torch.allclose(sun, moon, atol=1e-2)


def test_the_ranker_takes_its_first_look_with_it(model):
    from haystack import Document

    documents = [Document(content=passage) for passage in PASSAGES]
    answer = CrossEncoderRanker(model=model, early_exit=5, top_k=5).run(query=QUERY, documents=documents)
    assert (answer["status"]["scored"], answer["status"]["stopped_by"]) == (5, "early_exit")


def test_a_tokenizer_without_a_separator_is_refused(model):
    cross_encoder = CrossEncoder(str(model), device="cpu")
    cross_encoder.tokenizer.sep_token = None
    with pytest.raises(ModelError, match="a tokenizer with a separator"):
        narrow(cross_encoder, 2, 16)


def test_a_network_of_another_model_is_refused(model, tmp_path):
    other = shutil.copytree(model, tmp_path / "other")
    network = EarlyExitNetwork.load(model)
    for wrong in (
        EarlyExitNetwork(network.layers, network.weights, 32),
        EarlyExitNetwork(1, network.weights, network.width),
        EarlyExitNetwork(1, network.weights),
    ):
        wrong.save(other)
        with pytest.raises(ModelError, match="does not belong to this model"):
            look_logits(other, PASSAGES)
