"""The card of a trained model: what it learned from, how, and how to use it."""

from collections.abc import Mapping, Sequence
from importlib.metadata import version

from rerank_plugin.training.config import TrainingConfig
from rerank_plugin.training.data import PairStatistics
from rerank_plugin.training.recipe import TrainingData

PACKAGES = ("sentence-transformers", "transformers", "torch")

CARD = """\
---
library_name: sentence-transformers
pipeline_tag: text-ranking
tags: [cross-encoder, reranker, rerank-plugin]
base_model: {base}
---

# {name}

A cross-encoder that scores how well a passage answers a query, for the second stage of a search. Trained with
`rerank train` (sentence-transformers' `CrossEncoderTrainer`, binary cross-entropy) from `{base}`.

## Use

```python
from rerank_plugin import CrossEncoderRanker

ranker = CrossEncoderRanker(model="path/of/this/folder")
```

It is a plain cross-encoder of sentence-transformers too: `CrossEncoder("path/of/this/folder").rank(query, passages)`.

## Training data

{pairs:,} labelled pairs, mean label {mean_label:.3f}, from {sources}.

| characters | min | mean | max |
| --- | ---: | ---: | ---: |
| query | {query[0]} | {query[1]:.1f} | {query[2]} |
| passage | {passage[0]} | {passage[1]:.1f} | {passage[2]} |

## Hyperparameters

{hyperparameters}

AdamW with betas 0.9 and 0.999 and gradients clipped at norm 1, linear schedule, {steps:,} steps.

## Training log

| step | epoch | loss |
| ---: | ---: | ---: |
{log}

## Versions

{versions}
"""


def model_card(
    *,
    name: str,
    config: TrainingConfig,
    sources: TrainingData,
    statistics: PairStatistics,
    steps: int,
    log: Sequence[Mapping[str, float]],
) -> str:
    """
    Write a card.

    :param name: Name of the model.
    :param config: The hyperparameters.
    :param sources: Where the pairs came from.
    :param statistics: What they look like.
    :param steps: Steps of the optimiser.
    :param log: Logged entries with `step`, `epoch` and `loss`.
    :returns: Markdown, with the front matter that the Hub reads.
    """
    return CARD.format(
        name=name,
        base=config.model,
        pairs=statistics.pairs,
        mean_label=statistics.mean_label,
        sources=_sources(sources),
        query=statistics.query_characters,
        passage=statistics.passage_characters,
        hyperparameters="\n".join(f"- {key}: {value}" for key, value in config.as_dict().items()),
        steps=steps,
        log="\n".join(f"| {entry['step']} | {entry['epoch']:.2f} | {entry['loss']:.4f} |" for entry in log),
        versions="\n".join(f"- {package} {version(package)}" for package in PACKAGES),
    )


def _sources(sources: TrainingData) -> str:
    names = ", ".join(f"`{path.name}`" for path in sources.paths)
    return f"{names} (split {sources.split}; negatives of BEIR collections from BM25, seed {sources.seed})"
