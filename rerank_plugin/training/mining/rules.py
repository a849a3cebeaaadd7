"""The rules for sampling negatives."""

import re
from dataclasses import asdict, dataclass
from typing import Any

from rerank_plugin.checks import check_count, check_number
from rerank_plugin.errors import InvalidValueError

RANGE = re.compile(r"(\d+)-(\d+):(\d+)")


@dataclass(frozen=True)
class RankWindow:
    """
    A range of first-stage ranks, and how many negatives are sampled from it per positive.

    :param first: First rank, from 1.
    :param last: Last rank.
    :param count: Negatives per positive.
    """

    first: int
    last: int
    count: int

    def __post_init__(self) -> None:
        if not 1 <= self.first <= self.last or self.count < 0:
            raise InvalidValueError(f"ranks {self}: must be FIRST-LAST:COUNT with 1 <= FIRST <= LAST, such as 1-10:2")

    def __str__(self) -> str:
        return f"{self.first}-{self.last}:{self.count}"

    @classmethod
    def parse(cls, text: str) -> "RankWindow":
        """
        Read `FIRST-LAST:COUNT`.

        :raises InvalidValueError: If the text has another form.
        """
        if not (match := RANGE.fullmatch(text.strip())):
            raise InvalidValueError(f"ranks {text!r}: must be FIRST-LAST:COUNT, such as 1-10:2")
        return cls(*map(int, match.groups()))


DEFAULT_WINDOWS = (RankWindow(1, 10, 2), RankWindow(11, 60, 1))


@dataclass(frozen=True)
class MiningRules:
    """
    The number and sources of negatives per positive, and the guards.

    :param windows: How many negatives come from which ranks.
    :param random: Negatives from the whole corpus, without which a reranker forgets how to score off-topic passages.
    :param relative_margin: A negative must score at least this share below the lowest relevant passage: 0.05 leaves out
        passages that score above 95 % of it (the `TopK-PercPos` of NV-Retriever, arXiv:2407.15831). `None`: no such guard.
    :param absolute_margin: A negative must score this much below the lowest relevant passage. `None`: no such guard.
    :param answers: Leave out passages that contain an answer of the query (`metadata.answers` or `metadata.answer` of its
        line in queries.jsonl).
    :param near_duplicates: Leave out passages whose word trigrams have at least this Jaccard similarity with a relevant
        passage; `None`: no such guard.
    :param seed: Seed of all sampling.
    """

    windows: tuple[RankWindow, ...] = DEFAULT_WINDOWS
    random: int = 1
    relative_margin: float | None = None
    absolute_margin: float | None = None
    answers: bool = True
    near_duplicates: float | None = 0.8
    seed: int = 42

    def __post_init__(self) -> None:
        check_count("random", self.random, least=0)
        if self.random + sum(window.count for window in self.windows) == 0:
            raise InvalidValueError("the rules ask for no negatives: give --ranks, such as 1-10:2, or --random")
        for name in ("relative_margin", "near_duplicates"):
            value = getattr(self, name)
            if value is not None and not 0 < check_number(name, value) <= 1:
                raise InvalidValueError(f"{name} must be above 0 and at most 1, got {value}")
        if self.absolute_margin is not None:
            check_number("absolute_margin", self.absolute_margin, least=0)

    @property
    def depth(self) -> int:
        """The lowest rank that a negative may come from."""
        return max((window.last for window in self.windows), default=1)

    @property
    def has_margin(self) -> bool:
        """Whether a guard compares scores."""
        return self.relative_margin is not None or self.absolute_margin is not None

    def as_dict(self) -> dict[str, Any]:
        """Return the rules by name."""
        return {**asdict(self), "windows": [str(window) for window in self.windows]}
