"""The ranker's errors for invalid values (V of the list of faults)."""

import copy
import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from haystack import Document, Pipeline
from haystack.utils import ComponentDevice, Secret

from rerank_plugin.components import CrossEncoderRanker
from rerank_plugin.components.config import PARAMETERS, RankerConfig
from rerank_plugin.errors import InvalidValueError, RerankError
from rerank_plugin.scoring.backends import BACKENDS
from rerank_plugin.scoring.batching import ShapeGrid

CPU = ComponentDevice.from_str("cpu")
SURROGATE = "half of a pair: \ud83d"


class Constant:
    precision = "exact"
    batch_tokens = 512
    grid = ShapeGrid()
    batches = 0

    def logits(self, features):
        Constant.batches += 1
        return features["attention_mask"].sum(axis=1).astype(np.float32)


@pytest.fixture
def make(monkeypatch, cross_encoder):
    monkeypatch.setitem(BACKENDS, "constant", lambda source: Constant())
    monkeypatch.setattr(Constant, "batches", 0)

    def make(**parameters):
        return CrossEncoderRanker(**{"model": cross_encoder, "backend": "constant", "device": CPU, **parameters})

    return make


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"model": ""}, "model is empty"),
        ({"model": None}, "model must be a string, got None"),
        ({"model": 5}, "model must be a string, got 5"),
        ({"device": "abacus"}, "unknown device 'abacus'"),
        ({"device": 0}, "device must be a ComponentDevice"),
        ({"token": "hf_secret"}, "token must be a Secret"),
        ({"top_k": "5"}, "top_k must be a whole number of at least 1, got '5'"),
        ({"top_k": 2.5}, "top_k must be a whole number of at least 1, got 2.5"),
        ({"top_k": True}, "top_k must be a whole number"),
        ({"top_k": None}, "top_k must be a whole number"),
        ({"top_k": 0}, "top_k must be a whole number of at least 1, got 0"),
        ({"query_prefix": None}, "query_prefix must be a string"),
        ({"query_suffix": 5}, "query_suffix must be a string"),
        ({"document_prefix": b"d"}, "document_prefix must be a string"),
        ({"document_suffix": SURROGATE}, "document_suffix is not valid Unicode"),
        ({"embedding_separator": None}, "embedding_separator must be a string"),
        ({"meta_fields_to_embed": "title"}, r"meta_fields_to_embed must be a list of names, got 'title'.*\[title\]"),
        ({"meta_fields_to_embed": [5]}, r"meta_fields_to_embed\[0\] must be a string, got 5"),
        ({"scale_score": "yes"}, "scale_score must be true or false, got 'yes'"),
        ({"scale_score": 1}, "scale_score must be true or false, got 1"),
        ({"score_threshold": float("nan")}, "score_threshold must be a finite number, got nan"),
        ({"score_threshold": "0.5"}, "score_threshold must be a finite number"),
        ({"trust_remote_code": None}, "trust_remote_code must be true or false"),
        ({"model_kwargs": "fp16"}, "model_kwargs must be a dictionary"),
        ({"tokenizer_kwargs": {5: 5}}, "tokenizer_kwargs must be a dictionary with names as keys"),
        ({"config_kwargs": []}, "config_kwargs must be a dictionary"),
        ({"backend": "tensorrt"}, "unknown backend 'tensorrt': choose one of"),
        ({"backend": None}, "unknown backend None"),
        ({"batch_size": 0}, "batch_size must be a whole number of at least 1"),
        ({"max_batch_tokens": -1}, "max_batch_tokens must be a whole number of at least 1"),
        ({"precision": "int4"}, "unknown precision 'int4': choose one of"),
        ({"precision": "fp16", "backend": "openvino"}, "backend 'openvino' does not compute in 'fp16'"),
        ({"num_threads": 0.5}, "num_threads must be a whole number"),
        ({"torch_compile": "no"}, "torch_compile must be true or false"),
        ({"torch_compile": True, "backend": "openvino"}, "torch_compile needs backend 'torch', not 'openvino'"),
        ({"max_length": 0}, "max_length must be a whole number of at least 1"),
        ({"window_aggregation": "sum"}, "unknown window_aggregation 'sum': choose one of"),
        ({"window_overlap": -1}, "window_overlap must be a whole number of at least 0"),
        ({"window_overlap": 2.0}, "window_overlap must be a whole number"),
        ({"window_top_k": 0}, "window_top_k must be a whole number of at least 1"),
        ({"calibration": None}, "calibration must be a string, got None"),
        ({"score_cache": "redis"}, r"score_cache must be 'memory' or the path of an SQLite file, got 'redis'.*\./redis"),
        ({"score_cache": ""}, "score_cache is empty"),
        ({"score_cache": 5}, "score_cache must be a string"),
        ({"score_cache_size": 0}, "score_cache_size must be a whole number of at least 1"),
        ({"time_budget_ms": 0}, "time_budget_ms must be a finite number above 0, got 0"),
        ({"time_budget_ms": float("nan")}, "time_budget_ms must be a finite number"),
        ({"time_budget_ms": "300"}, "time_budget_ms must be a finite number"),
        ({"on_error": "ignore"}, "unknown on_error 'ignore'.*keep_order"),
        ({"fusion": "sum"}, "unknown fusion 'sum'.*rrf"),
        ({"fusion": "rrf", "fusion_weight": 1.5}, "fusion_weight must be a finite number from 0 to 1, got 1.5"),
        ({"fusion_weight": 0.5}, "fusion_weight is 0.5, but fusion is 'none'"),
        ({"adaptive_depth": 1.0}, "adaptive_depth is a confidence between 0 and 1"),
        ({"adaptive_depth": "0.9"}, "adaptive_depth must be a finite number, got"),
        ({"early_exit": 0}, "early_exit must be a whole number of at least 1"),
        ({"adaptive_depth": 0.9, "early_exit": 20}, "exclude each other"),
    ],
    ids=str,
)
def test_v_a_parameter_that_cannot_be_used_is_named(parameters, message):
    with pytest.raises(InvalidValueError, match=message) as error:
        CrossEncoderRanker(**parameters)
    assert "\n" not in str(error.value)
    with pytest.raises(InvalidValueError):
        RankerConfig(**parameters)


