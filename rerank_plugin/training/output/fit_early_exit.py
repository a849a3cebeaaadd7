"""Fit an early-exit head: a linear layer that predicts the trained model's own logits from its first layers."""

import random
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray

from rerank_plugin.scoring.early_exit import EarlyExitHead
from rerank_plugin.training.data.pairs import LabelledPair

if TYPE_CHECKING:
    from sentence_transformers import CrossEncoder

MOST_PAIRS = 4000
RIDGE = 10.0
FORWARD_BATCH = 32


def fit_early_exit(model: "CrossEncoder", pairs: Sequence[LabelledPair], *, layer: int, seed: int) -> EarlyExitHead:
    """
    Fit a linear head on the first token's state after a layer to the logits of the whole model.

    The fit is ridge regression (closed form) on up to 4,000 of the training pairs; their labels are not used.

    :param model: The trained model.
    :param pairs: The training pairs.
    :param layer: Number of layers before the head.
    :param seed: Seed of the sample of pairs.
    :returns: The head.
    """
    rng = random.Random(seed)  # noqa: S311 - a sample, not a secret
    sample = rng.sample(list(pairs), min(MOST_PAIRS, len(pairs)))
    sample.sort(key=lambda pair: len(pair.query) + len(pair.passage))
    states, logits = _states_and_logits(model.eval(), sample, layer)
    x = np.hstack([states, np.ones((len(states), 1))]).astype(np.float64)
    weights = np.linalg.solve(x.T @ x + RIDGE * np.eye(x.shape[1]), x.T @ logits)
    return EarlyExitHead(layer, weights[:-1].astype(np.float32), float(weights[-1]))


def _states_and_logits(
    model: "CrossEncoder", pairs: Sequence[LabelledPair], layer: int
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the first tokens' states after the layer, shape (pairs, hidden), and the logits, shape (pairs,)."""
    import torch

    network, tokenizer = cast("Any", model[0]).model, cast("Any", model).tokenizer
    states, logits = [], []
    for start in range(0, len(pairs), FORWARD_BATCH):
        batch = pairs[start : start + FORWARD_BATCH]
        inputs = tokenizer(
            [pair.query for pair in batch],
            [pair.passage for pair in batch],
            truncation=True,
            max_length=model.max_seq_length,
            padding=True,
            return_tensors="pt",
        ).to(model.device)
        with torch.inference_mode():
            output = network(**inputs, output_hidden_states=True)
        states.append(output.hidden_states[layer][:, 0].float().cpu().numpy())
        logits.append(output.logits[:, 0].float().cpu().numpy())
    return np.concatenate(states), np.concatenate(logits)
