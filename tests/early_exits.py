"""Early-exit networks of small models."""

from pathlib import Path

import numpy as np
from sentence_transformers import CrossEncoder

from rerank_plugin.scoring.early_exit import EarlyExitNetwork, own_weights, shorten


def early_exit_of(folder: Path, *, layers: int = 1, seed: int = 3) -> EarlyExitNetwork:
    """Return the first layers of a model, with a classifier of random weights."""
    network = shorten(CrossEncoder(str(folder), device="cpu"), layers)
    weights = {name: weight.float().numpy() for name, weight in own_weights(network).items()}
    random = np.random.default_rng(seed).normal(size=weights["classifier.weight"].shape)
    return EarlyExitNetwork(layers, {**weights, "classifier.weight": random.astype(np.float32)})
