import subprocess
import sys

import pytest

from rerank_plugin import RankedText, rank
from rerank_plugin.errors import InvalidValueError

TEXTS = ["Coffee and tea are drinks.", "The red fox jumps over the old dog.", "", "The sky is blue."]


@pytest.fixture
def small(cross_encoder):
    return {"model": cross_encoder, "backend": "torch"}


def test_results_are_positions_scores_and_texts_best_first(small):
    results = rank("red fox", TEXTS, **small)
    assert all(isinstance(result, RankedText) and result.text == TEXTS[result.index] for result in results)
    assert sorted(result.index for result in results) == [0, 1, 2, 3]
    assert [result.score for result in results] == sorted((result.score for result in results), reverse=True)
    assert rank("red fox", iter(TEXTS), top_k=2, **small) == results[:2]
    assert rank("red fox", [], **small) == []


def test_equal_texts_are_all_kept_in_their_order(small):
    results = rank("red fox", ["The sky is blue."] * 12, **small)
    assert [result.index for result in results] == list(range(12))


def test_parameters_are_those_of_the_ranker(small):
    probability, logit = (rank("red fox", TEXTS[:1], scale_score=scale, **small)[0].score for scale in (True, False))
    assert 0 < probability < 1
    assert logit != probability
    assert rank("red fox", TEXTS, score_threshold=1.0, **small) == []


@pytest.mark.slow
def test_the_bundled_model_finds_the_answer():
    texts = ["Tea is a drink.", "Sourdough is acidic because bacteria make acids during a long rise.", "Bees make honey."]
    (best,) = rank("why does my bread smell sour", texts, top_k=1)
    assert best.index == 1


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("fox", "a single text"), "write [text] for a single one"),
        (("fox", ["a", None]), "texts[1] must be a string, got None"),
        (("fox", 5), "texts must be a list of texts, got 5"),
        ((" ", ["a"]), "query is empty"),
        ((None, ["a"]), "query must be a string"),
    ],
)
def test_a_wrong_argument_is_named(arguments, named):
    with pytest.raises(InvalidValueError) as error:
        rank(*arguments)
    assert named in str(error.value)


@pytest.mark.parametrize(("name", "value"), [("topk", 3), ("top_k", 0), ("precision", "x"), ("documents", [])])
def test_a_wrong_parameter_is_named(name, value):
    with pytest.raises(InvalidValueError, match=name):
        rank("fox", ["a"], **{name: value})


QUIET = """
import os
import sys
from rerank_plugin import rank

for precision in ("fp32", "int8"):
    rank("fox", ["a"], model=sys.argv[1], precision=precision)
from transformers.utils import logging
assert logging.get_verbosity() == logging.WARNING and logging.is_progress_bar_enabled()
assert not {"TRANSFORMERS_VERBOSITY", "HF_HUB_DISABLE_PROGRESS_BARS"} & set(os.environ)
"""


@pytest.mark.slow
def test_u10_first_use_is_quiet_and_leaves_the_settings_of_libraries_alone(cross_encoder, tmp_path, monkeypatch):
    monkeypatch.setenv("RERANK_PLUGIN_CACHE", str(tmp_path))
    monkeypatch.delenv("TRANSFORMERS_VERBOSITY", raising=False)
    command = [sys.executable, "-c", QUIET, str(cross_encoder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
