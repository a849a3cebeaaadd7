import asyncio
import inspect
import random

import numpy as np
import pytest
from conftest import SENTENCES, WORDS
from haystack import Document, Pipeline
from haystack.utils import ComponentDevice, Secret
from haystack_integrations.components.rankers.sentence_transformers import SentenceTransformersSimilarityRanker

from rerank_plugin.components import CrossEncoderRanker
from rerank_plugin.errors import InvalidValueError
from rerank_plugin.scoring.backends import BACKENDS
from rerank_plugin.scoring.batching import ShapeGrid

CPU = ComponentDevice.from_str("cpu")


class OverlapBackend:
    """Logit = number of token ids that query and passage share."""

    precision = "exact"
    batch_tokens = 512
    grid = ShapeGrid()

    def logits(self, features):
        pairs = zip(features["input_ids"], features["token_type_ids"], features["attention_mask"], strict=True)
        return np.array(
            [len(set(ids[(kind == 0) & (mask == 1)]) & set(ids[kind == 1])) for ids, kind, mask in pairs], dtype=np.float32
        )


@pytest.fixture
def overlap(monkeypatch, cross_encoder):
    """Parameters of a ranker that counts shared words, so that its order can be computed by hand."""
    monkeypatch.setitem(BACKENDS, "overlap", lambda source: OverlapBackend())
    return {"model": str(cross_encoder), "backend": "overlap", "device": CPU}


def contents(result) -> list[str | None]:
    return [document.content for document in result["documents"]]


def test_the_best_document_comes_first(overlap):
    documents = [Document(content="blue sky"), Document(content="a red fox"), Document(content="red sky")]
    assert contents(CrossEncoderRanker(**overlap).run(query="red fox", documents=documents))[0] == "a red fox"


def test_input_documents_are_not_changed(overlap):
    documents = [Document(content="blue sky", score=0.5, meta={"a": 1}), Document(content="red fox", score=0.4)]
    before = [document.to_dict() for document in documents]
    CrossEncoderRanker(**overlap).run(query="red fox", documents=documents)
    assert [document.to_dict() for document in documents] == before


def test_first_stage_score_and_rank_are_kept(overlap):
    documents = [Document(content="blue sky", score=0.5), Document(content="red fox", score=0.4), Document(content="moon")]
    ranked = CrossEncoderRanker(**overlap).run(query="red fox", documents=documents)["documents"]
    assert ranked[0].meta == {"first_stage_score": 0.4, "first_stage_rank": 2}
    assert {document.content: document.meta["first_stage_score"] for document in ranked}["moon"] is None


def test_scores_are_python_floats_and_probabilities_by_default(overlap):
    ranked = CrossEncoderRanker(**overlap).run(query="red fox", documents=[Document(content="red fox")])["documents"]
    assert type(ranked[0].score) is float
    assert 0.0 < ranked[0].score < 1.0


def test_equal_scores_are_ordered_by_id(overlap):
    documents = [Document(id=id_, content="blue sky") for id_ in ("c", "a", "b")]
    ranked = CrossEncoderRanker(**overlap).run(query="red fox", documents=documents)["documents"]
    assert [document.id for document in ranked] == ["a", "b", "c"]


def test_none_and_empty_contents_are_ranked(overlap):
    documents = [Document(content=None), Document(content="", meta={"title": "empty"}), Document(content="red fox")]
    assert contents(CrossEncoderRanker(**overlap).run(query="red fox", documents=documents))[0] == "red fox"
    assert len(CrossEncoderRanker(**overlap).run(query="red fox", documents=documents)["documents"]) == 3


def test_of_documents_with_the_same_id_the_best_scored_is_kept(overlap):
    documents = [
        Document(id="1", content="fox", score=0.1),
        Document(id="1", content="red fox", score=0.9),
        Document(id="1", content="sky", score=None),
    ]
    assert contents(CrossEncoderRanker(**overlap).run(query="red fox", documents=documents)) == ["red fox"]


def test_no_documents_need_no_model():
    assert CrossEncoderRanker(model="owner/not-there").run(query="fox", documents=[])["documents"] == []


@pytest.mark.parametrize("query", ["", "  \n"])
def test_an_empty_query_is_an_error(overlap, query):
    with pytest.raises(InvalidValueError, match="query is empty"):
        CrossEncoderRanker(**overlap).run(query=query, documents=[Document(content="fox")])


@pytest.mark.parametrize("top_k", [0, -1])
def test_top_k_below_one_is_an_error(overlap, top_k):
    with pytest.raises(InvalidValueError, match=f"top_k must be a whole number of at least 1, got {top_k}"):
        CrossEncoderRanker(**overlap, top_k=top_k)
    with pytest.raises(InvalidValueError, match=f"top_k must be a whole number of at least 1, got {top_k}"):
        CrossEncoderRanker(**overlap).run(query="fox", documents=[Document(content="fox")], top_k=top_k)


@pytest.mark.parametrize("name", ["batch_size", "max_batch_tokens"])
def test_a_budget_below_one_is_an_error(name):
    with pytest.raises(InvalidValueError, match=name):
        CrossEncoderRanker(**{name: 0})


def test_run_time_values_override_the_configured_ones_even_when_falsy(overlap):
    ranker = CrossEncoderRanker(**overlap, score_threshold=0.99, scale_score=True, top_k=1)
    documents = [Document(content="red fox"), Document(content="sky")]
    assert ranker.run(query="red fox", documents=documents)["documents"] == []
    assert len(ranker.run(query="red fox", documents=documents, score_threshold=0.0, top_k=2)["documents"]) == 2
    logits = ranker.run(query="red fox", documents=documents, scale_score=False, score_threshold=0.0)["documents"]
    assert logits[0].score > 1.0


