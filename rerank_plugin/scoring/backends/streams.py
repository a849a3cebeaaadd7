"""How many batches at once a machine scores fastest: tried once for each model, and kept."""

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from rerank_plugin.files import replace_file

# Without a trial: more streams would need more batches than a hundred passages give.
USUAL_MOST = 4
# A trial takes no longer: large models, whose batches are long, gain least from several at once.
TRIAL_SECONDS = 2.0
ROUNDS = 3
# The usual number stays unless another takes less time by so much: neighbours disturb a trial.
LEAST_GAIN = 0.05


@dataclass(frozen=True)
class StreamFacts:
    """
    What the choice depends on.

    :param processor: Name of the processor.
    :param threads: Threads of the backend.
    :param runtime: Name, version and precision of what computes.
    """

    processor: str
    threads: int
    runtime: str


def stream_counts(threads: int) -> list[int]:
    """Return the numbers of streams that are tried with so many threads, lowest first: powers of two, and one a thread."""
    return sorted({*(1 << power for power in range(threads.bit_length())), threads})


def usual_streams(threads: int) -> int:
    """Return the number of streams where none was tried: one a thread, but at most `USUAL_MOST`."""
    return min(threads, USUAL_MOST)


def choose_streams(
    file: Path, facts: StreamFacts, seconds_of: Callable[[int], float], expected_seconds: Callable[[], float]
) -> int:
    """
    Return the number of streams that is kept in a file; if there is none, try all that are possible, and keep the fastest.

    :param file: The file. One that cannot be read or written is as good as none; one with other facts is replaced.
    :param facts: What the choice depends on.
    :param seconds_of: Scores the same batches in so many streams, and returns how long it took.
    :param expected_seconds: Returns how long one such run takes, roughly; only asked before a trial. If that would take more
        than `TRIAL_SECONDS`, there is none, and nothing is kept.
    :returns: The number of streams.
    """
    usual, possible = usual_streams(facts.threads), stream_counts(facts.threads)
    kept = _read(file, facts)
    if kept in possible:
        return kept
    if expected_seconds() * len(possible) * (ROUNDS + 1) > TRIAL_SECONDS:
        return usual
    chosen = fastest(possible, seconds_of, usual=usual)
    try:
        with replace_file(file) as stream:
            json.dump({**asdict(facts), "streams": chosen}, stream)
    except OSError:
        pass  # a cache that cannot be written: it is tried again next time
    return chosen


def fastest(counts: Sequence[int], seconds_of: Callable[[int], float], *, usual: int) -> int:
    """
    Try numbers of streams in turn, and return the fastest one.

    :param counts: The numbers.
    :param seconds_of: See `choose_streams`.
    :param usual: Returned unless another takes `LEAST_GAIN` less time.
    """
    for count in counts:  # the first run of each compiles and is not counted
        seconds_of(count)
    best = dict.fromkeys(counts, float("inf"))
    for _ in range(ROUNDS):
        for count in counts:
            best[count] = min(best[count], seconds_of(count))
    winner = min(counts, key=best.__getitem__)
    return winner if best[winner] < best[usual] * (1 - LEAST_GAIN) else usual


def _read(file: Path, facts: StreamFacts) -> int | None:
    try:
        kept = json.loads(file.read_text(encoding="utf-8"))
        streams = kept.pop("streams")
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
    return streams if kept == asdict(facts) and isinstance(streams, int) else None
