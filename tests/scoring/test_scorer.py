import sys

import numpy as np
import pytest
from conftest import SENTENCES

from rerank_plugin.errors import InvalidValueError, MissingDependencyError, ModelError
from rerank_plugin.scoring.backends import BACKENDS, resolve_backend
from rerank_plugin.scoring.batching import ShapeGrid
from rerank_plugin.scoring.loading.spec import ModelSpec
from rerank_plugin.scoring.scorer import PairScorer, ScorerSettings, load_scorer
from rerank_plugin.scoring.types import ScoringRequest
from rerank_plugin.scoring.windows import WindowSettings

TRUNCATE = WindowSettings("truncate")
LONG = " ".join(SENTENCES * 6)
PASSAGES = [*SENTENCES, "", LONG, "moon", SENTENCES[0] + " " + SENTENCES[5]]
QUERY = "which city is the capital of france?"


def scorer(folder, backend: str, *, precision="fp32", tokens: int = 8192, pairs: int = 16, windows=TRUNCATE) -> PairScorer:
    settings = ScorerSettings(
        backend=backend, precision=precision, max_batch_tokens=tokens, max_batch_pairs=pairs, windows=windows
    )
    return load_scorer(ModelSpec(str(folder)), settings)


def test_torch_agrees_with_sentence_transformers(cross_encoder):
    import torch
    from sentence_transformers import CrossEncoder

    peer = CrossEncoder(str(cross_encoder), device="cpu")
    expected = peer.predict([(QUERY, passage) for passage in PASSAGES], activation_fn=torch.nn.Identity())
    np.testing.assert_allclose(scorer(cross_encoder, "torch").logits(QUERY, PASSAGES), expected, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["openvino", "onnx"])
def test_a_converted_model_agrees_with_torch(cross_encoder, backend):
    expected = scorer(cross_encoder, "torch").logits(QUERY, PASSAGES)
    np.testing.assert_allclose(scorer(cross_encoder, backend).logits(QUERY, PASSAGES), expected, atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("backend", sorted(BACKENDS))
def test_a_logit_does_not_depend_on_its_neighbours(cross_encoder, backend):
    together = scorer(cross_encoder, backend).logits(QUERY, PASSAGES)
    alone = scorer(cross_encoder, backend, pairs=1)
    np.testing.assert_allclose(together, [alone.logits(QUERY, [passage])[0] for passage in PASSAGES], atol=1e-3)
    np.testing.assert_allclose(scorer(cross_encoder, backend, tokens=1).logits(QUERY, PASSAGES), together, atol=1e-3)


def test_logits_come_in_the_order_of_the_passages(cross_encoder):
    ours = scorer(cross_encoder, "torch")
    forwards, backwards = ours.logits(QUERY, PASSAGES), ours.logits(QUERY, PASSAGES[::-1])
    assert np.ptp(forwards) > 0.1
    np.testing.assert_allclose(forwards, backwards[::-1], atol=1e-4)


def test_no_passages_give_no_logits(cross_encoder):
    logits = scorer(cross_encoder, "torch").logits(QUERY, [])
    assert (logits.shape, logits.dtype) == ((0,), np.float32)


class NotANumber:
    precision = "exact"
    batch_tokens = 512
    grid = ShapeGrid()

    def logits(self, features):
        scores = np.zeros(len(features["input_ids"]), dtype=np.float32)
        scores[-1] = np.nan
        return scores


def test_a_score_that_is_not_finite_is_an_error(cross_encoder, monkeypatch):
    monkeypatch.setitem(BACKENDS, "broken", lambda source: NotANumber())
    with pytest.raises(ModelError, match="passage 2 with nan"):
        scorer(cross_encoder, "broken", precision="auto").logits(
            QUERY, ["the sky is blue and red", "the moon is far", "dog"]
        )


def test_auto_means_openvino_on_a_cpu_and_torch_elsewhere():
    assert resolve_backend("auto", device="cpu") == "openvino"
    assert resolve_backend("auto", device="cuda:0") == "torch"


def test_an_unknown_backend_lists_what_exists():
    with pytest.raises(InvalidValueError, match=r"'tensorrt'.*'auto', 'onnx', 'openvino', 'torch'"):
        resolve_backend("tensorrt", device="cpu")


@pytest.mark.parametrize("backend", ["openvino", "onnx"])
def test_a_cpu_backend_on_a_gpu_is_refused(backend):
    with pytest.raises(InvalidValueError, match=f"{backend}.*cuda:0"):
        resolve_backend(backend, device="cuda:0")


def test_onnx_without_onnxruntime_says_what_to_install(cross_encoder, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    monkeypatch.delitem(sys.modules, "rerank_plugin.scoring.backends.onnx_backend", raising=False)
    with pytest.raises(MissingDependencyError, match=r"rerank-plugin\[onnx\]"):
        scorer(cross_encoder, "onnx")


def test_the_expected_time_grows_with_the_text(cross_encoder):
    mine = scorer(cross_encoder, "torch")
    requests = [ScoringRequest(QUERY, ["the sky is blue " * 20] * 8)]
    assert mine.expected_seconds(requests) == 0  # nothing is known yet
    for _ in range(3):
        mine.score(requests)
    assert mine.expected_seconds(requests) > 0
    assert 2 < mine.expected_seconds(requests * 3) / mine.expected_seconds(requests) <= 3
