"""The early-exit network of a small model: trained, saved, calibrated, used."""

import json
import random
import shutil
from dataclasses import replace

import numpy as np
import pytest
from conftest import WORDS, write_cross_encoder

from rerank_plugin import CrossEncoderRanker
from rerank_plugin.errors import ModelError
from rerank_plugin.scoring.calibration import Calibration
from rerank_plugin.scoring.early_exit import EarlyExitNetwork
from rerank_plugin.scoring.loading.spec import DEFAULT_MODEL, ModelSpec
from rerank_plugin.scoring.scorer import ScorerSettings, load_first_look, load_scorer
from rerank_plugin.training.data.pairs import LabelledPair
from rerank_plugin.training.output.fit_early_exit import NARROW, SHORTER, fit_early_exit


def make_pairs(count, seed):
    rng = random.Random(seed)
    queries = [" ".join(rng.choices(WORDS, k=3)) for _ in range(count // 8)]
    return [
        LabelledPair(query, " ".join(rng.choices(WORDS, k=rng.randint(3, 20))), 0.0) for query in queries for _ in range(8)
    ]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A model with an early-exit network."""
    folder = write_cross_encoder(tmp_path_factory.mktemp("models") / "reranker", seed=5)
    # Random networks of 32 units are harder to learn from than trained ones.
    fit_early_exit(folder, make_pairs(4000, seed=1), layers=1, seed=1, schedule=replace(SHORTER, rate=3e-3)).save(folder)
    return folder


@pytest.mark.slow
def test_it_learns_what_the_model_says(model):
    spec, settings = ModelSpec(str(model)), ScorerSettings(backend="torch", precision="fp32")
    whole = load_scorer(spec, settings)
    look = load_first_look(spec, settings, whole)
    correlations = []
    for query in {pair.query for pair in make_pairs(160, seed=2)}:
        passages = [pair.passage for pair in make_pairs(24, seed=3)]
        correlations.append(np.corrcoef(look.logits(query, passages), whole.logits(query, passages))[0, 1])
    assert np.mean(correlations) > 0.3


def test_it_must_be_shorter_than_the_model(model):
    with pytest.raises(ModelError, match="the early-exit network has 2 layers, the model 2"):
        fit_early_exit(model, make_pairs(16, seed=1), layers=2, seed=1)


def relevant_pairs(count, seed):
    """A passage is relevant if it has a word of the query."""
    return [
        LabelledPair(pair.query, pair.passage, float(bool(set(pair.query.split()) & set(pair.passage.split()))))
        for pair in make_pairs(count, seed)
    ]


@pytest.mark.slow
def test_a_narrow_network_learns_what_judged_pairs_and_the_model_say(model, tmp_path):
    steps = []
    # Random networks are hard to learn from: smaller steps, and more of them.
    schedule = replace(NARROW, rate=3e-3, lists=4)
    network = fit_early_exit(
        model,
        relevant_pairs(4000, seed=1),
        layers=2,
        width=16,
        seed=1,
        schedule=schedule,
        on_progress=lambda *step: steps.append(step),
    )
    assert (network.layers, network.width) == (2, 16)
    done, total = steps[-1]
    assert [step for step, _ in steps] == list(range(1, total + 1))
    assert done == total
    network.save(tmp_path)
    loaded = EarlyExitNetwork.load(tmp_path)
    assert (loaded.layers, loaded.width) == (2, 16)
    assert loaded.weights.keys() == network.weights.keys()


@pytest.mark.slow
def test_calibrate_fits_what_an_effort_needs(rerank, repository, model, tmp_path):
    corpus, own = repository / "sample_corpus", tmp_path / "own"
    shutil.copytree(model, own)
    assert EarlyExitNetwork.load(own).layers == 1
    yaml = (repository / "pipelines" / "bm25_rerank.yaml").read_text().replace(DEFAULT_MODEL, str(own))
    (tmp_path / "pipeline.yaml").write_text(yaml)
    done = rerank(
        "calibrate", corpus, "--pipeline", tmp_path / "pipeline.yaml", "--split", "test", "--candidates", 60, "--json"
    )
    if "ranks relevant passages below others" in done.stderr:
        pytest.fail("the model of this seed cannot be calibrated: choose another one")
    assert done.returncode == 0, done.stderr
    lines = json.loads(done.stdout)
    assert Calibration.load(own / "calibration.json").early_exit is not None
    counts = [int(lines[f"effort {effort}"].split()[0]) for effort in ("balanced", "fast")]
    assert 0 < counts[1] <= counts[0] <= 60
    CrossEncoderRanker(model=own, effort="fast").warm_up()
