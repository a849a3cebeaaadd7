"""A ranker that must not, cannot or need not score everything, and its status."""

import asyncio
import shutil
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
from conftest import SENTENCES, WORDS
from early_exits import early_exit_of
from haystack import Document, Pipeline
from haystack.utils import ComponentDevice

from rerank_plugin.components import CrossEncoderRanker
from rerank_plugin.components.config import RankerConfig
from rerank_plugin.components.inputs import Overrides
from rerank_plugin.components.reranker import Reranker
from rerank_plugin.errors import InputFileError, InvalidValueError, ModelError, ScoreCacheError
from rerank_plugin.scoring.backends import BACKENDS
from rerank_plugin.scoring.batching import ShapeGrid
from rerank_plugin.scoring.calibration import Calibration
from rerank_plugin.scoring.depth import DepthModel
from rerank_plugin.scoring.early_exit import EarlyExitNetwork
from rerank_plugin.scoring.exit_rule import ExitModel

CPU = ComponentDevice.from_str("cpu")
DOCUMENTS = [Document(id=f"{i:02}", content=f"{WORDS[i]} {WORDS[i + 1]}", score=10.0 - i / 10) for i in range(60)]


class SlowBackend:
    """
    Logit = position of the passage's last word in the vocabulary: later candidates are better.

    On its clock a batch takes some seconds. It may fail, and it may wait until it is let go.
    """

    precision = "exact"
    batch_tokens = 100_000
    grid = ShapeGrid()

    def __init__(self, seconds=0.0, error=None, waits=False):
        self.seconds, self.error, self.batches, self.now = seconds, error, 0, 0.0
        self.entered, self.go = threading.Event(), threading.Event()
        if not waits:
            self.go.set()

    def clock(self):
        return self.now

    def logits(self, features):
        self.batches += 1
        self.entered.set()
        assert self.go.wait(30)
        self.now += self.seconds
        if self.error:
            raise self.error
        return features["input_ids"].max(axis=1).astype(np.float32) / 100


@pytest.fixture
def make(monkeypatch, cross_encoder):
    def make(backend=None, **parameters):
        monkeypatch.setitem(BACKENDS, "slow", lambda source: backend or SlowBackend())
        return CrossEncoderRanker(model=cross_encoder, backend="slow", device=CPU, **parameters)

    return make


@pytest.fixture
def timed(monkeypatch, cross_encoder):
    """A ranker that runs on its backend's clock and has been used before."""

    def timed(backend, budget, *, warm=True, **parameters):
        monkeypatch.setitem(BACKENDS, "slow", lambda source: backend)
        parameters |= {"model": str(cross_encoder), "backend": "slow", "device": CPU, "time_budget_ms": budget}
        reranker = Reranker(RankerConfig(**parameters), clock=backend.clock)
        if warm:
            for count in (1, 2, 4, 8, 16, 32, 60) * 2:
                reranker.answer(["moon"], [DOCUMENTS[:count]], Overrides())
        return reranker

    return timed


def ids(answer):
    return [document.id for document in answer["documents"]]


def test_an_answer_without_limits_is_complete(make):
    status = make().run(query="moon", documents=DOCUMENTS)["status"]
    assert {
        name: status[name] for name in ("state", "candidates", "scored", "stopped_by", "cached", "backend", "error")
    } == {
        "state": "complete",
        "candidates": 60,
        "scored": 60,
        "stopped_by": None,
        "cached": 0,
        "backend": "slow exact",
        "error": None,
    }
    assert status["milliseconds"] > 0


def test_no_documents_are_a_complete_answer(make):
    assert make().run(query="moon", documents=[])["status"]["state"] == "complete"


def test_status_is_an_output_of_the_component(make):
    pipeline = Pipeline()
    pipeline.add_component("ranker", make())
    assert pipeline.run({"ranker": {"query": "moon", "documents": DOCUMENTS}})["ranker"]["status"]["scored"] == 60


