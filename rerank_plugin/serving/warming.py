"""Preparing a model: libraries compile their kernels for a shape when they first see it."""

from collections.abc import Callable, Sequence

# Texts and words of each: a single short text up to a batch of long ones. One comes twice, as the speed of a model is
# learned from shapes that it has seen before.
USUAL_SHAPES = ((1, 12), (10, 40), (32, 90), (16, 350), (10, 40))


def prepare(score: Callable[[str, Sequence[str]], object]) -> None:
    """
    Score texts of the usual shapes.

    :param score: Scores texts for a query.
    """
    for texts, words in USUAL_SHAPES:
        score("what is prepared here", ["word " * words] * texts)
