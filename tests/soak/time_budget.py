"""
A time budget under load: how far a call overruns it, and whether anything was scored.

Wants a quiet machine: a call that the system lets wait overruns its budget through no fault of its own.
"""

import os
import random
import signal
import statistics
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from haystack import Document
from soak.corpora import paragraph, ranker_model, sentence
from soak.processes import PROCESSES
from soak.report import Report, Size

from rerank_plugin import CrossEncoderRanker

_BUDGETS = (100, 200, 500, 1_000, 2_000)
_CALLERS = (1, 2, 4, 8, 16)
# Words of a document, and documents of that length in a call: from ten words to about a megabyte.
_SHAPES = ((10, 1_000), (100, 500), (1_000, 200), (10_000, 20), (180_000, 2))
# Allowance for the harness, thread switches and the clock.
_ALLOWANCE_MS = 50.0


@dataclass(frozen=True)
class _Call:
    """The outcome of one call; times in milliseconds."""

    budget: float
    callers: int
    words: int
    took: float
    scored: int
    state: str

    @property
    def overrun(self) -> float:
        return self.took - self.budget


def _documents(chance: random.Random, words: int, count: int) -> list[Document]:
    text = paragraph(chance, max(1, words // 9))
    # Different beginnings, so that no two texts are equal.
    return [Document(id=f"{i:05}", content=f"{sentence(chance, 5)} {text}", score=1 / (i + 1)) for i in range(count)]


def _milliseconds(ranker: CrossEncoderRanker, passages: int) -> float:
    """How long so many passages take, each as long as the model reads."""
    texts = [paragraph(random.Random(seed), 120)[:3_000] for seed in range(passages)]
    times = []
    for _ in range(6):
        began = time.perf_counter()
        ranker.logits("capital of france", texts)
        times.append((time.perf_counter() - began) * 1000)
    return statistics.median(times[1:])


def _call(ranker: CrossEncoderRanker, documents: list[Document], callers: int, words: int) -> list[_Call]:
    def one(number: int) -> _Call:
        began = time.perf_counter()
        result = ranker.run(query=f"capital of france {number}", documents=documents)
        took = (time.perf_counter() - began) * 1000
        status = result["status"]
        scored, state = _field(status, "scored"), _field(status, "state")
        return _Call(ranker.time_budget_ms or 0.0, callers, words, took, scored, state)

    with ThreadPoolExecutor(callers) as pool:
        return list(pool.map(one, range(callers)))


def _field(status: Any, name: str) -> Any:
    """Read a field of the status, whether it is a dictionary or an object."""
    return status[name] if isinstance(status, dict) else getattr(status, name)


def run(size: Size, folder: Path) -> Report:
    """
    Call with each budget, length and number of callers, warm; cold once for each budget; and stop a process in a call.

    At scale 1 the bundled model is used, below a half a tiny one.
    """
    report = Report("time_budget", "calls")
    model = "minilm-l6-en" if size.scale >= 0.5 else str(ranker_model(folder))
    chance, share = random.Random(size.seed), min(1.0, size.scale)
    plain = CrossEncoderRanker(model=model)
    plain.warm_up()
    # The most that is scored between two looks at the clock, and the least that a call without a result needs.
    batch = _milliseconds(plain, max(1, (plain.max_batch_tokens or 2_048) // 512))
    window = _milliseconds(plain, 1)
    plain.close()
    warm: list[_Call] = []
    cold: list[_Call] = []
    budgets = _BUDGETS[: size.of(len(_BUDGETS))]
    for budget in budgets:
        ranker = CrossEncoderRanker(model=model, time_budget_ms=budget)
        cold += _call(ranker, _documents(chance, 100, 50), 1, 100)
        for words, count in _SHAPES[: size.of(len(_SHAPES), least=3)]:
            documents = _documents(chance, words, max(2, round(count * share)))
            for callers in _CALLERS[: size.of(len(_CALLERS))]:
                warm += _call(ranker, documents, callers, words)
        _full_again(report, ranker, chance, budget, batch)
        ranker.close()
    report.tried = len(warm) + len(cold)
    _judge(report, warm, cold, batch, window)
    _stopped(report, size, model)
    return report


def _full_again(report: Report, ranker: CrossEncoderRanker, chance: random.Random, budget: float, batch: float) -> None:
    """After all the calls that ran out of time, a call with enough time is answered completely."""
    if 8 * batch > budget:
        return
    (call,) = _call(ranker, _documents(chance, 10, 4), 1, 10)
    report.tried += 1
    if call.state != "complete":
        report.fail(f"budget {budget}", f"after slow calls one of 4 short documents is {call.state}, {call.scored} scored")


def _judge(report: Report, warm: list[_Call], cold: list[_Call], batch: float, window: float) -> None:
    for call in warm:
        which = f"budget {call.budget:g} ms, {call.callers} callers, {call.words} words"
        if call.scored < 1:
            report.fail(which, f"nothing was scored in a warm call ({call.state}, {call.took:.0f} ms)")
        # A call without a result is not refused its first window, and waits for those of the calls that came before it.
        allowed = batch + window * (call.callers - 1) + _ALLOWANCE_MS
        if call.overrun > allowed:
            report.fail(which, f"overrun {call.overrun:.0f} ms, allowed {allowed:.0f} (one window takes {window:.0f})")
    for callers in sorted({call.callers for call in warm}):
        overruns = [call.overrun for call in warm if call.callers == callers]
        report.figures[f"overrun, {callers} callers"] = (
            f"median {statistics.median(overruns):.0f} ms, most {max(overruns):.0f} ms, {max(overruns) / batch:.1f} batches"
        )
    report.figures["overrun, cold"] = f"most {max(call.overrun for call in cold):.0f} ms, loading not counted by the budget"
    report.figures["one batch"] = f"{batch:.0f} ms, one window {window:.0f} ms"


def _serve(model: str, pipe: Any) -> None:
    """Rank at each word from the pipe, and say before and after."""
    ranker = CrossEncoderRanker(model=model, time_budget_ms=1_500)
    chance = random.Random(3)
    long, short = _documents(chance, 1_000, 200), _documents(chance, 10, 4)
    ranker.run(query="capital of france", documents=short)
    while (word := pipe.recv()) != "end":
        pipe.send("begun")
        status = ranker.run(query=f"{word} in france", documents=long if word == "stopped" else short)["status"]
        pipe.send((_field(status, "state"), _field(status, "scored")))


def _stopped(report: Report, size: Size, model: str) -> None:
    """A process is stopped for ten seconds during a call; the next call is answered completely."""
    mine, theirs = PROCESSES.Pipe()
    process = PROCESSES.Process(target=_serve, args=(model, theirs))
    process.start()
    try:
        for seed in size.seeds(5):
            report.tried += 1
            mine.send("stopped")
            mine.recv()
            time.sleep(random.Random(seed).uniform(0.05, 0.3))
            os.kill(process.pid or 0, signal.SIGSTOP)
            time.sleep(max(2.0, min(10.0, 10 * size.scale)))
            os.kill(process.pid or 0, signal.SIGCONT)
            if not mine.poll(60):
                report.fail(f"stopped {seed}", "no answer 60 s after the process went on")
                return
            mine.recv()
            mine.send("after")
            mine.recv()
            if not mine.poll(60):
                report.fail(f"stopped {seed}", "the call after the stopped one gave no answer in 60 s")
                return
            state, scored = mine.recv()
            if state != "complete" or scored != 4:
                report.fail(f"stopped {seed}", f"the call after the stopped one is {state}, {scored} of 4 scored")
        mine.send("end")
        process.join(30)
    finally:
        process.kill()
        process.join()
