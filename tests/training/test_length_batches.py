"""Length-grouped batches of the dataset of each loss: little of a batch is padding."""

import random

import pytest

from rerank_plugin.training.data.batches import LengthGroupedBatchSampler
from rerank_plugin.training.data.pairs import LabelledPair
from rerank_plugin.training.fitting.losses import make_dataset
from rerank_plugin.training.recipe.config import LOSSES, TrainingConfig, make_config

BATCH = 8


def pairs() -> list[LabelledPair]:
    """Queries whose passages are short, middling or long, in any order."""
    rng = random.Random(3)
    return [
        LabelledPair(f"query {query}", "word " * rng.randrange(length, 2 * length) + str(i), float(i == 0), float(i))
        for query in range(200)
        for length in [rng.choice((4, 40, 400))]
        for i in range(rng.randrange(3, 9))
    ]


def padded(dataset, batches: list[list[int]]) -> int:
    """Characters of all batches, each text filled up to the longest of its batch."""
    texts = [name for name in dataset.column_names if name not in ("label", "labels")]
    total = 0
    for batch in batches:
        lengths = []
        for position in batch:
            row = dataset[position]
            if "docs" in row:
                lengths += [len(row["query"]) + len(passage) for passage in row["docs"]]
            else:
                lengths.append(sum(len(row[name]) for name in texts))
        total += max(lengths) * len(lengths)
    return total


@pytest.mark.parametrize("loss", LOSSES)
def test_l10_batches_of_every_loss_have_rows_of_similar_length(loss):
    dataset = make_dataset(pairs(), TrainingConfig(loss=loss))
    sampler = LengthGroupedBatchSampler(dataset, BATCH, drop_last=False, valid_label_columns=["label", "labels"])
    batches = list(sampler)
    assert sorted(position for batch in batches for position in batch) == list(range(len(dataset)))
    order = [position for batch in batches for position in batch]
    random.Random(5).shuffle(order)
    shuffled = [order[start : start + BATCH] for start in range(0, len(order), BATCH)]
    assert padded(dataset, batches) < 0.75 * padded(dataset, shuffled)


def test_l10_the_preset_that_groups_by_length_learns_lists():
    config = make_config("best")
    assert (config.group_by_length, "docs" in make_dataset(pairs(), config).column_names) == (True, True)


def test_a_list_counts_by_its_longest_passage():
    from datasets import Dataset

    docs = [["x" * 9] * 2, ["x", "x" * 40], ["x" * 8] * 8, ["x" * 39]]
    dataset = Dataset.from_dict({"query": ["q"] * 4, "docs": docs, "labels": [[0.0]] * 4})
    sampler = LengthGroupedBatchSampler(dataset, 2, drop_last=False, valid_label_columns=["labels"])
    assert sorted(map(sorted, sampler)) == [[0, 2], [1, 3]]
