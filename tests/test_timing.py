"""Timing components does not interfere with the user's tracing, and threads do not affect each other."""

import asyncio
import threading
from contextlib import contextmanager
from itertools import pairwise

import pytest
from haystack import Pipeline, component, tracing
from haystack.tracing.tracer import NullTracer, Span, Tracer

from rerank_plugin.pipelines.timing import stopwatch


class ListSpan(Span):
    def __init__(self):
        self.tags = {}

    def set_tag(self, key, value):
        self.tags[key] = value


class ListTracer(Tracer):
    """A user's tracer: records the spans, and the one that is open."""

    def __init__(self):
        self.names, self.open = [], []

    @contextmanager
    def trace(self, operation_name, tags=None, parent_span=None):
        self.names.append(operation_name)
        self.open.append(ListSpan())
        try:
            yield self.open[-1]
        finally:
            self.open.pop()

    def current_span(self):
        return self.open[-1] if self.open else None


@component
class Step:
    """Calls a function while it runs."""

    def __init__(self, action=None):
        self.action = action

    @component.output_types(n=int)
    def run(self, n: int):
        if self.action:
            self.action()
        return {"n": n + 1}


def pipeline(**actions):
    made = Pipeline()
    names = list(actions)
    for name, action in actions.items():
        made.add_component(name, Step(action))
    for first, second in pairwise(names):
        made.connect(f"{first}.n", f"{second}.n")
    return made


@pytest.fixture
def tracer():
    mine = ListTracer()
    tracing.enable_tracing(mine)
    yield mine
    tracing.disable_tracing()


def test_t13_the_users_tracer_goes_on_tracing(tracer):
    spans = []
    made = pipeline(a=lambda: spans.append(tracing.tracer.current_span()), b=None)
    with stopwatch() as watch:
        made.run({"a": {"n": 1}})
    assert list(watch.milliseconds) == ["a", "b"]
    assert tracer.names.count("haystack.component.run") == 2
    assert "haystack.pipeline.run" in tracer.names
    assert isinstance(spans[0], ListSpan)
    assert tracing.tracer.actual_tracer is tracer


def test_t13_threads_that_overlap_leave_the_tracer_as_it_was():
    before = tracing.tracer.actual_tracer
    entered, left = threading.Event(), threading.Event()
    watches = {}

    def first():
        with stopwatch() as watch:
            entered.wait(10)
            pipeline(first=None).run({"first": {"n": 1}})
        watches["first"] = watch.milliseconds
        left.set()

    def second():
        with stopwatch() as watch:
            entered.set()
            left.wait(10)  # the thread that started first ends first
            pipeline(second=None).run({"second": {"n": 1}})
        watches["second"] = watch.milliseconds

    threads = [threading.Thread(target=target) for target in (first, second)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {name: list(times) for name, times in watches.items()} == {"first": ["first"], "second": ["second"]}
    assert tracing.tracer.actual_tracer is before


def test_t13_many_threads_time_their_own_components(tracer):
    found = {}

    def search(number):
        made = pipeline(**{f"step{number}": None})
        for _ in range(20):
            with stopwatch() as watch:
                made.run({f"step{number}": {"n": 1}})
            found.setdefault(number, set()).add(tuple(watch.milliseconds))

    threads = [threading.Thread(target=search, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {number: {(f"step{number}",)} for number in range(8)}
    assert tracing.tracer.actual_tracer is tracer
    assert tracer.names.count("haystack.component.run") == 160


def test_t13_a_tracer_that_is_enabled_meanwhile_stays(tracer):
    later = ListTracer()
    with stopwatch():
        tracing.enable_tracing(later)
        with stopwatch() as watch:
            pipeline(a=None).run({"a": {"n": 1}})
        assert list(watch.milliseconds) == ["a"]
    assert tracing.tracer.actual_tracer is later
    assert "haystack.component.run" in later.names


def test_a_component_that_fails_is_timed_and_the_tracer_taken_off():
    def fail():
        raise RuntimeError("broken")

    with pytest.raises(Exception, match="broken"), stopwatch() as watch:
        pipeline(a=fail).run({"a": {"n": 1}})
    assert list(watch.milliseconds) == ["a"]
    assert isinstance(tracing.tracer.actual_tracer, NullTracer)


async def test_tasks_time_their_own_components():
    async def search(name):
        with stopwatch() as watch:
            await pipeline(**{name: None, "last": None}).run_async({name: {"n": 1}})
        return list(watch.milliseconds)

    assert await asyncio.gather(search("a"), search("b")) == [["a", "last"], ["b", "last"]]
    assert isinstance(tracing.tracer.actual_tracer, NullTracer)