def test_a_secret_does_not_show_in_the_message():
    with pytest.raises(InvalidValueError) as error:
        CrossEncoderRanker(token="hf_secret")
    assert "hf_secret" not in str(error.value)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"max_length": 4}, "max_length is 4, but this model reads 5 to 64 tokens"),
        ({"max_length": 100_000}, "max_length is 100000, but this model reads 5 to 64 tokens"),
        ({"window_overlap": 600}, r"window_overlap is 600, more than half of the model's input length \(64 tokens\)"),
        ({"window_overlap": 20, "max_length": 30}, "window_overlap is 20.*choose at most 15"),
    ],
)
@pytest.mark.parametrize("on_error", ["raise", "keep_order"])
def test_v_a_length_that_does_not_fit_the_model_is_an_error_when_it_is_loaded(make, parameters, message, on_error):
    with pytest.raises(InvalidValueError, match=message):
        make(**parameters, on_error=on_error).warm_up()


def test_v_torch_compile_is_refused_if_auto_resolves_to_another_backend(cross_encoder):
    with pytest.raises(InvalidValueError, match="torch_compile needs backend 'torch', but the model runs on 'openvino'"):
        CrossEncoderRanker(model=cross_encoder, torch_compile=True, device="cpu").warm_up()


@pytest.mark.parametrize("device", ["cpu", CPU])
def test_v_a_device_may_be_a_text(make, device):
    ranker = make(device=device)
    assert ranker.run(query="moon", documents=[Document(content="sea")])["status"]["state"] == "complete"
    assert ranker.to_dict()["init_parameters"]["device"] == {"type": "single", "device": "cpu"}