def test_what_the_time_budget_leaves_comes_last_in_first_stage_order(timed):
    (answer,) = timed(SlowBackend(0.25), 600, top_k=60, score_threshold=0.2, batch_size=8).answer(
        ["moon"], [DOCUMENTS], Overrides()
    )
    scored = answer["status"]["scored"]
    assert (answer["status"]["state"], answer["status"]["stopped_by"]) == ("partial", "deadline")
    assert 0 < scored < 60
    first, rest = answer["documents"][:scored], answer["documents"][scored:]
    assert all(document.score is not None and "reranked" not in document.meta for document in first)
    assert [document.meta["first_stage_rank"] for document in rest] == sorted(
        set(range(1, 61)) - {document.meta["first_stage_rank"] for document in first}
    )
    assert all(document.score is None and document.meta["reranked"] is False for document in rest)


@pytest.mark.slow
def test_a_threshold_cuts_scored_documents_only(timed):
    reranker = timed(SlowBackend(0.25), 600, top_k=60, score_threshold=1.1, scale_score=True, batch_size=8)
    (answer,) = reranker.answer(["moon"], [DOCUMENTS], Overrides())
    assert 0 < answer["status"]["scored"] < 60
    assert len(answer["documents"]) == 60 - answer["status"]["scored"]
    assert all(document.meta["reranked"] is False for document in answer["documents"])


@pytest.mark.slow
@pytest.mark.parametrize("budget", [100, 2000])
def test_t1_a_time_budget_never_switches_the_ranker_off(timed, budget):
    """A slow call, whatever the reason, is followed by complete answers."""
    backend = SlowBackend(0.01)
    reranker = timed(backend, budget, batch_size=8)
    backend.seconds = 10.0
    (slow,) = reranker.answer(["moon"], [DOCUMENTS], Overrides())
    assert slow["status"]["state"] == "partial"
    assert slow["status"]["scored"] > 0
    backend.seconds = 0.01
    states = [reranker.answer(["moon"], [DOCUMENTS], Overrides())[0]["status"]["state"] for _ in range(3)]
    assert states == ["complete"] * 3


def test_t1_a_budget_that_is_too_short_for_anything_still_gets_the_first_batch(timed):
    reranker = timed(SlowBackend(0.25), 1)
    for _ in range(3):
        assert reranker.answer(["moon"], [DOCUMENTS], Overrides())[0]["status"]["scored"] >= 1


def test_t10_a_long_document_is_read_as_far_as_time_allows_and_marked(timed):
    backend = SlowBackend(0.05)
    backend.batch_tokens = 256
    reranker = timed(backend, 500)
    long = Document(id="long", content="the moon is far " * 2000)
    (answer,) = reranker.answer(["moon"], [[long]], Overrides())
    (document,) = answer["documents"]
    assert (answer["status"]["state"], answer["status"]["scored"], answer["status"]["partly_read"]) == ("partial", 1, 1)
    assert document.meta["partly_read"] is True
    assert document.score is not None
    start, stop = document.meta["window"]
    assert long.content[start:stop].strip()


def test_loading_the_model_does_not_count_towards_the_time_budget(timed, monkeypatch):
    backend = SlowBackend(0.01)
    reranker = timed(backend, 1000, warm=False)

    def load(source):
        backend.now += 60
        return backend

    monkeypatch.setitem(BACKENDS, "slow", load)
    (answer,) = reranker.answer(["moon"], [DOCUMENTS], Overrides())
    assert answer["status"]["state"] == "complete"


