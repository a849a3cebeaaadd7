"""Precisions on the default model and a small one: close to float32, and independent of the rest of the batch."""

import json

import numpy as np
import openvino
import pytest
from conftest import SENTENCES

from rerank_plugin.collections.sample import sample_corpus
from rerank_plugin.errors import InvalidValueError
from rerank_plugin.scoring.backends.backend import available_processors
from rerank_plugin.scoring.backends.int8 import quantization_batches
from rerank_plugin.scoring.loading.spec import DEFAULT_MODEL, ModelSpec
from rerank_plugin.scoring.scorer import ScorerSettings, load_scorer
from rerank_plugin.scoring.types import ScoringRequest

QUERY = "why does coffee taste bitter"
ANSWER = "Over-extracted coffee tastes bitter: grind coarser, or brew for a shorter time."
OTHERS = [json.loads(line)["text"] for line in (sample_corpus() / "documents.jsonl").read_text("utf-8").splitlines()[::24]]
PASSAGES = [ANSWER, *OTHERS, "", "coffee"]
HAS_BF16 = "BF16" in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
SHIPPED = [
    ("openvino", "fp32"),
    ("openvino", "bf16"),
    ("openvino", "int8"),
    ("onnx", "fp32"),
    ("torch", "fp32"),
]


@pytest.fixture(scope="module")
def bundled():
    made = {}

    def make(backend, precision):
        if precision == "bf16" and not HAS_BF16:
            pytest.skip("this CPU does not support bf16")
        if (backend, precision) not in made:
            made[backend, precision] = load_scorer(
                ModelSpec(DEFAULT_MODEL), ScorerSettings(backend=backend, precision=precision)
            )
        return made[backend, precision]

    return make


@pytest.mark.slow
@pytest.mark.parametrize(("backend", "precision"), SHIPPED)
def test_a_logit_does_not_depend_on_its_neighbours(bundled, backend, precision):
    check_that_neighbours_change_nothing(bundled(backend, precision))


def check_that_neighbours_change_nothing(scorer):
    together = scorer.logits(QUERY, PASSAGES)
    alone = [scorer.logits(QUERY, [passage])[0] for passage in PASSAGES]
    np.testing.assert_allclose(together, alone, atol=1e-3)
    (_, shared) = scorer.score([ScoringRequest("red fox", PASSAGES[::-1]), ScoringRequest(QUERY, PASSAGES)])
    np.testing.assert_allclose(together, shared.logits, atol=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("backend", "precision", "far", "alike"),
    [
        ("openvino", "fp32", 1e-4, 0.9999),
        ("onnx", "fp32", 1e-4, 0.9999),
        ("openvino", "bf16", 0.1, 0.999),
        ("openvino", "int8", 1.5, 0.95),
    ],
)
def test_logits_are_near_those_of_torch(bundled, backend, precision, far, alike):
    expected = bundled("torch", "fp32").logits(QUERY, PASSAGES)
    logits = bundled(backend, precision).logits(QUERY, PASSAGES)
    assert np.abs(logits - expected).max() < far
    assert np.argmax(logits) == np.argmax(expected) == PASSAGES.index(ANSWER)
    assert np.corrcoef(logits, expected)[0, 1] > alike


@pytest.mark.slow
def test_int8_in_onnx_is_near_torch_and_does_not_depend_on_neighbours(cross_encoder):
    """On the small model: quantising the default one takes half a minute, and for OpenVINO that is done above."""
    spec = ModelSpec(str(cross_encoder))
    expected = load_scorer(spec, ScorerSettings(backend="torch", precision="fp32")).logits(QUERY, PASSAGES)
    quantised = load_scorer(spec, ScorerSettings(backend="onnx", precision="int8"))
    assert quantised.backend_name == "onnx int8"
    logits = quantised.logits(QUERY, PASSAGES)
    assert 0 < np.abs(logits - expected).max() < 0.8
    assert np.corrcoef(logits, expected)[0, 1] > 0.85
    check_that_neighbours_change_nothing(quantised)