@pytest.mark.parametrize("query", [None, 5, b"moon", "", " \n", SURROGATE, ["moon"]])
def test_v_a_query_that_is_not_text_is_an_error(make, query):
    ranker = make(on_error="keep_order")
    with pytest.raises(InvalidValueError, match="query"):
        ranker.run(query=query, documents=[Document(content="sea")])
    with pytest.raises(InvalidValueError, match="query"):
        ranker.rank_many([query], [[Document(content="sea")]])


BROKEN = Document(id="broken", content="sea", score="x")
NO_META = Document(id="broken", content="sea")
object.__setattr__(NO_META, "meta", None)


@pytest.mark.parametrize(
    ("documents", "message"),
    [
        (["x"], r"documents\[0\] must be a Document, got 'x'"),
        ([Document(content="sea"), None], r"documents\[1\] must be a Document, got None"),
        ("documents", "documents must be a list of Documents, got 'documents'"),
        (None, "documents must be a list of Documents, got None"),
        (Document(content="sea"), "documents must be a list of Documents"),
        ([BROKEN], "score of document 'broken' must be a number or None, got 'x'"),
        ([Document(id="broken", content=SURROGATE)], "content of document 'broken' is not valid Unicode"),
        ([Document(id="broken", content="", meta={"title": SURROGATE})], r"meta\['title'\] of document 'broken'"),
        ([NO_META], r"documents\[0\] must have a text as id and a dictionary as meta"),
    ],
)
def test_v_a_document_that_cannot_be_ranked_is_named_before_anything_is_scored(make, documents, message):
    ranker = make(meta_fields_to_embed=["title"], on_error="keep_order")
    if isinstance(documents, list):
        documents = [Document(content="moon"), *documents]
        message = message.replace(r"\[1\]", r"\[2\]").replace(r"\[0\]", r"\[1\]")
    with pytest.raises(InvalidValueError, match=message):
        ranker.run(query="moon", documents=documents)
    assert Constant.batches == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("ab", [[], []]), "queries must be a list of texts, got 'ab'"),
        ((["ab"], "x"), "documents must be a list of lists of Documents"),
        ((["ab", "cd"], [[]]), "2 queries and 1 lists"),
        ((["ab"], [Document(content="x")]), "documents must be a list of Documents"),
        ((None, None), "queries must be a list of texts, got None"),
    ],
)
def test_v_rank_many_takes_lists(make, arguments, message):
    with pytest.raises(InvalidValueError, match=message):
        make().rank_many(*arguments)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ({"top_k": 0}, "top_k"),
        ({"top_k": ""}, "top_k"),
        ({"top_k": False}, "top_k"),
        ({"top_k": 0.0}, "top_k"),
        ({"scale_score": 0}, "scale_score"),
        ({"scale_score": ""}, "scale_score"),
        ({"scale_score": {}}, "scale_score"),
        ({"score_threshold": ""}, "score_threshold"),
        ({"score_threshold": False}, "score_threshold"),
        ({"score_threshold": float("nan")}, "score_threshold"),
    ],
)
async def test_v_overrides_are_checked_also_where_they_are_falsy(make, override, message):
    ranker, documents = make(), [Document(content="sea")]
    with pytest.raises(InvalidValueError, match=message):
        ranker.run(query="moon", documents=documents, **override)
    with pytest.raises(InvalidValueError, match=message):
        await ranker.run_async(query="moon", documents=documents, **override)
    with pytest.raises(InvalidValueError, match=message):
        ranker.rank_many(["moon"], [documents], **override)


@pytest.mark.parametrize("score", [float("nan"), float("inf"), -float("inf")])
def test_l13_first_stage_scores_that_are_not_finite(make, score):
    documents = [Document(id="odd", content="sea", score=score), Document(id="b", content="moon", score=0.5)]
    with pytest.raises(InvalidValueError, match=f"document 'odd' has {score}: use fusion 'rrf'"):
        make(fusion="linear").run(query="moon", documents=documents)
    for fusion in ("none", "rrf"):
        ranked = make(fusion=fusion).run(query="moon", documents=documents)["documents"]
        assert all(np.isfinite(document.score) for document in ranked)