def test_t10_waiting_for_another_call_to_load_the_model_does_not_count(timed, monkeypatch):
    backend, loading, go, waits, answers = SlowBackend(0.01), threading.Event(), threading.Event(), threading.Event(), []
    looks = []

    def clock():
        if threading.current_thread().name == "second":
            looks.append(backend.now)
            if len(looks) == 2:  # on arrival, and before it waits for the model
                waits.set()
        return backend.now

    monkeypatch.setattr(backend, "clock", clock)
    reranker = timed(backend, 1000, warm=False)

    def load(source):
        loading.set()
        assert go.wait(30)
        backend.now += 60
        return backend

    monkeypatch.setitem(BACKENDS, "slow", load)
    first = threading.Thread(target=reranker.warm_up)
    first.start()
    assert loading.wait(30)
    second = threading.Thread(
        target=lambda: answers.extend(reranker.answer(["moon"], [DOCUMENTS], Overrides())), name="second"
    )
    second.start()
    assert waits.wait(30)
    go.set()
    for thread in (first, second):
        thread.join(30)
    assert looks[:2] == [0.0, 0.0]
    assert answers[0]["status"]["state"] == "complete"


@pytest.mark.parametrize("error", [RuntimeError("out of memory"), MemoryError(), OSError("disk")])
def test_when_scoring_fails_the_order_can_be_kept(make, error):
    ranker = make(SlowBackend(error=error), on_error="keep_order", score_threshold=0.9, top_k=5)
    answer = ranker.run(query="moon", documents=DOCUMENTS)
    assert ids(answer) == [document.id for document in DOCUMENTS[:5]]
    assert answer["status"]["state"] == "fallback"
    assert answer["status"]["scored"] == 0
    assert type(error).__name__ in answer["status"]["error"]
    assert [document.score for document in answer["documents"]] == [document.score for document in DOCUMENTS[:5]]
    assert all(document.meta["reranked"] is False for document in answer["documents"])


def test_when_scoring_fails_the_error_comes_through_by_default(make):
    with pytest.raises(RuntimeError, match="out of memory"):
        make(SlowBackend(error=RuntimeError("out of memory"))).run(query="moon", documents=DOCUMENTS)


def test_a_model_that_cannot_be_loaded_keeps_the_order(caplog):
    ranker = CrossEncoderRanker(model="no-such-owner/no-such-model", on_error="keep_order", top_k=3)
    ranker.warm_up()
    assert "first-stage order is kept" in caplog.text
    answer = ranker.run(query="moon", documents=DOCUMENTS)
    assert answer["status"]["state"] == "fallback"
    assert "no-such-model" in answer["status"]["error"]
    with pytest.raises(ModelError, match="no-such-model"):
        CrossEncoderRanker(model="no-such-owner/no-such-model").warm_up()


def test_a_callers_mistake_is_an_error_even_with_keep_order(make):
    ranker = make(on_error="keep_order", fusion="linear")
    with pytest.raises(InvalidValueError, match="query is empty"):
        ranker.run(query=" ", documents=DOCUMENTS)
    with pytest.raises(InvalidValueError, match="'x' has none"):
        ranker.run(query="moon", documents=[*DOCUMENTS, Document(id="x", content="sea")])
    with pytest.raises(InvalidValueError, match="unknown backend"):
        CrossEncoderRanker(backend="tensorrt", on_error="keep_order", device=CPU).warm_up()


def test_several_queries_give_what_each_gives_alone(cross_encoder):
    ranker = CrossEncoderRanker(model=cross_encoder, backend="torch", device=CPU, top_k=4)
    queries = ["moon", "red fox", "capital of france", "tea"]
    candidates = [[Document(content=text) for text in SENTENCES[i:]] for i in range(3)] + [[]]
    together = ranker.rank_many(queries, candidates)
    for query, documents, answer in zip(queries, candidates, together, strict=True):
        alone = ranker.run(query=query, documents=documents)["documents"]
        assert [document.id for document in answer["documents"]] == [document.id for document in alone]
        np.testing.assert_allclose([d.score for d in answer["documents"]], [d.score for d in alone], atol=1e-4)


def test_several_queries_share_batches(make):
    backend = SlowBackend()
    make(backend).rank_many(["moon", "sea", "fox"], [DOCUMENTS[:5]] * 3)
    assert backend.batches == 1


