import math

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from rerank_plugin.scoring.activation import sigmoid


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
