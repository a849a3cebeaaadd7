"""What an early-exit network learns from: lists of passages with the logits that it should give."""

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rerank_plugin.scoring.exit_rule import FIRST_LOOK_TOKENS
from rerank_plugin.scoring.loading.spec import ModelSpec
from rerank_plugin.scoring.scorer import ScorerSettings, load_scorer
from rerank_plugin.scoring.tokens import Pair, PairTokenizer
from rerank_plugin.scoring.types import ScoringRequest
from rerank_plugin.scoring.windows import WindowSettings
from rerank_plugin.training.data.pairs import LabelledPair

LIST_SIZE = 8
LISTS_AT_ONCE = 100  # tokenised, or asked the model, in one go
JUDGED_TOKENS = 112  # of a pair
LEAD = 5.0  # of a relevant passage's logit

PairList = list[LabelledPair]


@dataclass(frozen=True)
class Lesson:
    """
    Some passages of a query.

    :param pairs: Query and passage as token ids.
    :param logits: What the network should say, shape (pairs,).
    """

    pairs: list[Pair]
    logits: NDArray[np.float32]

    @property
    def tokens(self) -> int:
        """The length of its longest passage."""
        return max(len(pair.passage) for pair in self.pairs)


def make_lists(pairs: Sequence[LabelledPair], rng: random.Random) -> list[PairList]:
    """Return the pairs as lists of up to eight passages of a query, in random order."""
    by_query: dict[str, PairList] = {}
    for pair in pairs:
        by_query.setdefault(pair.query, []).append(pair)
    lists = [own[start : start + LIST_SIZE] for own in by_query.values() for start in range(0, len(own), LIST_SIZE)]
    rng.shuffle(lists)
    return lists


def sample(lists: Sequence[PairList], most: int) -> list[PairList]:
    """Return the first lists, with so many pairs or a few more."""
    chosen, total = [], 0
    for pairs in lists:
        if total >= most:
            break
        chosen.append(pairs)
        total += len(pairs)
    return chosen


def judged_lessons(lists: Sequence[PairList], tokenizer: PairTokenizer, most: int) -> list[Lesson]:
    """Take the labels for logits; lists whose labels are all the same teach nothing."""
    tokenizer = tokenizer.with_input_spec(replace(tokenizer.input_spec, max_length=min(JUDGED_TOKENS, most)))
    telling = [pairs for pairs in lists if len({pair.label for pair in pairs}) > 1]
    return [
        Lesson(_encode(pairs, tokenizer), np.array([LEAD * pair.label for pair in pairs], dtype=np.float32))
        for pairs in telling
    ]


def model_lessons(lists: Sequence[PairList], folder: Path, most: int) -> list[Lesson]:
    """Ask a model, which reads that many tokens of a pair at most, for its logits."""
    settings = ScorerSettings(windows=WindowSettings("truncate"), max_length=min(FIRST_LOOK_TOKENS, most))
    scorer = load_scorer(ModelSpec(str(folder)), settings)
    lessons = []
    for start in range(0, len(lists), LISTS_AT_ONCE):
        part = lists[start : start + LISTS_AT_ONCE]
        requests = [ScoringRequest(pairs[0].query, [pair.passage for pair in pairs]) for pairs in part]
        for pairs, scores in zip(part, scorer.score(requests), strict=True):
            lessons.append(Lesson(_encode(pairs, scorer.tokenizer), scores.logits))
    return lessons


def _encode(pairs: PairList, tokenizer: PairTokenizer) -> list[Pair]:
    query = tokenizer.encode_query(pairs[0].query)
    return [tokenizer.truncated(Pair(query, passage)) for passage in tokenizer.encode([pair.passage for pair in pairs])]