def test_as_many_lists_as_queries(make):
    with pytest.raises(InvalidValueError, match="2 queries and 1 lists"):
        make().rank_many(["moon", "sea"], [DOCUMENTS])


@pytest.mark.parametrize("place", ["memory", "file"])
def test_the_cache_answers_the_second_time(make, tmp_path, place):
    backend = SlowBackend()
    ranker = make(backend, score_cache="memory" if place == "memory" else tmp_path / "scores.sqlite")
    first = ranker.run(query="moon", documents=DOCUMENTS)
    second = ranker.run(query="moon", documents=DOCUMENTS[:30])
    assert (first["status"]["cached"], second["status"]["cached"]) == (0, 30)
    assert backend.batches == 1
    plain = make().run(query="moon", documents=DOCUMENTS[:30])
    assert ids(second) == ids(plain)
    ranker.close()


def test_a_cache_that_cannot_be_used_is_an_error(make, tmp_path):
    (tmp_path / "x").write_text("no database" * 99)
    with pytest.raises(ScoreCacheError, match="set score_cache to another file"):
        make(score_cache=tmp_path / "x").warm_up()


def test_fusion_keeps_the_model_score_and_its_threshold(make):
    plain = make(top_k=60).run(query="moon", documents=DOCUMENTS)["documents"]
    own = {document.id: document.score for document in plain}
    fused = make(top_k=60, fusion="linear", fusion_weight=0.0).run(query="moon", documents=DOCUMENTS)["documents"]
    assert [document.id for document in fused] == [document.id for document in DOCUMENTS]
    assert {document.id: document.meta["second_stage_score"] for document in fused} == own
    assert [document.score for document in fused] == sorted((document.score for document in fused), reverse=True)
    limit = float(np.median(list(own.values())))
    kept = make(top_k=60, fusion="rrf", score_threshold=limit).run(query="moon", documents=DOCUMENTS)["documents"]
    assert {document.id for document in kept} == {id_ for id_, score in own.items() if score >= limit}


def test_fusion_by_rank_needs_no_scores(make):
    without = [replace(document, score=None) for document in DOCUMENTS]
    weight_one = make(fusion="rrf", fusion_weight=1.0).run(query="moon", documents=without)
    assert ids(weight_one) == ids(make().run(query="moon", documents=without))


@pytest.fixture
def calibration(tmp_path):
    def write(**facts):
        file = tmp_path / "calibration.json"
        Calibration(**facts).save(file)
        return file

    return write


def test_a_calibration_makes_probabilities(make, calibration):
    file = calibration(scale=0.5, bias=-1.0)
    logits = make(scale_score=False, calibration=file).run(query="moon", documents=DOCUMENTS[:1])["documents"]
    scaled = make(calibration=file).run(query="moon", documents=DOCUMENTS[:1])["documents"]
    assert logits[0].score == make(scale_score=False).run(query="moon", documents=DOCUMENTS[:1])["documents"][0].score
    assert scaled[0].score == pytest.approx(1 / (1 + np.exp(-(0.5 * logits[0].score - 1))))


def test_a_calibration_in_the_models_folder_is_found(make, calibration, tmp_path, cross_encoder):

    folder = tmp_path / "model"
    shutil.copytree(cross_encoder, folder)
    plain = CrossEncoderRanker(model=folder, backend="torch", device=CPU)
    before = plain.run(query="moon", documents=DOCUMENTS[:1])["documents"][0].score
    Calibration(scale=0.1).save(folder / "calibration.json")
    calibrated, off = (
        CrossEncoderRanker(model=folder, backend="torch", device=CPU, calibration=c) for c in ("auto", "none")
    )
    assert calibrated.run(query="moon", documents=DOCUMENTS[:1])["documents"][0].score != pytest.approx(before)
    assert off.run(query="moon", documents=DOCUMENTS[:1])["documents"][0].score == pytest.approx(before)


