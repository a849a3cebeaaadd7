"""The losses: the dataset that each makes of labelled pairs, and the loss function."""

import random
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any

from rerank_plugin.errors import InvalidValueError
from rerank_plugin.training.data.pairs import POSITIVE, LabelledPair
from rerank_plugin.training.recipe.config import CLASSIC, LISTWISE, TrainingConfig

if TYPE_CHECKING:
    from datasets import Dataset
    from sentence_transformers import CrossEncoder

LOGIT_OF_A_POSITIVE = 6.0
PAIRS_PER_FORWARD_PASS = 64  # for the lists of a batch


def make_dataset(pairs: Sequence[LabelledPair], config: TrainingConfig) -> "Dataset":
    """
    Build the dataset of a loss.

    - `bce`: the pairs.
    - `listnet` and `lambda`: lists of at most `list_size` passages of a query, each with the query's best passage. The
      targets are the teacher scores if all passages of the query have one, else the labels.
    - `multiple_negatives`: each positive with `list_size` - 1 negatives.
    - `margin_mse`: each positive with each negative, and the difference of their teacher scores.

    :param pairs: The pairs, in any order.
    :param config: The hyperparameters.
    :returns: The columns that the loss reads.
    :raises InvalidValueError: If the loss has nothing to learn from the pairs.
    """
    from datasets import Dataset

    if config.loss == CLASSIC:
        rows: list[dict[str, Any]] = [
            {"sentence_0": pair.query, "sentence_1": pair.passage, "label": pair.label} for pair in pairs
        ]
    else:
        groups: dict[str, list[LabelledPair]] = {}
        for pair in pairs:
            groups.setdefault(pair.query, []).append(pair)
        rng = random.Random(config.seed)  # noqa: S311 - reproducible sampling, not secrets
        make = {"multiple_negatives": _triples, "margin_mse": _margins}.get(config.loss, _lists)
        rows = [row for group in groups.values() for row in make(group, config, rng)]
    if not rows:
        raise InvalidValueError(
            f"loss {config.loss} has nothing to learn: no query has passages with different labels; add negatives "
            "(`rerank mine`), or choose the loss bce"
        )
    return Dataset.from_list(rows)


def make_loss(model: "CrossEncoder", config: TrainingConfig) -> Any:
    """
    Build the loss function.

    :param model: The model to train.
    :param config: The hyperparameters.
    :returns: A loss of sentence-transformers.
    """
    import torch
    from sentence_transformers.cross_encoder import losses

    if config.loss == CLASSIC:
        weight = None if config.pos_weight is None else torch.tensor(config.pos_weight)
        return losses.BinaryCrossEntropyLoss(model, pos_weight=weight)
    if config.loss == "listnet":
        return losses.ListNetLoss(model, mini_batch_size=PAIRS_PER_FORWARD_PASS)
    if config.loss == "lambda":
        return losses.LambdaLoss(model, mini_batch_size=PAIRS_PER_FORWARD_PASS)
    if config.loss == "margin_mse":
        return losses.MarginMSELoss(model)
    # The library's defaults squash logits to 0..1 and scale them to 0..10; sigmoid scores then saturate near 0.
    return losses.MultipleNegativesRankingLoss(model, num_negatives=4, scale=1, activation_fn=torch.nn.Identity())


def needs_teacher(config: TrainingConfig) -> bool:
    """Return whether the loss reads teacher scores."""
    return config.loss == "margin_mse"


def labels_are_bounded(config: TrainingConfig) -> bool:
    """Return whether labels must be from 0 to 1. List losses take any numbers, such as a teacher's logits."""
    return config.loss not in LISTWISE


def _lists(group: list[LabelledPair], config: TrainingConfig, rng: random.Random) -> Iterator[dict[str, Any]]:
    """Put the query's best passage into each list, so that every list has something to prefer."""
    taught = all(pair.teacher_score is not None for pair in group)
    # ListNet's target is the softmax of the labels, which would be nearly flat for labels of 0 and 1.
    factor = LOGIT_OF_A_POSITIVE if config.loss == "listnet" and all(0 <= pair.label <= 1 for pair in group) else 1.0

    def target(pair: LabelledPair) -> float:
        return float(pair.teacher_score or 0.0) if taught else factor * pair.label

    if len({target(pair) for pair in group}) == 1:
        return
    best = max(group, key=target)
    others = [pair for pair in group if pair is not best]
    rng.shuffle(others)
    rest = iter(others)
    while chunk := list(islice(rest, config.list_size - 1)):
        members = [best, *chunk]
        yield {
            "query": group[0].query,
            "docs": [pair.passage for pair in members],
            "labels": [target(pair) for pair in members],
        }


def _triples(group: list[LabelledPair], config: TrainingConfig, rng: random.Random) -> Iterator[dict[str, Any]]:
    size = config.list_size
    negatives = [pair.passage for pair in group if pair.label < POSITIVE]
    for pair in group:
        if pair.label >= POSITIVE and negatives:
            # Every row needs the same columns, so too few negatives are repeated.
            sampled = rng.choices(negatives, k=size - 1) if len(negatives) < size - 1 else rng.sample(negatives, size - 1)
            yield {"query": pair.query, "positive": pair.passage} | {f"negative_{i}": text for i, text in enumerate(sampled)}


def _margins(group: list[LabelledPair], _config: TrainingConfig, _rng: random.Random) -> Iterator[dict[str, Any]]:
    for better in (pair for pair in group if pair.label >= POSITIVE):
        for worse in (pair for pair in group if pair.label < POSITIVE):
            margin = (better.teacher_score or 0.0) - (worse.teacher_score or 0.0)
            yield {"query": better.query, "positive": better.passage, "negative": worse.passage, "label": margin}
