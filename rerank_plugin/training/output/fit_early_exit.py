"""Fit an early-exit network: a shorter network that learns to give the trained model's own logits."""

import copy
import logging
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from rerank_plugin.progress import CountCallback
from rerank_plugin.scoring.backends.networks import encoder_layers
from rerank_plugin.scoring.early_exit import EarlyExitNetwork, own_weights, shorten
from rerank_plugin.scoring.exit_rule import FIRST_LOOK_TOKENS
from rerank_plugin.scoring.loading.location import locate
from rerank_plugin.scoring.loading.spec import ModelSpec
from rerank_plugin.scoring.loading.torch_model import load_in_torch
from rerank_plugin.scoring.scorer import ScorerSettings, load_scorer
from rerank_plugin.scoring.tokens import Pair, PairTokenizer
from rerank_plugin.scoring.types import ScoringRequest
from rerank_plugin.scoring.windows import WindowSettings
from rerank_plugin.training.cpu.packed_encoder import can_speed_up, speed_up
from rerank_plugin.training.data.pairs import LabelledPair
from rerank_plugin.training.fitting.load import dropout_names
from rerank_plugin.training.fitting.processes import computes_in_bf16, on_cpu

logger = logging.getLogger(__name__)

# Pairs to learn from: a sample of many, or a few up to five times.
PAIRS_SEEN, MOST_EPOCHS = 120_000, 5
LIST_SIZE = 8
LISTS_AT_ONCE = 6
RATE, WARM_UP_STEPS = 3e-4, 60
# Lists that are not learned from, but tell whether it has learned: what a first look needs at least.
HELD_OUT, LEAST_CORRELATION = 60, 0.3
DISTANCE = 0.1  # weight of the squared distance beside the KL divergence


@dataclass(frozen=True)
class Lesson:
    """
    Some passages of a query.

    :param pairs: Query and passage as token ids.
    :param logits: What the whole model says, shape (pairs,).
    """

    pairs: list[Pair]
    logits: NDArray[np.float32]

    @property
    def tokens(self) -> int:
        """The length of its longest passage."""
        return max(len(pair.passage) for pair in self.pairs)