def test_a_calibration_that_is_missing_is_an_error(make):
    with pytest.raises(InputFileError, match=r"nowhere\.json"):
        make(calibration="nowhere.json").warm_up()


def test_the_fitted_fusion_weight_is_used(make, calibration):
    file = calibration(fusion_weights={"linear": 0.0})
    fitted = make(fusion="linear", calibration=file).run(query="moon", documents=DOCUMENTS)
    assert ids(fitted) == [document.id for document in DOCUMENTS[:10]]


def test_adaptive_depth_stops_early_and_is_complete(make, calibration):
    file = calibration(depth=DepthModel((-20.0, 0.0, 0.0, 0.0), (0.5,), (0.99,)))
    answer = make(calibration=file, adaptive_depth=0.9, top_k=5).run(query="moon", documents=DOCUMENTS)
    assert (answer["status"]["state"], answer["status"]["stopped_by"], answer["status"]["scored"]) == (
        "complete",
        "depth",
        16,
    )
    assert ids(answer) == ids(make(top_k=5).run(query="moon", documents=DOCUMENTS[:16]))


def test_adaptive_depth_without_a_fit_says_what_to_do(make):
    with pytest.raises(InvalidValueError, match="rerank calibrate"):
        make(adaptive_depth=0.9).warm_up()


@pytest.fixture
def with_exit(tmp_path, cross_encoder):
    """A model with an early-exit network."""
    shutil.copytree(cross_encoder, tmp_path / "with-exit")
    early_exit_of(cross_encoder).save(tmp_path / "with-exit")
    return tmp_path / "with-exit"


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["torch", "openvino", "onnx"])
def test_early_exit_leaves_the_best_of_the_first_look(with_exit, cross_encoder, backend):
    parameters = {"backend": backend, "precision": "fp32", "device": CPU, "top_k": 8}
    documents = [Document(content=text) for text in SENTENCES]
    with pytest.raises(ModelError, match="no early-exit network"):
        CrossEncoderRanker(model=cross_encoder, **parameters, early_exit=3).warm_up()
    answer = CrossEncoderRanker(model=with_exit, **parameters, early_exit=3).run(query="moon", documents=documents)
    assert (answer["status"]["state"], answer["status"]["stopped_by"], answer["status"]["scored"]) == (
        "complete",
        "early_exit",
        3,
    )
    full = CrossEncoderRanker(model=with_exit, **parameters).run(query="moon", documents=documents)["documents"]
    kept = [document.id for document in full if document.id in ids(answer)]
    assert ids(answer) == kept
    looks = first_looks(with_exit, "moon", [document.content for document in documents])
    assert set(ids(answer)) == {documents[i].id for i in np.argsort(-looks)[:3]}


def first_looks(folder, query, texts):
    """The logits of the early-exit network, directly in transformers."""
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    exit_network = EarlyExitNetwork.load(folder)
    model = AutoModelForSequenceClassification.from_pretrained(folder, num_hidden_layers=exit_network.layers).eval()
    model.load_state_dict({name: torch.from_numpy(weight) for name, weight in exit_network.weights.items()}, strict=False)
    inputs = AutoTokenizer.from_pretrained(folder)([query] * len(texts), texts, return_tensors="pt", padding=True)
    with torch.inference_mode():
        return model(**inputs).logits[:, 0].numpy()


MANY = [Document(content=f"{first} {second}") for first in SENTENCES[:8] for second in SENTENCES[:8]]


def stopping(threshold):
    """A rule that expects so many newcomers, whatever the logits are."""
    return DepthModel((0.0, 0.0, 0.0, 0.0), (threshold,), (0.999,))


