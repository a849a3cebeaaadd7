"""Fit an early-exit network: a smaller network that learns to give the trained model's own logits."""

import copy
import logging
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn import functional

from rerank_plugin.progress import CountCallback
from rerank_plugin.scoring.backends.networks import encoder_layers
from rerank_plugin.scoring.early_exit import EarlyExitNetwork, narrow, own_weights, shorten
from rerank_plugin.scoring.loading.location import locate
from rerank_plugin.scoring.loading.spec import ModelSpec
from rerank_plugin.scoring.loading.torch_model import load_in_torch
from rerank_plugin.scoring.tokens import PairTokenizer
from rerank_plugin.training.cpu.packed_encoder import can_speed_up, speed_up
from rerank_plugin.training.data.pairs import LabelledPair
from rerank_plugin.training.fitting.load import dropout_names
from rerank_plugin.training.fitting.processes import computes_in_bf16, on_cpu
from rerank_plugin.training.output.lessons import Lesson, judged_lessons, make_lists, model_lessons, sample

logger = logging.getLogger(__name__)

# Lists that are not learned from, but tell whether it has learned: what a first look needs at least.
HELD_OUT, LEAST_CORRELATION = 60, 0.3
MOST_EPOCHS = 5


@dataclass(frozen=True)
class Schedule:
    """
    A part of the training.

    :param pairs: The largest sample of pairs.
    :param seen: Pairs seen in all; of a small sample, each at most five times.
    :param rate: The highest learning rate, from which it falls to 0.
    :param warm_up: Steps until it is reached.
    :param lists: Lists in a step.
    :param distance: Weight of the squared distance of the logits beside the KL divergence.
    """

    pairs: int
    seen: int
    rate: float
    warm_up: int
    lists: int
    distance: float


# A shorter network starts from layers of the model, a narrow one from nothing: judged pairs cost no logits of the model.
SHORTER = Schedule(pairs=120_000, seen=120_000, rate=3e-4, warm_up=60, lists=6, distance=0.1)
NARROW_JUDGED = Schedule(pairs=120_000, seen=120_000, rate=1.5e-3, warm_up=200, lists=24, distance=0.0)
NARROW = Schedule(pairs=12_000, seen=60_000, rate=5e-4, warm_up=60, lists=24, distance=0.1)


def fit_early_exit(
    folder: Path,
    pairs: Sequence[LabelledPair],
    *,
    layers: int,
    width: int | None = None,
    seed: int,
    schedule: Schedule | None = None,
    on_progress: CountCallback | None = None,
) -> EarlyExitNetwork | None:
    """
    Train a smaller network to give the logits of a model.

    Its loss is the KL divergence of the softmax over a query's passages (Hinton et al., "Distilling the knowledge in a
    neural network", 2015) and a tenth of the squared distance of the logits. A shorter network keeps the model's embeddings,
    starts from layers of the model, evenly spaced from the first to the last, and sees 120,000 pairs, whose labels are not
    used. A narrow one starts from the embeddings alone: it learns the order of up to 120,000 pairs from their labels first,
    and then the model's logits of 12,000, five times. Fewer pairs are seen several times, at most five.

    :param folder: The trained model, as it was saved.
    :param pairs: The training pairs.
    :param layers: Number of layers.
    :param width: Size of a token in the layers of a narrow network; `None`: a shorter network, of the model's own width.
    :param seed: Seed of the sample of pairs, and of their order.
    :param schedule: How it learns the model's logits; `None`: as above.
    :param on_progress: Receives the steps done, and all steps.
    :returns: The early-exit network; `None`, and a warning, if it has not learned. Few layers of a deep model may not: three
        of twelve stayed at a correlation of 0.2 with the model.
    :raises ModelError: If the model has not the structure of BERT, or no more layers than that; for a narrow network, if
        nothing separates the two texts of a pair.
    """
    rng = random.Random(seed)  # noqa: S311 - a sample, not a secret
    model = load_in_torch(locate(ModelSpec(str(folder))))
    network = _shorter(model.cross_encoder, layers) if width is None else _narrow(model.cross_encoder, layers, width, seed)
    if on_cpu() and can_speed_up(network.config):
        speed_up(network)
    last = schedule or (SHORTER if width is None else NARROW)
    most, lists = model.tokenizer.input_spec.max_length, make_lists(pairs, rng)
    lessons = model_lessons(sample(lists, last.pairs), folder, most)
    count = min(HELD_OUT, len(lessons) // 10)
    held_out, lessons = lessons[:count], lessons[count:]
    parts = [(last, lessons)]
    if width is not None:
        judged = judged_lessons(sample(lists[count:], NARROW_JUDGED.pairs), model.tokenizer, most)
        parts.insert(0, (NARROW_JUDGED, judged))
    ordered = [(part, _order(part, own, rng)) for part, own in parts]
    total, before = sum(len(steps) for _, steps in ordered), 0
    for part, steps in ordered:
        _train(network, model.tokenizer, steps, part, _counter(on_progress, before, total))
        before += len(steps)
    correlation = _correlation(network, model.tokenizer, held_out)
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
    return EarlyExitNetwork(layers, weights, width)


def _order(schedule: Schedule, lessons: Sequence[Lesson], rng: random.Random) -> list[list[Lesson]]:
    """Return the batches of all steps. Lessons of about the same length share one."""
    by_length = sorted(lessons, key=lambda lesson: lesson.tokens)
    batches = [by_length[start : start + schedule.lists] for start in range(0, len(by_length), schedule.lists)]
    pairs = sum(len(lesson.pairs) for lesson in lessons)
    epochs = min(MOST_EPOCHS, max(1, round(schedule.seen / max(1, pairs))))
    return [batch for _ in range(epochs) for batch in rng.sample(batches, len(batches))]


def _counter(on_progress: CountCallback | None, before: int, total: int) -> Callable[[int], None]:
    return lambda step: None if on_progress is None else on_progress(before + step, total)


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


def _narrow(model: Any, layers: int, width: int, seed: int) -> Any:
    """Return a narrow network whose projections start from the principal components of the model's embeddings."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = narrow(model, layers, width)
    network.base_model.embeddings.start_from_words()
    return network


def _train(
    network: Any,
    tokenizer: PairTokenizer,
    batches: Sequence[Sequence[Lesson]],
    schedule: Schedule,
    on_step: Callable[[int], None],
) -> None:
    network.train()
    device, half = network.device, computes_in_bf16()
    trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=schedule.rate, weight_decay=0.01, betas=(0.9, 0.98))
    for step, batch in enumerate(batches):
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=half):
            logits = network(**_features(tokenizer, batch, device)).logits.float().view(-1)
        loss = torch.stack(list(_losses(logits, batch, schedule.distance))).mean()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        for group in optimizer.param_groups:
            group["lr"] = schedule.rate * min(1.0, (step + 1) / schedule.warm_up) * (1 - step / len(batches))
        optimizer.step()
        optimizer.zero_grad()
        on_step(step + 1)


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


def _losses(logits: torch.Tensor, batch: Sequence[Lesson], distance: float) -> Iterator[torch.Tensor]:
    start = 0
    for lesson in batch:
        own = logits[start : start + len(lesson.pairs)]
        wanted = torch.from_numpy(lesson.logits).to(own.device)
        start += len(lesson.pairs)
        order = functional.kl_div(own.log_softmax(0), wanted.softmax(0), reduction="sum")
        yield order + distance * functional.mse_loss(own, wanted)
