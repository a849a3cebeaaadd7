import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rerank_plugin.errors import InputFileError, InvalidValueError
from rerank_plugin.scoring.calibration import Calibration, calibration_error, fit_probabilities, sigmoid
from rerank_plugin.scoring.depth import DepthModel, fit_depth, shares_of_best, stopping_point
from rerank_plugin.scoring.exit_rule import ExitModel, expected_logits, fit_exit
from rerank_plugin.scoring.fusion import fuse, fusions_of

RNG = np.random.default_rng(5)


def sample(scale, bias, count=40_000):
    logits = RNG.normal(0, 3, count)
    return logits, RNG.random(count) < sigmoid(scale * logits + bias)


def test_platt_finds_slope_and_offset():
    logits, relevant = sample(0.5, -2.0)
    scale, bias = fit_probabilities(logits, relevant, method="platt")
    assert scale == pytest.approx(0.5, abs=0.02)
    assert bias == pytest.approx(-2.0, abs=0.06)


def test_a_temperature_has_no_offset():
    logits, relevant = sample(0.5, 0.0)
    scale, bias = fit_probabilities(logits, relevant, method="temperature")
    assert scale == pytest.approx(0.5, abs=0.02)
    assert bias == 0.0


def test_calibrated_scores_are_frequencies():
    logits, relevant = sample(0.4, -3.0)
    fitted = Calibration(*fit_probabilities(logits, relevant, method="platt"))
    assert calibration_error(sigmoid(logits), relevant) > 0.1
    assert calibration_error(fitted.probabilities(logits), relevant) < 0.01


def test_calibration_error_of_a_known_case():
    probabilities, relevant = np.array([0.05, 0.05, 0.95, 0.95]), np.array([False, True, True, True])
    assert calibration_error(probabilities, relevant) == pytest.approx((2 * 0.45 + 2 * 0.05) / 4)


def test_survives_saving(tmp_path):
    depth = DepthModel((0.1, 0.2, 0.3, 0.4), (0.1, 1.0), (0.99, 0.5))
    calibration = Calibration(0.5, -1.0, {"rrf": 0.7}, depth, ExitModel(0.3, depth), {"dataset": "x"})
    calibration.save(tmp_path / "new" / "calibration.json")
    assert Calibration.load(tmp_path / "new" / "calibration.json") == calibration


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"format": 1}', '{"format": 1, "depth": null, "what": 1}'])
def test_a_file_that_is_not_a_calibration_is_an_error(tmp_path, text):
    (tmp_path / "calibration.json").write_text(text)
    with pytest.raises(InputFileError, match=r"calibration\.json.*rerank calibrate"):
        Calibration.load(tmp_path / "calibration.json")


def test_a_calibration_of_a_newer_version_is_an_error(tmp_path):
    (tmp_path / "c.json").write_text(json.dumps({"format": 99}))
    with pytest.raises(InputFileError, match="newer version"):
        Calibration.load(tmp_path / "c.json")


def test_a_missing_calibration_is_an_error(tmp_path):
    with pytest.raises(InputFileError, match="cannot be read"):
        Calibration.load(tmp_path / "none.json")


def queries(count=300, candidates=96):
    """First stages that are right more often at the top: logits fall with the rank, with noise."""
    ranks = np.arange(candidates)
    logits = [(4 - 0.12 * ranks + RNG.normal(0, 1.5, candidates)).astype(np.float32) for _ in range(count)]
    return logits, [20.0 / (1 + 0.05 * ranks) for _ in range(count)]


@pytest.mark.slow
def test_depth_keeps_the_promised_share_of_the_results_on_other_queries():
    model = fit_depth(*queries(), top_k=10)
    logits, firsts = queries()
    for confidence in (0.98, 0.95, 0.9):
        rule = model.at(confidence)
        stops = [stopping_point(rule, values, scores, top_k=10) for values, scores in zip(logits, firsts, strict=True)]
        kept = np.mean(
            [len({*np.argsort(-v)[:10]} & {*np.argsort(-v[:stop])[:10]}) for v, stop in zip(logits, stops, strict=True)]
        )
        assert kept / 10 == pytest.approx(confidence, abs=0.04)
        assert np.mean(stops) < 96