@pytest.mark.parametrize("effort", ["balanced", "fast"])
def test_an_effort_scores_the_likeliest_of_a_first_look(with_exit, calibration, effort):
    file = calibration(early_exit=ExitModel(0.0, stopping(1e9)))
    parameters = {"model": with_exit, "backend": "torch", "device": CPU, "calibration": file, "top_k": 10}
    answer = CrossEncoderRanker(**parameters, effort=effort).run(query="moon", documents=MANY)
    assert (answer["status"]["state"], answer["status"]["stopped_by"], answer["status"]["scored"]) == (
        "complete",
        "early_exit",
        16,
    )
    likeliest = np.argsort(-first_looks(with_exit, "moon", [document.content for document in MANY]), kind="stable")[:16]
    full = CrossEncoderRanker(**{**parameters, "top_k": 64}).run(query="moon", documents=MANY)
    best = [id_ for id_ in ids(full) if id_ in {MANY[i].id for i in likeliest}]
    assert ids(answer) == best[:10]


def test_where_a_first_look_leaves_doubt_an_effort_scores_everything(with_exit, calibration):
    file = calibration(early_exit=ExitModel(0.5, stopping(0.0)))
    parameters = {"model": with_exit, "backend": "torch", "device": CPU, "calibration": file}
    answer = CrossEncoderRanker(**parameters, effort="fast").run(query="moon", documents=MANY)
    assert (answer["status"]["scored"], answer["status"]["stopped_by"]) == (64, None)
    assert ids(answer) == ids(CrossEncoderRanker(**parameters).run(query="moon", documents=MANY))


def test_an_effort_without_an_early_exit_network_goes_by_the_first_stage(make, calibration):
    answer = make(calibration=calibration(depth=stopping(1e9)), effort="balanced").run(query="moon", documents=MANY)
    assert (answer["status"]["scored"], answer["status"]["stopped_by"]) == (16, "depth")


def test_an_effort_without_a_fitted_rule_says_what_to_do(make):
    with pytest.raises(InvalidValueError, match=r"effort needs a fitted stopping rule: run `rerank calibrate"):
        make(effort="fast").warm_up()


def test_the_window_of_a_long_document_is_in_its_meta(cross_encoder):
    ranker = CrossEncoderRanker(
        model=cross_encoder, backend="torch", device=CPU, meta_fields_to_embed=["title"], window_overlap=8, scale_score=False
    )
    text = " ".join(SENTENCES * 3)
    short, long = Document(content="the moon"), Document(content=text, meta={"title": "red fox"})
    ranked = {d.content: d for d in ranker.run(query="capital of france", documents=[short, long])["documents"]}
    assert "window" not in ranked["the moon"].meta
    start, stop = ranked[text].meta["window"]
    assert 0 <= start < stop <= len(text)
    inside = ("red fox\n" + text)[: stop + 8] if start == 0 else text[start:stop]
    assert ranker.logits("capital of france", [inside])[0] == pytest.approx(ranked[text].score, abs=1e-3)


@pytest.mark.parametrize(
    ("parameter", "value", "named"),
    [
        ("on_error", "ignore", "keep_order"),
        ("fusion", "sum", "rrf"),
        ("fusion_weight", 1.5, "1.5"),
        ("time_budget_ms", 0, "time_budget_ms"),
        ("time_budget_ms", float("nan"), "time_budget_ms"),
        ("adaptive_depth", 1.0, "adaptive_depth"),
        ("early_exit", 0, "early_exit"),
        ("effort", "slow", "balanced"),
        ("num_threads", 0, "num_threads"),
        ("score_cache_size", 0, "score_cache_size"),
        ("window_aggregation", "sum", "mean_top_k"),
        ("window_overlap", -1, "window_overlap"),
        ("window_top_k", 0, "window_top_k"),
    ],
)
def test_an_invalid_parameter_is_an_error(parameter, value, named):
    with pytest.raises(InvalidValueError, match=named):
        CrossEncoderRanker(**{parameter: value})


def test_depth_and_early_exit_exclude_each_other():
    with pytest.raises(InvalidValueError, match="exclude each other"):
        CrossEncoderRanker(adaptive_depth=0.9, early_exit=20)