def fit_early_exit(
    folder: Path,
    pairs: Sequence[LabelledPair],
    *,
    layers: int,
    seed: int,
    rate: float = RATE,
    on_progress: CountCallback | None = None,
) -> EarlyExitNetwork | None:
    """
    Train a shorter network to give the logits of a model.

    It starts from layers of the model, evenly spaced from the first to the last, and keeps the model's embeddings. Its loss
    is the KL divergence of the softmax over a query's passages (Hinton et al., "Distilling the knowledge in a neural
    network", 2015) and a tenth of the squared distance of the logits. It sees 120,000 pairs: a sample of the training
    pairs, or all of them several times, but at most five. Their labels are not used.

    :param folder: The trained model, as it was saved.
    :param pairs: The training pairs.
    :param layers: Number of layers.
    :param seed: Seed of the sample of pairs, and of their order.
    :param rate: The highest learning rate.
    :param on_progress: Receives the steps done, and all steps.
    :returns: The early-exit network; `None`, and a warning, if it has not learned. Few layers of a deep model may not: three
        of twelve stayed at a correlation of 0.2 with the model.
    :raises ModelError: If the model has not the structure of BERT, or no more layers than that.
    """
    rng = random.Random(seed)  # noqa: S311 - a sample, not a secret
    model = load_in_torch(locate(ModelSpec(str(folder))))
    network = _shorter(model.cross_encoder, layers)
    tokenizer, lessons = _lessons(folder, _lists(pairs, rng), model.tokenizer.input_spec.max_length)
    count = min(HELD_OUT, len(lessons) // 10)
    held_out, lessons = lessons[:count], lessons[count:]
    # Lessons of about the same length share a batch.
    lessons.sort(key=lambda lesson: lesson.tokens)
    batches = [lessons[start : start + LISTS_AT_ONCE] for start in range(0, len(lessons), LISTS_AT_ONCE)]
    epochs = min(MOST_EPOCHS, max(1, round(PAIRS_SEEN / max(1, len(pairs)))))
    order = [batch for _ in range(epochs) for batch in rng.sample(batches, len(batches))]
    _train(network, tokenizer, order, rate, on_progress)
    correlation = _correlation(network, tokenizer, held_out)
    logger.info("The early-exit network's logits correlate by %.2f with the model's on lists held out", correlation)
    if correlation < LEAST_CORRELATION:
        logger.warning(
            "The early-exit network of %d layers has not learned (its logits correlate by %.2f with the model's) and is not "
            "kept: choose more layers, or give more pairs",
            layers,
            correlation,
        )
        return None
    weights = {name: weight.float().cpu().numpy() for name, weight in own_weights(network).items()}
    return EarlyExitNetwork(layers, weights)


def _shorter(model: Any, layers: int) -> Any:
    """Return a network of evenly spaced layers of the model, without dropout."""
    all_layers = list(encoder_layers(model[0].model) or [])
    network = shorten(model, layers)
    places = np.linspace(0, len(all_layers) - 1, layers).round().astype(int) if layers > 1 else [len(all_layers) - 1]
    network.base_model.encoder.layer = torch.nn.ModuleList([copy.deepcopy(all_layers[place]) for place in places])
    for name in dropout_names(network.config.to_dict()):
        setattr(network.config, name, 0.0)
    for module in network.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    for name, parameter in network.named_parameters():
        parameter.requires_grad = ".embeddings." not in name
    return network


def _lists(pairs: Sequence[LabelledPair], rng: random.Random) -> list[tuple[str, list[str]]]:
    """Return a sample of the pairs as lists of up to eight passages of a query."""
    by_query: dict[str, list[str]] = {}
    for pair in pairs:
        by_query.setdefault(pair.query, []).append(pair.passage)
    lists = [
        (query, passages[start : start + LIST_SIZE])
        for query, passages in by_query.items()
        for start in range(0, len(passages), LIST_SIZE)
    ]
    rng.shuffle(lists)
    sample, total = [], 0
    for query, passages in lists:
        if total >= PAIRS_SEEN:
            break
        sample.append((query, passages))
        total += len(passages)
    return sample


def _lessons(folder: Path, lists: Sequence[tuple[str, list[str]]], most: int) -> tuple[PairTokenizer, list[Lesson]]:
    """Ask the model, which reads that many tokens at most, for its logits."""
    settings = ScorerSettings(windows=WindowSettings("truncate"), max_length=min(FIRST_LOOK_TOKENS, most))
    scorer = load_scorer(ModelSpec(str(folder)), settings)
    tokenizer = scorer.tokenizer
    lessons = []
    for start in range(0, len(lists), 100):
        part = lists[start : start + 100]
        for (query, passages), scores in zip(part, scorer.score([ScoringRequest(*row) for row in part]), strict=True):
            ids = tokenizer.encode_query(query)
            pairs = [tokenizer.truncated(Pair(ids, passage)) for passage in tokenizer.encode(passages)]
            lessons.append(Lesson(pairs, scores.logits))
    return tokenizer, lessons


def _train(
    network: Any,
    tokenizer: PairTokenizer,
    batches: Sequence[Sequence[Lesson]],
    rate: float,
    on_progress: CountCallback | None,
) -> None:
    if on_cpu() and can_speed_up(network.config):
        speed_up(network)
    network.train()
    device, half = network.device, computes_in_bf16()
    trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=rate, weight_decay=0.01, betas=(0.9, 0.98))
    for step, batch in enumerate(batches):
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=half):
            logits = network(**_features(tokenizer, batch, device)).logits.float().view(-1)
        loss = torch.stack(list(_losses(logits, batch))).mean()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        for group in optimizer.param_groups:
            group["lr"] = rate * min(1.0, (step + 1) / WARM_UP_STEPS) * (1 - step / len(batches))
        optimizer.step()
        optimizer.zero_grad()
        if on_progress is not None:
            on_progress(step + 1, len(batches))


def _correlation(network: Any, tokenizer: PairTokenizer, lessons: Sequence[Lesson]) -> float:
    """Return the mean correlation of its logits with the model's over the passages of a query; 1 if there is none."""
    network.eval()
    values = []
    for lesson in lessons:
        with torch.inference_mode():
            logits = network(**_features(tokenizer, [lesson], network.device)).logits.float().view(-1).cpu().numpy()
        if len(logits) > 2 and np.ptp(logits) > 0 and np.ptp(lesson.logits) > 0:
            values.append(float(np.corrcoef(logits, lesson.logits)[0, 1]))
    return float(np.mean(values)) if values else 1.0


def _features(tokenizer: PairTokenizer, batch: Sequence[Lesson], device: torch.device) -> dict[str, torch.Tensor]:
    pairs = [pair for lesson in batch for pair in lesson.pairs]
    features = tokenizer.features(pairs, width=max(map(tokenizer.length, pairs)))
    return {name: torch.from_numpy(values).to(device) for name, values in features.items()}


def _losses(logits: torch.Tensor, batch: Sequence[Lesson]) -> Iterator[torch.Tensor]:
    start = 0
    for lesson in batch:
        own = logits[start : start + len(lesson.pairs)]
        wanted = torch.from_numpy(lesson.logits).to(own.device)
        start += len(lesson.pairs)
        order = functional.kl_div(own.log_softmax(0), wanted.softmax(0), reduction="sum")
        yield order + DISTANCE * functional.mse_loss(own, wanted)
