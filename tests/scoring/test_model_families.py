"""Every kind of reranker that sentence-transformers runs gives the ids and logits of `CrossEncoder`, on all backends."""

import random

import numpy as np
import pytest
import torch
from conftest import SENTENCES, WORDS
from haystack import Document, Pipeline
from model_families import FAMILIES, ettin, write_family
from sentence_transformers import CrossEncoder

from rerank_plugin import CrossEncoderRanker
from rerank_plugin.scoring.loading.location import locate
from rerank_plugin.scoring.loading.spec import ModelSpec
from rerank_plugin.scoring.loading.torch_model import load_in_torch
from rerank_plugin.scoring.reading import LONGEST_WINDOW
from rerank_plugin.scoring.scorer import ScorerSettings, load_scorer
from rerank_plugin.scoring.tokens import Pair
from rerank_plugin.scoring.types import ScoringRequest
from rerank_plugin.scoring.windows import WindowSettings

BACKENDS = ("torch", "openvino", "onnx")
CLOSE = 1e-4  # logits nearer than this are a tie
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
@pytest.mark.parametrize("family", FAMILIES)
def test_gives_the_logits_of_sentence_transformers(folders, family):
    requests = [ScoringRequest(query, PASSAGES) for query in QUERIES]
    pairs = [(query, passage) for query in QUERIES for passage in PASSAGES]
    expected = stock_logits(folders(family), pairs).reshape(len(QUERIES), -1)
    assert np.ptp(expected, axis=1).min() > 0.1  # else any order would do
    for backend in BACKENDS:
        logits = np.stack([result.logits for result in scorer(folders(family), backend).score(requests)])
        np.testing.assert_allclose(logits, expected, atol=1e-3, err_msg=backend)


@pytest.mark.slow
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("family", FAMILIES)
def test_a_logit_does_not_depend_on_its_neighbours(folders, family, backend):
    together = scorer(folders(family), backend, max_batch_tokens=8192).logits(QUERIES[0], PASSAGES)
    alone = scorer(folders(family), backend, max_batch_pairs=1)
    np.testing.assert_allclose(together, [alone.logits(QUERIES[0], [text])[0] for text in PASSAGES], atol=1e-3)


def make_lists(rng, queries, passages):
    def text(most):
        return " ".join(rng.choices(WORDS, k=rng.randint(1, most)))

    return [(f"{text(8)}?", [text(40) for _ in range(passages)]) for _ in range(queries)]


def ranks_alike(logits, expected):
    """Whether the order is the same, except where the expected logits are too close to tell apart in float32."""
    return bool((np.diff(expected[np.argsort(-logits, kind="stable")]) <= CLOSE).all())


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_orders_lists_as_sentence_transformers_does(folders, family, pytestconfig):
    queries, passages = (200, 50) if pytestconfig.getoption("full_lists") else (4, 10)
    lists = make_lists(random.Random(13), queries, passages)
    pairs = [(query, text) for query, texts in lists for text in texts]
    expected = stock_logits(folders(family), pairs, batch_size=64).reshape(queries, passages)
    for backend in BACKENDS:
        ours = scorer(folders(family), backend).score([ScoringRequest(query, texts) for query, texts in lists])
        for result, row in zip(ours, expected, strict=True):
            np.testing.assert_allclose(result.logits, row, atol=1e-3, err_msg=backend)
            assert ranks_alike(result.logits, row), backend


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_half_precision_stays_near(folders, family):
    query, passages = make_lists(random.Random(5), 1, 40)[0]
    exact = scorer(folders(family), "torch").logits(query, passages)
    for backend, precision in (("torch", "bf16"), ("openvino", "auto")):
        logits = scorer(folders(family), backend, precision=precision).logits(query, passages)
        assert np.corrcoef(logits, exact)[0, 1] > 0.99, backend


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_one_thread_is_enough(folders, family):
    # OpenVINO ends the process here if it fuses the gated layers of language models (on CPUs with AMX).
    query, passages = make_lists(random.Random(5), 1, 40)[0]
    exact = scorer(folders(family), "torch").logits(query, passages)
    logits = scorer(folders(family), "openvino", precision="auto", num_threads=1).logits(query, passages)
    assert np.corrcoef(logits, exact)[0, 1] > 0.99


