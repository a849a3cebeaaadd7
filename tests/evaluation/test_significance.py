"""The paired tests: correct without a difference, sensitive to a real one, and equal to other implementations."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import bootstrap, permutation_test

from rerank_plugin.evaluation.significance import bootstrap_intervals, holm, randomisation_tests


def test_without_a_difference_five_in_a_hundred_tests_are_below_five_percent():
    """nDCG-like values of two equally good systems: many ties, many zeros."""
    rng = np.random.default_rng(1)
    values = np.round(rng.beta(0.6, 0.4, size=(2, 60, 500)), 1)
    p_values = randomisation_tests(values[1] - values[0], resamples=2000)
    assert 0.03 <= (p_values < 0.05).mean() <= 0.07


def test_a_real_difference_is_found():
    rng = np.random.default_rng(2)
    before = rng.beta(2, 2, size=(200, 50))
    after = np.clip(before + rng.normal(0.05, 0.15, size=before.shape), 0, 1)
    assert (randomisation_tests(after - before) < 0.05).mean() > 0.9


def test_p_values_are_those_of_scipy():
    rng = np.random.default_rng(3)
    differences = rng.normal(0.1, 0.4, size=(25, 6))
    ours = randomisation_tests(differences, resamples=20_000)
    for column, p in zip(differences.T, ours, strict=True):
        theirs = permutation_test((column,), np.mean, permutation_type="samples", n_resamples=20_000, rng=7).pvalue
        assert p == pytest.approx(theirs, abs=0.015)


def test_all_ties_are_no_difference():
    assert randomisation_tests(np.zeros((10, 2))).tolist() == [1.0, 1.0]


def test_the_sums_of_equal_differences_are_equal():
    """0.1 + 0.2 is not 0.3 in floats: patterns as extreme as the observed one must still count."""
    differences = np.array([[0.1], [0.2], [0.3]])
    # Of eight sign patterns two are as extreme as all plus: all plus and all minus.
    assert randomisation_tests(differences, resamples=40_000)[0] == pytest.approx(0.25, abs=0.01)


def test_intervals_are_those_of_scipy():
    values = np.random.default_rng(4).beta(2, 1, size=(80, 1))
    low, high = bootstrap_intervals(values)[:, 0]
    theirs = bootstrap((values[:, 0],), np.mean, method="percentile", n_resamples=10_000, rng=5).confidence_interval
    assert (low, high) == (pytest.approx(theirs.low, abs=0.005), pytest.approx(theirs.high, abs=0.005))


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.6, 0.9]) == [1.0, 1.0]
    assert holm([]) == []


@given(st.lists(st.floats(0.0001, 1.0), min_size=1, max_size=8))
def test_holm_keeps_the_order_and_never_lowers(p_values):
    corrected = holm(p_values)
    assert all(after >= before for before, after in zip(p_values, corrected, strict=True))
    assert max(corrected) <= 1
    order = np.argsort(p_values, kind="stable")
    assert all(a <= b for a, b in zip(np.array(corrected)[order], np.array(corrected)[order][1:], strict=False))