@pytest.mark.slow
def test_less_confidence_never_scores_more():
    model = fit_depth(*queries(), top_k=10)
    logits, firsts = queries(50)
    depths = [
        np.mean([stopping_point(model.at(c), v, s, top_k=10) for v, s in zip(logits, firsts, strict=True)])
        for c in (0.99, 0.9, 0.7, 0.5, 0.2)
    ]
    assert depths == sorted(depths, reverse=True)
    assert depths[-1] < depths[0]


def test_depth_is_not_fitted_if_no_deep_candidate_ever_enters():
    falling = [np.arange(64, 0, -1).astype(np.float32)] * 5
    assert fit_depth(falling, [np.ones(64)] * 5, top_k=10) is None
    assert fit_depth([np.ones(5, dtype=np.float32)], [np.ones(5)], top_k=10) is None


@pytest.mark.parametrize(("first_scores", "shares"), [([8.0, 4.0, np.nan], [1, 0.5, 0]), ([np.nan, 1], [0, 0]), ([], [])])
def test_a_first_stage_without_scores_has_no_shares(first_scores, shares):
    assert shares_of_best(np.array(first_scores)).tolist() == shares


def looked_at(count=200, candidates=96, noise=1.0):
    """Queries with a first look: the logits with noise, and a first stage that is right more often at the top."""
    logits, _ = queries(count, candidates)
    return logits, [(values + RNG.normal(0, noise, candidates)).astype(np.float32) for values in logits]


def fitted(logits, looks):
    return fit_exit(logits, looks, [sigmoid(values) for values in logits], top_k=10)


def gain_of(order, gains):
    return gains[order[:10]] @ (1 / np.log2(np.arange(2, 12)))


def kept_and_scored(model, confidence, logits, looks):
    rule, kept, scored = model.at(confidence), [], []
    for values, own in zip(logits, looks, strict=True):
        signals = expected_logits(own, rule.rank_weight)
        order = np.argsort(-signals, kind="stable")
        stop = stopping_point(rule.depth, values[order], signals[order], top_k=10)
        early = order[:stop][np.argsort(-values[order[:stop]])]
        kept.append(gain_of(early, sigmoid(values)) / gain_of(np.argsort(-values), sigmoid(values)))
        scored.append(stop)
    return np.mean(kept), np.mean(scored)


@pytest.mark.slow
def test_early_exit_keeps_the_promised_share_of_the_gain_on_other_queries():
    model = fitted(*looked_at())
    for confidence in (0.98, 0.95, 0.85):
        kept, scored = kept_and_scored(model, confidence, *looked_at())
        assert kept >= confidence - 0.01
        assert scored < 96


@pytest.mark.slow
def test_a_worse_first_look_makes_more_work():
    def looked_at_in_any_order(noise):
        logits = [RNG.normal(-3, 2, 96).astype(np.float32) for _ in range(200)]
        return logits, [(values + RNG.normal(0, noise, 96)).astype(np.float32) for values in logits]

    sharp, vague = (
        kept_and_scored(fitted(*looked_at_in_any_order(noise)), 0.98, *looked_at_in_any_order(noise))[1]
        for noise in (0.3, 3.0)
    )
    assert sharp < vague


def test_a_first_look_that_tells_nothing_is_not_used():
    logits, _ = queries(20)
    assert fitted(logits, [-values for values in logits]) is None
    assert fitted([], []) is None


@pytest.mark.parametrize("confidence", [0.0, 1.0, -1, 2])
def test_a_confidence_out_of_range_is_an_error(confidence):
    with pytest.raises(InvalidValueError, match="between 0 and 1"):
        DepthModel((0.0,), (1.0,), (0.5,)).at(confidence)


distinct = st.lists(st.floats(-50, 50), min_size=1, max_size=20, unique=True)


