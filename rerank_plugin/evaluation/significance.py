"""Statistical significance of differences between two systems: tests on per-query differences."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 10_000
SEED = 42
# Smaller differences are ties; sums of differences that are closer than this are equal.
TOLERANCE = 1e-9
# Random numbers drawn at once, which bounds the memory.
BLOCK = 4_000_000


def randomisation_tests(
    differences: NDArray[np.float64], *, resamples: int = RESAMPLES, seed: int = SEED
) -> NDArray[np.float64]:
    """
    Test whether means of paired differences are zero, by flipping signs at random.

    If two systems are equally good, each query's difference could just as well have the opposite sign. The p-value is the
    share of sign patterns whose mean is at least as far from zero as the observed one; the observed pattern counts as one
    (Smucker, Allan and Carterette, "A comparison of statistical significance tests for information retrieval evaluation",
    2007; Phipson and Smyth, "Permutation p-values should never be zero", 2010).

    :param differences: Shape (queries, tests): each column is a separate test.
    :param resamples: Number of sign patterns drawn.
    :param seed: Seed of the random numbers.
    :returns: Two-sided p-values, shape (tests,), above 0 and at most 1.
    """
    seen = np.abs(differences.sum(axis=0)) - TOLERANCE
    rng = np.random.default_rng(seed)
    extreme = np.zeros(differences.shape[1], dtype=np.int64)
    for size in _blocks(resamples, len(differences)):
        signs = rng.integers(0, 2, size=(size, len(differences)), dtype=np.int8) * 2.0 - 1.0
        extreme += (np.abs(signs @ differences) >= seen).sum(axis=0)
    p_values: NDArray[np.float64] = (extreme + 1) / (resamples + 1)
    return p_values


def bootstrap_intervals(
    values: NDArray[np.float64], *, level: float = 0.95, resamples: int = RESAMPLES, seed: int = SEED
) -> NDArray[np.float64]:
    """
    Estimate confidence intervals of means over queries with the percentile bootstrap (Efron, 1979).

    :param values: Shape (queries, columns).
    :param level: Share of the resampled means within an interval.
    :param resamples: Number of samples of the queries, with replacement.
    :param seed: Seed of the random numbers.
    :returns: Lower and upper ends, shape (2, columns).
    """
    rng = np.random.default_rng(seed)
    count = len(values)
    means = []
    for size in _blocks(resamples, count):
        # How often each sample contains each query: one matrix product then gives a sample's sums for all columns.
        drawn = rng.integers(0, count, size=(size, count)) + np.arange(size)[:, None] * count
        times = np.bincount(drawn.ravel(), minlength=size * count).reshape(size, count)
        means.append(times @ values / count)
    tails = [(1 - level) / 2, (1 + level) / 2]
    ends: NDArray[np.float64] = np.quantile(np.concatenate(means), tails, axis=0)
    return ends


def holm(p_values: Sequence[float]) -> list[float]:
    """
    Correct p-values for the number of tests (Holm, "A simple sequentially rejective multiple test procedure", 1979).

    The smallest is multiplied by the number of tests, the next by one less, and so on; none becomes smaller than the one
    before it. With a threshold of 0.05, at most 5 % of the families of tests then have a false positive.

    :param p_values: The p-values, in any order.
    :returns: The corrected p-values in the same order, at most 1.
    """
    order = np.argsort(p_values, kind="stable")
    factors = np.arange(len(p_values), 0, -1)
    corrected = np.empty(len(p_values))
    corrected[order] = np.minimum(1.0, np.maximum.accumulate(np.asarray(p_values, dtype=np.float64)[order] * factors))
    return [float(p) for p in corrected]


def _blocks(resamples: int, width: int) -> list[int]:
    """Return the sizes of the portions in which resamples are drawn, so that memory stays bounded."""
    size = max(1, BLOCK // width)
    return [size] * (resamples // size) + ([resamples % size] if resamples % size else [])
