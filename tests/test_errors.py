"""The reason that another library's error gives, on one line."""

import pytest

from rerank_plugin.errors import LONGEST_REASON, reason_of


class UnprintableError(Exception):
    def __str__(self):
        raise RuntimeError("no")


@pytest.mark.parametrize(
    ("error", "reason", "named"),
    [
        (ValueError("two\n  lines"), "two lines", "ValueError: two lines"),
        (ValueError(" "), "ValueError", "ValueError"),
        (UnprintableError("x"), "UnprintableError", "UnprintableError"),
    ],
)
def test_a_reason_is_one_line_and_never_empty(error, reason, named):
    assert reason_of(error) == reason
    assert reason_of(error, named=True) == named


def test_a_cut_reason_says_so():
    assert reason_of(ValueError("x" * (LONGEST_REASON + 1))) == "x" * LONGEST_REASON + "..."
    assert reason_of(ValueError("x" * LONGEST_REASON)) == "x" * LONGEST_REASON