@pytest.mark.parametrize("single", [{"adaptive_depth": 0.9}, {"early_exit": 20}])
def test_an_effort_excludes_the_single_parameters(single):
    with pytest.raises(InvalidValueError, match=r"effort .fast. and .* exclude each other"):
        CrossEncoderRanker(effort="fast", **single)


@pytest.mark.slow
async def test_sixteen_callers_at_once_get_what_one_gets(cross_encoder):
    ranker = CrossEncoderRanker(model=cross_encoder, precision="fp32", device=CPU, score_cache="memory")
    queries = [f"{WORDS[i]} {WORDS[i + 20]}" for i in range(16)]
    documents = [Document(content=text) for text in SENTENCES]
    plain = CrossEncoderRanker(model=cross_encoder, precision="fp32", device=CPU)
    expected = [plain.run(query=query, documents=documents) for query in queries]
    answers = await asyncio.gather(*(ranker.run_async(query=query, documents=documents) for query in queries))
    for answer, one in zip(answers, expected, strict=True):
        assert ids(answer) == ids(one)
        np.testing.assert_allclose([d.score for d in answer["documents"]], [d.score for d in one["documents"]], atol=1e-6)
    ranker.close()


async def entered(backend):
    """Until the backend computes; in a thread of its own, as those of the event loop may all be waiting for the backend."""
    with ThreadPoolExecutor(1) as pool:
        assert await asyncio.get_running_loop().run_in_executor(pool, backend.entered.wait, 60)


async def test_scoring_leaves_the_event_loop_free(make):
    backend = SlowBackend(waits=True)
    task = asyncio.create_task(make(backend).run_async(query="moon", documents=DOCUMENTS))
    await entered(backend)
    assert not task.done()  # the loop runs while the backend computes
    backend.go.set()
    assert (await task)["status"]["state"] == "complete"


async def test_a_cancelled_call_stops_before_its_next_batch(make):
    backend = SlowBackend(waits=True)
    ranker = make(backend, batch_size=4)
    task = asyncio.create_task(ranker.run_async(query="moon", documents=DOCUMENTS))
    await entered(backend)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    backend.go.set()
    await asyncio.to_thread(ranker.close)
    assert backend.batches == 1


@pytest.mark.parametrize("callers", [16, 40])
async def test_t11_calls_that_wait_when_the_ranker_is_closed_are_answered(make, callers):
    backend = SlowBackend(waits=True)
    ranker = make(backend)
    tasks = [asyncio.create_task(ranker.run_async(query="moon", documents=DOCUMENTS)) for _ in range(callers)]
    await entered(backend)
    closing = asyncio.create_task(asyncio.to_thread(ranker.close))
    backend.go.set()
    answers = await asyncio.gather(*tasks)
    await closing
    assert [answer["status"]["state"] for answer in answers] == ["complete"] * callers


def test_a_ranker_that_is_closed_during_a_call_ends_the_call_first(make, tmp_path):
    backend, answers = SlowBackend(waits=True), []
    ranker = make(backend, score_cache=tmp_path / "scores.sqlite")
    thread = threading.Thread(target=lambda: answers.append(ranker.run(query="moon", documents=DOCUMENTS)))
    thread.start()
    assert backend.entered.wait(10)
    ranker.close()
    backend.go.set()
    thread.join(30)
    assert answers[0]["status"]["state"] == "complete"
    assert ranker.run(query="moon", documents=DOCUMENTS)["status"]["cached"] == 60


def test_threads_share_one_loaded_model(make, monkeypatch):
    loaded = []
    ranker = make()
    monkeypatch.setitem(BACKENDS, "slow", lambda source: loaded.append(1) or SlowBackend())
    threads = [threading.Thread(target=ranker.run, kwargs={"query": "moon", "documents": DOCUMENTS}) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert loaded == [1]
