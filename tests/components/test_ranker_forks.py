"""A ranker in a forked child works if it was not used before, else names the remedy; it never hangs."""

import os
import threading

import numpy as np
import pytest
from forked_child import in_child
from haystack import Document
from zygote import run_python

from rerank_plugin.components import CrossEncoderRanker
from rerank_plugin.scoring.backends import BACKENDS
from rerank_plugin.scoring.batching import ShapeGrid

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
DOCUMENTS = [Document(id=str(i), content="sea " * i, score=1.0) for i in range(5)]


class Gate:
    """Logit = number of tokens. Waits until it is released."""

    precision = "exact"
    batch_tokens = 512
    grid = ShapeGrid()

    def __init__(self):
        self.entered, self.go = threading.Event(), threading.Event()

    def logits(self, features):
        self.entered.set()
        assert self.go.wait(30)
        return features["attention_mask"].sum(axis=1).astype(np.float32)


@pytest.fixture
def gate(monkeypatch):
    gate = Gate()
    monkeypatch.setitem(BACKENDS, "gate", lambda source: gate)
    return gate


@pytest.mark.slow
@pytest.mark.parametrize("on_error", ["raise", "keep_order"])
def test_in_a_child_a_ranker_that_its_parent_uses_says_what_to_do(gate, cross_encoder, tmp_path, on_error):
    """Also while a thread of the parent has the turn, waits for it, or loads."""
    ranker = CrossEncoderRanker(
        model=cross_encoder, backend="gate", device="cpu", on_error=on_error, score_cache=tmp_path / "scores.sqlite"
    )
    threads = [threading.Thread(target=ranker.run, kwargs={"query": q, "documents": DOCUMENTS}) for q in ("moon", "sun")]
    for thread in threads:
        thread.start()
    assert gate.entered.wait(20)

    def child():
        answer = ranker.run(query="moon", documents=DOCUMENTS)
        ranker.close()
        return answer["status"]["state"], answer["status"]["error"]

    with ranker._reranker._engines._lock, ranker._lock:
        said = in_child(child)
    assert "was forked from one that had loaded a model" in said
    assert ("fallback" in said) == (on_error == "keep_order")
    gate.go.set()
    for thread in threads:
        thread.join(20)
    answer = ranker.run(query="moon", documents=DOCUMENTS)  # the parent goes on, with its cache
    assert (answer["status"]["state"], answer["status"]["cached"]) == ("complete", 5)
    ranker.close()


@pytest.mark.slow
def test_run_async_in_a_child_has_its_own_threads(gate, cross_encoder):
    import asyncio

    gate.go.set()
    ranker = CrossEncoderRanker(model=cross_encoder, backend="gate", device="cpu")
    asyncio.run(ranker.run_async(query="moon", documents=DOCUMENTS))

    def child():
        return asyncio.run(ranker.run_async(query="moon", documents=DOCUMENTS))

    assert "was forked" in in_child(child)
    ranker.close()


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["openvino", "torch"])
def test_children_that_are_forked_before_the_model_is_loaded_rank(cross_encoder, backend):
    """As under gunicorn with a preloaded application: three children, one ranker."""
    code = f"""
import os
from haystack import Document
from rerank_plugin.components import CrossEncoderRanker
ranker = CrossEncoderRanker(model={str(cross_encoder)!r}, backend={backend!r}, device="cpu")
children = []
for _ in range(3):
    child = os.fork()
    if child == 0:
        answer = ranker.run(query="moon", documents=[Document(content="the moon"), Document(content="the sea")])
        os._exit(0 if answer["status"]["scored"] == 2 else 1)
    children.append(child)
print([os.waitpid(child, 0)[1] for child in children])
"""
    with run_python(code) as process:
        output, errors = process.communicate()
    assert output.strip().endswith("[0, 0, 0]"), errors