@pytest.mark.slow
def test_the_name_of_a_backend_says_what_it_computes_in(bundled):
    assert bundled("openvino", "int8").backend_name == "openvino int8"
    assert bundled("onnx", "fp32").backend_name == "onnx fp32"


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_torch_computes_in_half_precision(cross_encoder, precision):
    full = load_scorer(ModelSpec(str(cross_encoder)), ScorerSettings(backend="torch", precision="fp32"))
    half = load_scorer(ModelSpec(str(cross_encoder)), ScorerSettings(backend="torch", precision=precision))
    assert half.backend.precision == precision
    np.testing.assert_allclose(half.logits("moon", SENTENCES), full.logits("moon", SENTENCES), atol=0.1)
    assert half.logits("moon", SENTENCES).dtype == np.float32


def test_the_number_of_threads_changes_nothing(cross_encoder):
    spec = ModelSpec(str(cross_encoder))
    one = load_scorer(spec, ScorerSettings(backend="openvino", precision="fp32", num_threads=1))
    np.testing.assert_allclose(
        one.logits("moon", SENTENCES),
        load_scorer(spec, ScorerSettings(backend="openvino", precision="fp32")).logits("moon", SENTENCES),
        atol=1e-5,
    )


def test_a_prepared_scorer_compiles_nothing_in_its_first_call(cross_encoder, monkeypatch):
    settings = ScorerSettings(backend="openvino", precision="fp32", num_threads=2, max_batch_tokens=32)
    scorer = load_scorer(ModelSpec(str(cross_encoder)), settings)
    scorer.prepare()
    compile_model, compiled = openvino.Core.compile_model, []
    monkeypatch.setattr(openvino.Core, "compile_model", lambda *a, **k: compiled.append(a) or compile_model(*a, **k))
    together = scorer.logits("moon", SENTENCES * 4)
    assert not compiled
    np.testing.assert_allclose(together, np.tile(scorer.logits("moon", SENTENCES), 4), atol=1e-5)
    unprepared = load_scorer(ModelSpec(str(cross_encoder)), settings)
    compiled.clear()
    unprepared.logits("moon", SENTENCES * 4)
    assert len(compiled) == 1  # so the calls are of a kind that needs more than what loading compiles


@pytest.mark.parametrize(
    ("backend", "precision"), [("openvino", "fp16"), ("onnx", "bf16"), ("torch", "int8"), ("onnx", "fp8")]
)
def test_a_precision_that_a_backend_lacks_is_an_error(cross_encoder, backend, precision):
    with pytest.raises(InvalidValueError, match=f"{backend}.*{precision}.*choose one of"):
        load_scorer(ModelSpec(str(cross_encoder)), ScorerSettings(backend=backend, precision=precision))


@pytest.mark.slow
def test_int8_is_measured_on_real_pairs_of_both_kinds(bundled):
    batches = quantization_batches(bundled("torch", "fp32").tokenizer)
    assert sum(len(batch["input_ids"]) for batch in batches) == 128
    lengths = [int(row.sum()) for batch in batches for row in batch["attention_mask"]]
    assert min(lengths) < 80 < 120 < max(lengths)
    again = quantization_batches(bundled("torch", "fp32").tokenizer)
    for a, b in zip(batches, again, strict=True):
        np.testing.assert_array_equal(a["input_ids"], b["input_ids"])


@pytest.mark.skipif(HAS_BF16, reason="this CPU has bf16")
def test_bf16_on_a_cpu_without_it_is_an_error(cross_encoder):
    with pytest.raises(InvalidValueError, match="does not support bf16"):
        load_scorer(ModelSpec(str(cross_encoder)), ScorerSettings(backend="openvino", precision="bf16"))


@pytest.mark.parametrize(("text", "most"), [("max 100000", 10**6), ("100000 100000", 1), ("150000 100000", 2), ("x", 10**6)])
def test_a_container_gets_as_many_threads_as_its_share(tmp_path, text, most):
    (tmp_path / "cpu.max").write_text(text)
    everything = available_processors(tmp_path / "none")
    assert available_processors(tmp_path / "cpu.max") == min(everything, most)
