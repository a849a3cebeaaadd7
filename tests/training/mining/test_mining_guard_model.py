"""A cross-encoder as guard: its opinions are probabilities."""

import pytest

from rerank_plugin.training.mining.guard_model import probabilities


def test_a_cross_encoder_guards_with_probabilities(cross_encoder):
    score = probabilities(str(cross_encoder))
    passages = ["a red fox", "the sky is blue", "where are the books"]
    values = score("red fox", passages)
    assert len(set(values)) == 3
    assert all(0 < value < 1 for value in values)
    assert score("red fox", passages[::-1]) == pytest.approx(values[::-1], abs=1e-4)
