"""The report of an attack, and its size."""

import time
from collections.abc import Iterator
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Failure:
    """
    Something that did not hold.

    :param reproduce: The seed or the case with which it happens again.
    :param what: What was expected and what happened instead.
    """

    reproduce: str
    what: str


@dataclass
class Report:
    """
    What an attack tried and what held.

    :param subject: Name of the attack.
    :param unit: What was counted, such as `kills` or `inputs`.
    :param tried: How many of them.
    :param failures: Those that did not hold.
    :param figures: Further figures, by name.
    :param rows: Lines of a table that says more.
    :param skipped: What could not be tried here, and why.
    """

    subject: str
    unit: str
    tried: int = 0
    failures: list[Failure] = field(default_factory=list)
    figures: dict[str, object] = field(default_factory=dict)
    rows: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)

    def fail(self, reproduce: object, what: str) -> None:
        """Record a failure; long texts are cut."""
        self.failures.append(Failure(str(reproduce), " ".join(what.split())[:500]))

    @property
    def held(self) -> bool:
        """Whether at least one case was tried and none failed."""
        return self.tried > 0 and not self.failures


@dataclass(frozen=True)
class Size:
    """
    How much of an attack is run.

    :param scale: 1 for the full numbers.
    :param seed: Where the random choices start.
    :param seconds: When to stop, counted from the making of this object.
    """

    scale: float = 1.0
    seed: int = 0
    seconds: float = float("inf")
    began: float = field(default_factory=time.monotonic)

    def of(self, full: int, least: int = 1) -> int:
        """Return a number scaled by the size of the attack, at least `least`."""
        return max(least, round(full * self.scale))

    def seeds(self, full: int, least: int = 1) -> Iterator[int]:
        """Yield the number of seeds that the scale determines, stopping when the time is up."""
        for number in range(self.of(full, least)):
            if number >= least and time.monotonic() - self.began > self.seconds:
                return
            yield self.seed + number
