"""Early-exit networks of small models."""

from pathlib import Path

import numpy as np
import torch
from sentence_transformers import CrossEncoder

from rerank_plugin.scoring.early_exit import EarlyExitNetwork, narrow, own_weights, shorten


def early_exit_of(folder: Path, *, layers: int = 1, seed: int = 3) -> EarlyExitNetwork:
    """Return the first layers of a model, with a classifier of random weights."""
    network = shorten(CrossEncoder(str(folder), device="cpu"), layers)
    weights = {name: weight.float().numpy() for name, weight in own_weights(network).items()}
    random = np.random.default_rng(seed).normal(size=weights["classifier.weight"].shape)
    return EarlyExitNetwork(layers, {**weights, "classifier.weight": random.astype(np.float32)})


def narrow_exit_of(folder: Path, *, width: int = 16, seed: int = 3) -> EarlyExitNetwork:
    """Return a narrow network of random weights, whose logits lie far apart."""
    torch.manual_seed(seed)
    network = narrow(CrossEncoder(str(folder), device="cpu"), 2, width)
    network.base_model.embeddings.start_from_words()
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.requires_grad and parameter.ndim > 1:
                parameter.normal_(std=0.5)
    return EarlyExitNetwork(2, {name: weight.float().numpy() for name, weight in own_weights(network).items()}, width)