@pytest.mark.slow
@pytest.mark.parametrize(("family", "backend"), [("qwen3-reranker", "openvino"), ("ettin", "onnx")])
def test_int8_stays_near(folders, family, backend):
    query, passages = make_lists(random.Random(5), 1, 40)[0]
    exact = scorer(folders(family), "torch").logits(query, passages)
    # Networks of 32 random units: each weight counts, and none is the average of many.
    assert np.corrcoef(scorer(folders(family), backend, precision="int8").logits(query, passages), exact)[0, 1] > 0.75


@pytest.mark.parametrize("family", ["qwen3-reranker", "mxbai-rerank-v2", "ettin"])
def test_a_long_passage_is_read_in_windows(folders, family):
    model = load_scorer(ModelSpec(str(folders(family))), ScorerSettings(backend="torch", max_length=256))
    text = " ".join(random.Random(2).choices(WORDS, k=900))
    (result,) = model.score([ScoringRequest("red fox?", [text, text[:200]])])
    start, stop = model.characters(text, result.windows[0])
    assert result.windows[1] is None
    assert 0 <= start < stop <= len(text)
    # The characters of the window have its tokens; the first may be another one, as no text stands before it.
    window = result.windows[0]
    expected = model.tokenizer.encode([text])[0][window.start + 1 : window.stop]
    np.testing.assert_array_equal(model.tokenizer.encode([text[start:stop]])[0][-len(expected) :], expected)


def test_a_model_of_a_long_input_reads_windows_by_default_and_the_whole_passage_on_request(tmp_path):
    torch.manual_seed(3)
    folder = ettin(tmp_path / "long", length=8192)
    text = " ".join(random.Random(2).choices(WORDS, k=2500))

    def read(**settings):
        model = load_scorer(ModelSpec(str(folder)), ScorerSettings(backend="torch", **settings))
        return model.tokenizer.encode([text])[0], model.score([ScoringRequest("red fox?", [text, SENTENCES[0]])])[0]

    tokens, by_default = read()
    assert LONGEST_WINDOW < len(tokens) < 8192
    assert by_default.windows[0].stop - by_default.windows[0].start < LONGEST_WINDOW
    for settings in ({"max_length": 8192}, {"windows": WindowSettings("truncate")}):
        _, whole = read(**settings)
        assert whole.windows == [None, None]
        expected = stock_logits(folder, [("red fox?", text), ("red fox?", SENTENCES[0])])
        np.testing.assert_allclose(whole.logits, expected, atol=1e-3)


def test_a_long_query_is_not_cut_to_the_half_of_a_window(tmp_path, caplog):
    torch.manual_seed(3)
    model = load_scorer(ModelSpec(str(ettin(tmp_path / "long", length=8192))), ScorerSettings(backend="torch"))
    query = " ".join(random.Random(2).choices(WORDS, k=1200))
    assert len(model.tokenizer.encode_query(query)) > LONGEST_WINDOW
    expected = stock_logits(tmp_path / "long", [(query, SENTENCES[0])])
    np.testing.assert_allclose(model.logits(query, SENTENCES[:1]), expected, atol=1e-3)
    assert "was cut" not in caplog.text


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_saved_in_yaml_and_loaded_it_ranks_as_the_stock_ranker(folders, family):
    pipeline = Pipeline()
    pipeline.add_component("ranker", CrossEncoderRanker(model=str(folders(family)), precision="fp32", scale_score=False))
    loaded = Pipeline.loads(pipeline.dumps())
    documents = [Document(content=text) for text in SENTENCES]
    answer = loaded.run({"ranker": {"query": QUERIES[0], "documents": documents}})["ranker"]["documents"]
    expected = stock_logits(folders(family), [(QUERIES[0], text) for text in SENTENCES])
    assert [document.content for document in answer] == [SENTENCES[i] for i in np.argsort(-expected, kind="stable")]
    np.testing.assert_allclose([document.score for document in answer], sorted(expected, reverse=True), atol=1e-3)
