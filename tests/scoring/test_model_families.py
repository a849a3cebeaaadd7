"""Every kind of reranker that sentence-transformers runs gives the ids and logits of `CrossEncoder`, on all backends."""

import random

import numpy as np
import pytest
import torch
from conftest import SENTENCES, WORDS
from model_families import FAMILIES, write_family
from sentence_transformers import CrossEncoder

from rerank_plugin.scoring.loading.location import locate
from rerank_plugin.scoring.loading.spec import ModelSpec
from rerank_plugin.scoring.loading.torch_model import load_in_torch
from rerank_plugin.scoring.scorer import ScorerSettings, load_scorer
from rerank_plugin.scoring.tokens import Pair
from rerank_plugin.scoring.types import ScoringRequest
from rerank_plugin.scoring.windows import WindowSettings

QUERIES = ["which city is the capital of france?", "red fox\n", " ", "Что это — 1 + 2?", "café (new)"]
PASSAGES = [
    *SENTENCES,
    "",
    " leading and trailing \n",
    "\n\nnew lines?\n\n",
    "日本語 🙂 ' <b>bold</b>",
    "moon",
    " ".join(SENTENCES * 9),
    "x " * 600,
]


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    made = {}

    def folder(family):
        if family not in made:
            made[family] = write_family(family, tmp_path_factory.mktemp("families") / family)
        return made[family]

    return folder


def scorer(folder, backend, *, precision="fp32", **settings):
    windows = WindowSettings("truncate")
    return load_scorer(
        ModelSpec(str(folder)), ScorerSettings(backend=backend, precision=precision, windows=windows, **settings)
    )


def stock_logits(folder, pairs, **arguments):
    peer = CrossEncoder(str(folder), device="cpu")
    return peer.predict(pairs, activation_fn=torch.nn.Identity(), **arguments)


@pytest.mark.parametrize("family", FAMILIES)
def test_gives_the_ids_of_sentence_transformers(folders, family):
    model = load_in_torch(locate(ModelSpec(str(folders(family)))))
    prompt = model.cross_encoder.prompts.get(model.cross_encoder.default_prompt_name)
    for query in QUERIES:
        expected = model.cross_encoder.preprocess([(query, passage) for passage in PASSAGES], prompt=prompt)
        ids = model.tokenizer.encode_query(query)
        pairs = [model.tokenizer.truncated(Pair(ids, passage)) for passage in model.tokenizer.encode(PASSAGES)]
        features = model.tokenizer.features(pairs, width=max(map(model.tokenizer.length, pairs)))
        for name in set(expected) & {"input_ids", "attention_mask", "token_type_ids"}:
            np.testing.assert_array_equal(features[name], expected[name], err_msg=f"{name} of {query!r}")


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["torch", "openvino", "onnx"])
@pytest.mark.parametrize("family", FAMILIES)
def test_gives_the_logits_of_sentence_transformers(folders, family, backend):
    requests = [ScoringRequest(query, PASSAGES) for query in QUERIES]
    logits = np.stack([result.logits for result in scorer(folders(family), backend).score(requests)])
    pairs = [(query, passage) for query in QUERIES for passage in PASSAGES]
    expected = stock_logits(folders(family), pairs).reshape(logits.shape)
    assert np.ptp(expected, axis=1).min() > 0.1  # else any order would do
    np.testing.assert_allclose(logits, expected, atol=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["torch", "openvino", "onnx"])
@pytest.mark.parametrize("family", FAMILIES)
def test_a_logit_does_not_depend_on_its_neighbours(folders, family, backend):
    together = scorer(folders(family), backend, max_batch_tokens=8192).logits(QUERIES[0], PASSAGES)
    alone = scorer(folders(family), backend, max_batch_pairs=1)
    np.testing.assert_allclose(together, [alone.logits(QUERIES[0], [text])[0] for text in PASSAGES], atol=1e-3)
    np.testing.assert_allclose(alone.logits(QUERIES[0], PASSAGES[::-1])[::-1], together, atol=1e-3)


def make_lists(rng, queries, passages):
    return [
        (
            " ".join(rng.choices(WORDS, k=rng.randint(1, 8))) + "?",
            [" ".join(rng.choices(WORDS, k=rng.randint(1, 40))) for _ in range(passages)],
        )
        for _ in range(queries)
    ]


def ranks_alike(logits, expected):
    """Whether the order is the same, except where the expected logits are too close to tell apart in float32."""
    order = np.argsort(-logits, kind="stable")
    return bool((np.diff(expected[order]) <= 1e-4).all())


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["torch", "openvino", "onnx"])
@pytest.mark.parametrize("family", FAMILIES)
def test_orders_many_lists_as_sentence_transformers_does(folders, family, backend, pytestconfig):
    queries, passages = (200, 50) if pytestconfig.getoption("--full-lists") else (4, 10)
    lists = make_lists(random.Random(13), queries, passages)
    ours = scorer(folders(family), backend).score([ScoringRequest(query, texts) for query, texts in lists])
    pairs = [(query, text) for query, texts in lists for text in texts]
    expected = stock_logits(folders(family), pairs, batch_size=64).reshape(queries, passages)
    for result, row in zip(ours, expected, strict=True):
        np.testing.assert_allclose(result.logits, row, atol=1e-3)
        assert ranks_alike(result.logits, row)


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_half_precision_and_int8_stay_near(folders, family):
    lists = make_lists(random.Random(5), 1, 40)
    exact = scorer(folders(family), "torch").logits(*lists[0])
    for backend, precision, alike in (("torch", "bf16", 0.99), ("openvino", "auto", 0.99)):
        logits = scorer(folders(family), backend, precision=precision).logits(*lists[0])
        assert np.corrcoef(logits, exact)[0, 1] > alike, (backend, precision)