@pytest.mark.parametrize("score", [0.0, -0.25, -1e308])
def test_a_score_that_has_no_logarithm_counts_as_a_thousandth_of_the_best(make, score):
    documents = [Document(id="odd", content="sea", score=score), Document(id="b", content="moon", score=0.5)]
    ranked = make(fusion="log_linear", fusion_weight=0.0).run(query="moon", documents=documents)["documents"]
    assert [document.id for document in ranked] == ["b", "odd"]
    assert [document.score for document in ranked] == pytest.approx([0.5, 1 / 1001]), "odds of 1 and of a thousandth"


def test_a_log_linear_fusion_without_a_positive_score_is_the_cross_encoder_alone(make):
    documents = [Document(id=i, content=f"sea {i}", score=score) for i, score in (("a", 0.0), ("b", -3.0))]
    fused, alone = (make(fusion=f).run(query="moon", documents=documents)["documents"] for f in ("log_linear", "none"))
    assert [document.id for document in fused] == [document.id for document in alone]


def test_a_log_linear_fusion_lowers_the_probability_by_what_the_first_stage_holds_against_a_document(make):
    documents = [Document(id=i, content=f"sea {i}", score=score) for i, score in (("a", 9.0), ("b", 3.0), ("c", 1.0))]
    plain = {
        document.id: document.score
        for document in make(scale_score=False).run(query="moon", documents=documents)["documents"]
    }
    fused = make(fusion="log_linear", fusion_weight=0.25, scale_score=False).run(query="moon", documents=documents)[
        "documents"
    ]
    lowered = {id_: plain[id_] - 3 * np.log(9.0 / score) for id_, score in (("a", 9.0), ("b", 3.0), ("c", 1.0))}
    assert [document.id for document in fused] == sorted(lowered, key=lowered.get, reverse=True)
    for document in fused:
        assert document.score == pytest.approx(lowered[document.id], abs=1e-5)
        assert document.meta["second_stage_score"] == plain[document.id]
    scaled = make(fusion="log_linear", fusion_weight=0.25).run(query="moon", documents=documents)["documents"]
    assert [document.score for document in scaled] == pytest.approx([1 / (1 + np.exp(-d.score)) for d in fused])


def test_a_log_linear_fusion_with_all_weight_on_one_stage_is_that_stage(make):
    documents = [Document(id=i, content=f"sea {i}", score=score) for i, score in (("a", 9.0), ("b", 3.0), ("c", 1.0))]
    first = make(fusion="log_linear", fusion_weight=0.0).run(query="moon", documents=documents)["documents"]
    assert [document.id for document in first] == ["a", "b", "c"]
    alone = make(fusion="log_linear", fusion_weight=1.0).run(query="moon", documents=documents)["documents"]
    plain = make().run(query="moon", documents=documents)["documents"]
    assert [(document.id, document.score) for document in alone] == [(document.id, document.score) for document in plain]


def test_l13_of_documents_with_the_same_id_nan_is_the_lowest_score(make):
    documents = [Document(id="a", content="nan", score=float("nan")), Document(id="a", content="number", score=-1e9)]
    for order in (documents, documents[::-1]):
        (document,) = make().run(query="moon", documents=order)["documents"]
        assert document.content == "number"


def test_l13_first_stage_scores_may_be_as_large_as_floats_are(make):
    documents = [
        Document(id=i, content="sea " * n, score=s) for n, (i, s) in enumerate([("a", 1e308), ("b", -1e308), ("c", 0)])
    ]
    ranked = make(fusion="linear", fusion_weight=0.0).run(query="moon", documents=documents)["documents"]
    assert [(document.id, document.score) for document in ranked] == [("a", 1.0), ("c", 0.5), ("b", 0.0)]


def test_scores_of_numpy_are_numbers(make):
    documents = [Document(content="sea", score=np.float32(0.5)), Document(content="moon", score=np.int64(1))]
    assert len(make(fusion="linear").run(query="moon", documents=documents)["documents"]) == 2


@pytest.mark.parametrize("passages", ["moon", None, [None], [SURROGATE]])
def test_texts_to_score_are_checked(make, passages):
    with pytest.raises(InvalidValueError, match="passages"):
        make().logits("moon", passages)


