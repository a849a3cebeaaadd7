"""An early-exit head for a trained model: it learns from the model's own logits what the first layers know already."""

import random
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray

from rerank_plugin.scoring.early_exit import EarlyExitHead
from rerank_plugin.training.data.pairs import LabelledPair

if TYPE_CHECKING:
    from sentence_transformers import CrossEncoder

SAMPLE = 4000
RIDGE = 10.0
PAIRS_AT_ONCE = 32


def add_exit_head(
    model: "CrossEncoder", pairs: Sequence[LabelledPair], folder: Path, *, layer: int, seed: int
) -> EarlyExitHead:
    """
    Fit a linear head on the first token after some layers to the logits of the whole model, and save it with the model.

    The fit is ridge regression (in closed form) on up to 4,000 of the training pairs: their labels are not looked at.

    :param model: The trained model.
    :param pairs: The training pairs.
    :param folder: The model's folder.
    :param layer: Layers that are computed before the head.
    :param seed: Of the draw of pairs.
    :returns: The head.
    """
    draw = random.Random(seed)  # noqa: S311 - a sample, not a secret
    sample = draw.sample(list(pairs), min(SAMPLE, len(pairs)))
    sample.sort(key=lambda pair: len(pair.query) + len(pair.passage))
    states, logits = _look(model.eval(), sample, layer)
    x = np.hstack([states, np.ones((len(states), 1))]).astype(np.float64)
    weights = np.linalg.solve(x.T @ x + RIDGE * np.eye(x.shape[1]), x.T @ logits)
    head = EarlyExitHead(layer, weights[:-1].astype(np.float32), float(weights[-1]))
    head.save(folder)
    return head


def _look(
    model: "CrossEncoder", pairs: Sequence[LabelledPair], layer: int
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """First tokens after the layer, shape (pairs, hidden), and logits of the whole model, shape (pairs,)."""
    import torch

    network, tokenizer = cast("Any", model[0]).model, cast("Any", model).tokenizer
    states, logits = [], []
    for start in range(0, len(pairs), PAIRS_AT_ONCE):
        part = pairs[start : start + PAIRS_AT_ONCE]
        inputs = tokenizer(
            [pair.query for pair in part],
            [pair.passage for pair in part],
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
