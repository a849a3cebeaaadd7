"""Measure the speed of systems in turn, so that changes in the machine's speed affect all of them alike."""

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from statistics import median, quantiles

from haystack import Document

from rerank_plugin.evaluation.bench.material import Case
from rerank_plugin.evaluation.bench.systems import System

P95 = 18  # index among the 19 cut points of 20 quantiles
# Above this spread of what the first system takes for a token, the machine was doing something else as well.
NOISE = 0.2

Call = tuple[str, list[Document]]


@dataclass(frozen=True)
class Round:
    """
    The calls of a system in one round: one, or several at a time.

    :param tokens: Of all pairs, as the model reads them: truncated to its input length.
    :param total: Milliseconds from the beginning of the first call to the end of the last.
    :param calls: Milliseconds of each call.
    :param in_turn: Milliseconds of the same calls one after the other; `None` if there is only one.
    :param phases: Milliseconds by phase, all calls together; see `Ranked`.
    """

    tokens: int
    total: float
    calls: list[float]
    in_turn: float | None
    phases: dict[str, float]


@dataclass(frozen=True)
class SpeedRow:
    """
    The speed of a system in a case. Times are in milliseconds, of a call.

    :param case: Name of the case.
    :param system: Name of the system.
    :param median: The median.
    :param best: The shortest.
    :param p95: The 95th percentile.
    :param speed: Speed-up over the first system, by the medians of a round.
    """

    case: str
    system: str
    median: float
    best: float
    p95: float
    speed: float


@dataclass(frozen=True)
class WorkRow:
    """
    What a system does for its time.

    :param case: Name of the case.
    :param system: Name of the system.
    :param token: Microseconds for a token, median of the rounds.
    :param spread: Distance between the quartiles of that, as a share of the median: how much the machine's speed varied.
    :param phases: Shares of the time of a call by phase; see `Ranked`.
    :param in_turn: Time of the calls one after the other over their time together, by medians; `None` if there is only one.
    """

    case: str
    system: str
    token: float
    spread: float
    phases: dict[str, float]
    in_turn: float | None


def measure_speed(
    case: Case,
    systems: Sequence[System],
    *,
    rounds: int,
    callers: int,
    draw: Callable[[Case], Call],
    count_tokens: Callable[[Call], int],
    on_round: Callable[[], None],
) -> dict[str, list[Round]]:
    """
    Measure a type of call. A first round warms all systems up and is not counted.

    :param case: The type of call.
    :param systems: The systems, which are called in turn.
    :param rounds: Number of rounds.
    :param callers: Calls at a time.
    :param draw: Chooses query and passages of a call.
    :param count_tokens: Counts the tokens of a query with its passages.
    :param on_round: Called after each round of a system.
    :returns: The rounds of each system.
    """
    measured: dict[str, list[Round]] = {system.name: [] for system in systems}
    with ThreadPoolExecutor(callers) as pool:
        for number in range(rounds + 1):
            calls = [draw(case) for _ in range(callers)]
            tokens = sum(map(count_tokens, calls))
            for system in systems:
                measured_round = _round(system, calls, tokens, pool)
                if number:
                    measured[system.name].append(measured_round)
                on_round()
    return measured


def _round(system: System, calls: Sequence[Call], tokens: int, pool: ThreadPoolExecutor) -> Round:
    began = time.perf_counter()
    timed = list(pool.map(lambda call: _timed(system, call), calls))
    total = (time.perf_counter() - began) * 1000
    phases: dict[str, float] = {}
    for _, of_call in timed:
        for name, seconds in of_call.items():
            phases[name] = phases.get(name, 0.0) + seconds * 1000
    in_turn = None
    if len(calls) > 1:
        in_turn = sum(_timed(system, call)[0] for call in calls)
    return Round(tokens, total, [milliseconds for milliseconds, _ in timed], in_turn, phases)


def _timed(system: System, call: Call) -> tuple[float, dict[str, float]]:
    began = time.perf_counter()
    ranked = system.rank(*call)
    return (time.perf_counter() - began) * 1000, ranked.phases


def speed_rows(measured: dict[str, dict[str, list[Round]]]) -> list[SpeedRow]:
    """
    Summarise rounds.

    :param measured: Rounds by case and system.
    """
    rows = []
    for case, systems in measured.items():
        base = median(one.total for one in next(iter(systems.values())))
        for system, rounds in systems.items():
            calls = [milliseconds for one in rounds for milliseconds in one.calls]
            p95 = quantiles(calls, n=20, method="inclusive")[P95]
            speed = base / median(one.total for one in rounds)
            rows.append(
                SpeedRow(case, system, round(median(calls), 1), round(min(calls), 1), round(p95, 1), round(speed, 2))
            )
    return rows


def work_rows(measured: dict[str, dict[str, list[Round]]]) -> list[WorkRow]:
    """
    Tell what the time went into.

    :param measured: Rounds by case and system.
    """
    rows = []
    for case, systems in measured.items():
        for system, rounds in systems.items():
            tokens = [one.total * 1000 / one.tokens for one in rounds]
            low, middle, high = quantiles(tokens, n=4, method="inclusive")
            seconds = sum(sum(one.calls) for one in rounds)
            phases = {
                name: round(sum(one.phases.get(name, 0.0) for one in rounds) / seconds, 3) for name in rounds[0].phases
            }
            together = [one.in_turn for one in rounds if one.in_turn is not None]
            in_turn = round(median(together) / median(one.total for one in rounds), 2) if together else None
            rows.append(WorkRow(case, system, round(middle, 1), round((high - low) / middle, 3), phases, in_turn))
    return rows


def noise(rows: Sequence[WorkRow]) -> str | None:
    """
    Say whether the machine was too busy for the figures to be trusted.

    :param rows: What the systems did for their time; the first of each case is the baseline.
    :returns: A sentence; `None` if it was quiet.
    """
    baselines = {row.case: row for row in reversed(rows)}
    noisy = {case: row for case, row in reversed(baselines.items()) if row.spread > NOISE}
    if not noisy:
        return None
    worst = max(noisy.values(), key=lambda row: row.spread)
    return (
        f"The machine was busy with something else: the middle half of what {worst.system} took for a token spreads over "
        f"{worst.spread:.0%} of the median ({', '.join(noisy)}). Measure again when nothing else runs, or with more rounds."
    )
