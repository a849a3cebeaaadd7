"""A cross-encoder's opinion of candidates, for the margins."""

from collections.abc import Callable, Sequence

import numpy as np


def probabilities(model: str) -> Callable[[str, Sequence[str]], list[float]]:
    """
    Load a cross-encoder.

    :param model: Bundled name, folder or Hub id.
    :returns: What gives the sigmoid of its logits, so that margins mean the same whatever the size of its logits.
    :raises ModelError: If it cannot be loaded.
    """
    from rerank_plugin.components import CrossEncoderRanker

    ranker = CrossEncoderRanker(model=model)
    ranker.warm_up()

    def score(query: str, passages: Sequence[str]) -> list[float]:
        logits = np.asarray(ranker.logits(query, passages), dtype=np.float64)
        return [float(value) for value in 1 / (1 + np.exp(-logits))]

    return score