def test_meta_fields_prefixes_and_suffixes_reach_the_model(overlap):
    def score(query="moon", **parameters):
        ranker = CrossEncoderRanker(**overlap, scale_score=False, **parameters)
        document = Document(content="sky", meta={"title": "red fox", "none": None, "number": 7})
        return ranker.run(query=query, documents=[document])["documents"][0].score

    plain = score()
    assert score(query="red fox", meta_fields_to_embed=["title", "none", "missing", "number"]) == plain + 2
    assert score(document_prefix="moon ") == plain + 1
    assert score(document_suffix=" moon") == plain + 1
    assert score(query_prefix="sky ") == plain + 1
    assert score(query_suffix=" sky") == plain + 1


def test_close_releases_the_model_and_run_loads_it_again(overlap):
    ranker = CrossEncoderRanker(**overlap)
    first = ranker.run(query="red fox", documents=[Document(content="fox")])
    ranker.close()
    ranker.close()
    assert ranker.run(query="red fox", documents=[Document(content="fox")])["documents"] == first["documents"]


async def test_run_async_gives_the_same_and_leaves_the_loop_free(cross_encoder):
    ranker = CrossEncoderRanker(model=str(cross_encoder), backend="torch", device=CPU)
    documents = [Document(content=text) for text in SENTENCES]
    expected = ranker.run(query="capital of france", documents=documents, top_k=3)
    results = await asyncio.gather(
        *(ranker.run_async(query="capital of france", documents=documents, top_k=3) for _ in range(8))
    )
    for result in results:  # calls share batches, so that the last digits may differ
        assert [document.id for document in result["documents"]] == [document.id for document in expected["documents"]]
        scores = [[document.score for document in documents] for documents in (result["documents"], expected["documents"])]
        np.testing.assert_allclose(*scores, atol=1e-6)


def test_survives_a_round_trip_through_yaml(cross_encoder):
    ranker = CrossEncoderRanker(
        model=cross_encoder,
        device=CPU,
        token=Secret.from_env_var("SOME_TOKEN", strict=False),
        top_k=3,
        query_prefix="q: ",
        query_suffix="?",
        document_prefix="d: ",
        document_suffix="!",
        meta_fields_to_embed=["title"],
        embedding_separator=" | ",
        scale_score=False,
        score_threshold=-100.0,
        trust_remote_code=True,
        model_kwargs={"attn_implementation": "eager"},
        tokenizer_kwargs={"model_max_length": 32},
        config_kwargs={"hidden_dropout_prob": 0.0},
        backend="torch",
        batch_size=4,
        max_batch_tokens=100,
    )
    pipeline = Pipeline()
    pipeline.add_component("ranker", ranker)
    loaded = Pipeline.loads(pipeline.dumps()).get_component("ranker")
    assert loaded.to_dict() == ranker.to_dict()
    assert loaded.run(query="red fox", documents=[Document(content="fox")])["documents"][0].score is not None


def test_every_parameter_of_the_stock_ranker_is_there_with_its_default():
    stock = inspect.signature(SentenceTransformersSimilarityRanker.__init__).parameters
    ours = inspect.signature(CrossEncoderRanker.__init__).parameters
    assert set(stock) <= set(ours)
    # The bundled model needs no network, `auto` is torch wherever OpenVINO does not help, and batches are limited by tokens.
    differing = {name for name in stock if stock[name].default != ours[name].default}
    assert differing == {"model", "backend", "batch_size"}


@pytest.mark.slow
@pytest.mark.parametrize(("words", "extra"), [(40, ""), (90, "window_aggregation: truncate")])
def test_gives_the_order_of_the_stock_ranker_for_the_same_yaml(cross_encoder, words, extra):
    """Passages that fit need only a change of type; of longer ones the stock ranker reads only the beginning."""
    yaml = """
components:
  ranker:
    type: {type}
    init_parameters:
      model: {model}
      backend: torch
      device: {{type: single, device: cpu}}
      top_k: 20
      meta_fields_to_embed: [title]
      score_threshold: 0.05
      {extra}
connections: []
"""
    stock_type = (
        "haystack_integrations.components.rankers.sentence_transformers.sentence_transformers_similarity"
        ".SentenceTransformersSimilarityRanker"
    )
    stock = Pipeline.loads(yaml.format(type=stock_type, model=cross_encoder, extra=""))
    ours = Pipeline.loads(
        yaml.format(type="rerank_plugin.components.ranker.CrossEncoderRanker", model=cross_encoder, extra=extra),
        allowed_modules=["rerank_plugin"],
    )
    rng = random.Random(5)
    for _ in range(10):
        query = " ".join(rng.choices(WORDS, k=5))
        documents = [
            Document(content=" ".join(rng.choices(WORDS, k=rng.randint(0, words))), meta={"title": rng.choice(WORDS)})
            for _ in range(30)
        ]
        data = {"ranker": {"query": query, "documents": documents}}
        expected, actual = stock.run(data)["ranker"]["documents"], ours.run(data)["ranker"]["documents"]
        assert [document.id for document in actual] == [document.id for document in expected]
        np.testing.assert_allclose([d.score for d in actual], [d.score for d in expected], atol=1e-5)