@given(distinct, st.sampled_from(["rrf", "linear", "log_linear"]))
def test_a_weight_of_one_is_the_second_stage_and_of_zero_the_first(values, method):
    logits = np.array(values, dtype=np.float32)
    ranks, firsts = np.arange(1, len(logits) + 1), np.linspace(9, 1, len(logits))
    alone = fuse(method, 1.0, logits, first_ranks=ranks, first_scores=firsts)
    assert (np.diff(alone[np.argsort(-logits, kind="stable")]) <= 0).all()
    first = fuse(method, 0.0, logits, first_ranks=ranks, first_scores=firsts)
    assert (np.diff(first) <= 0).all()


def test_fusions_of_a_known_case():
    logits, ranks, firsts = np.array([1.0, 3.0, 2.0], dtype=np.float32), np.arange(1, 4), np.array([10.0, 5.0, 0.0])
    expected = [0.5 / (60 + second) + 0.5 / (60 + first) for second, first in ((3, 1), (1, 2), (2, 3))]
    np.testing.assert_allclose(fuse("rrf", 0.5, logits, first_ranks=ranks, first_scores=firsts), expected)
    linear = fuse("linear", 0.25, logits, first_ranks=ranks, first_scores=firsts)
    np.testing.assert_allclose(linear, [0.75, 0.25 + 0.375, 0.125])
    firsts = np.array([math.e, 1.0, math.e**-2])
    log_linear = fuse("log_linear", 0.25, logits, first_ranks=ranks, first_scores=firsts)
    np.testing.assert_allclose(log_linear, [1.0, 3.0 - 3 * 1.0, 2.0 - 3 * 3.0])


@given(distinct, st.floats(0.01, 1000))
def test_the_unit_of_the_first_stage_changes_nothing_in_a_log_linear_fusion(values, unit):
    logits = np.array(values, dtype=np.float32)
    ranks, firsts = np.arange(1, len(logits) + 1), np.linspace(9, 1, len(logits))
    one, other = (
        fuse("log_linear", 0.5, logits, first_ranks=ranks, first_scores=scores) for scores in (firsts, unit * firsts)
    )
    np.testing.assert_allclose(one, other, rtol=1e-6)


def test_a_log_linear_fusion_changes_what_the_model_is_unsure_of_and_nothing_else():
    ranks, firsts = np.arange(1, 3), np.array([8.0, 4.0])
    order = lambda *logits: fuse(  # noqa: E731
        "log_linear", 0.5, np.array(logits, dtype=np.float32), first_ranks=ranks, first_scores=firsts
    ).argmax()
    assert order(1.0, 1.5) == 0, "the first stage prefers the first two to one, which is more than the model's half a logit"
    assert order(1.0, 2.0) == 1


def test_the_fusions_that_scores_of_a_first_stage_allow():
    assert fusions_of(np.array([1.0, np.nan])) == ("rrf",)
    assert fusions_of(np.array([1.0, -0.5])) == ("rrf", "linear", "log_linear")


@given(st.floats(min_value=-700, max_value=700))
def test_agrees_with_the_definition(logit):
    value = float(sigmoid(np.array([logit]))[0])
    assert math.isclose(value, 1.0 / (1.0 + math.exp(-logit)), rel_tol=1e-12)


def test_distinct_large_logits_stay_distinct():
    scores = sigmoid(np.array([18.0, 19.0], dtype=np.float32))
    assert scores.dtype == np.float64
    assert scores[0] < scores[1] < 1.0


def test_extreme_logits_do_not_overflow():
    with np.errstate(all="raise", under="ignore"):
        assert sigmoid(np.array([-1e6, 1e6])).tolist() == [0.0, 1.0]


@pytest.mark.parametrize(
    "facts", [{"scale": float("nan")}, {"bias": float("inf")}, {"scale": "1"}, {"fusion_weights": {"rrf": 1.5}}]
)
def test_a_calibration_with_invalid_numbers_is_refused(tmp_path, facts):
    with pytest.raises(InvalidValueError):
        Calibration(**facts)
    file = tmp_path / "calibration.json"
    Calibration().save(file)
    file.write_text(json.dumps({**json.loads(file.read_text()), **facts}))
    with pytest.raises(InputFileError, match="is not a calibration"):
        Calibration.load(file)