EVERY = {
    "model": "owner/name",
    "device": ComponentDevice.from_str("cpu"),
    "token": Secret.from_env_var("SOME_TOKEN", strict=False),
    "top_k": 3,
    "query_prefix": "q: ",
    "query_suffix": "?",
    "document_prefix": "d: ",
    "document_suffix": "!",
    "meta_fields_to_embed": ["title"],
    "embedding_separator": " | ",
    "scale_score": False,
    "score_threshold": -100.0,
    "trust_remote_code": True,
    "model_kwargs": {"attn_implementation": "eager"},
    "tokenizer_kwargs": {"model_max_length": 32},
    "config_kwargs": {"hidden_dropout_prob": 0.0},
    "backend": "torch",
    "batch_size": 4,
    "max_batch_tokens": 100,
    "precision": "bf16",
    "num_threads": 2,
    "torch_compile": True,
    "max_length": 128,
    "window_aggregation": "mean_top_k",
    "window_overlap": 7,
    "window_top_k": 5,
    "calibration": "folder/calibration.json",
    "score_cache": "scores.sqlite",
    "score_cache_size": 10,
    "time_budget_ms": 250.5,
    "on_error": "keep_order",
    "fusion": "linear",
    "fusion_weight": 0.25,
    "adaptive_depth": 0.9,
    "early_exit": None,
    "effort": "exact",
}


def test_every_parameter_survives_yaml_copying_and_pickling():
    assert set(EVERY) == set(PARAMETERS)
    ranker = CrossEncoderRanker(**EVERY)
    assert ranker.config.init_parameters() == EVERY
    pipeline = Pipeline()
    pipeline.add_component("ranker", ranker)
    loaded = Pipeline.loads(pipeline.dumps()).get_component("ranker")
    for other in (loaded, copy.deepcopy(ranker), copy.copy(ranker), pickle.loads(pickle.dumps(ranker))):
        assert other.config == ranker.config
        assert other.to_dict() == ranker.to_dict()


def test_a_copy_works_after_the_original_was_used(make):
    ranker = make()
    expected = ranker.run(query="moon", documents=[Document(content="sea")])
    assert copy.deepcopy(ranker).run(query="moon", documents=[Document(content="sea")])["documents"] == expected["documents"]


def test_from_dict_does_not_change_its_argument():
    data = CrossEncoderRanker(model_kwargs={"dtype": "torch.float16"}).to_dict()
    before = copy.deepcopy(data)
    CrossEncoderRanker.from_dict(data)
    assert data == before


def test_the_configuration_does_not_change(make):
    keywords = {"attn_implementation": "eager"}
    ranker = make(model_kwargs=keywords)
    keywords["attn_implementation"] = "sdpa"
    assert ranker.config.model_kwargs == {"attn_implementation": "eager"}
    with pytest.raises(AttributeError, match="make a new one"):
        ranker.top_k = 3
    with pytest.raises(AttributeError):
        ranker.config.top_k = 3
    assert (ranker.top_k, replace(ranker.config, top_k=3).top_k) == (10, 3)
    with pytest.raises(InvalidValueError, match="top_k"):
        replace(ranker.config, top_k=0)
    with pytest.raises(AttributeError, match="colour"):
        _ = ranker.colour


def test_a_cache_in_the_current_folder_is_a_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for place, kept in ((Path("redis"), "./redis"), ("./redis", "./redis"), ("memory", "memory"), ("a.db", "a.db")):
        ranker = CrossEncoderRanker(score_cache=place)
        assert ranker.config.score_cache == kept
        assert CrossEncoderRanker.from_dict(ranker.to_dict()).config == ranker.config


def test_a_ranker_is_a_context_manager(make, tmp_path):
    with make(score_cache=tmp_path / "scores.sqlite") as ranker:
        assert ranker.run(query="moon", documents=[Document(content="sea")])["status"]["scored"] == 1
    assert not list(tmp_path.glob("*-wal"))  # the file was closed
    assert issubclass(InvalidValueError, RerankError)
