"""Timing the components of a pipeline through Haystack's tracing, without interfering with a user's tracer."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from haystack.tracing.tracer import Span, Tracer
from haystack.tracing.tracer import tracer as haystack_tracer

COMPONENT_RUN = "haystack.component.run"
COMPONENT_NAME = "haystack.component.name"


class Stopwatch:
    """
    Adds up the wall-clock time of each component.

    :param on_start: Called with the name of each component that begins to run.
    :ivar milliseconds: Total time of the runs so far, by the name of the component.
    """

    def __init__(self, on_start: Callable[[str], None] | None = None) -> None:
        self.milliseconds: dict[str, float] = {}
        self._on_start = on_start

    def start(self, name: str) -> None:
        """Report that a component begins to run."""
        if self._on_start is not None:
            self._on_start(name)

    def add(self, name: str, milliseconds: float) -> None:
        """Add the time of a run."""
        self.milliseconds[name] = self.milliseconds.get(name, 0.0) + milliseconds


# The context is that of a thread or an asyncio task, so that concurrent calls time only their own pipelines. Haystack
# copies the context to the threads in which it runs components.
_running: ContextVar[Stopwatch | None] = ContextVar("running", default=None)
_lock = threading.Lock()
_users = 0


class TimingTracer(Tracer):
    """
    Times components for the stopwatch of the current context, and delegates to the original tracer.

    :param inner: The user's tracer, or Haystack's null tracer.
    """

    def __init__(self, inner: Tracer) -> None:
        self.inner = inner

    @contextmanager
    def trace(
        self, operation_name: str, tags: dict[str, Any] | None = None, parent_span: Span | None = None
    ) -> Iterator[Span]:
        """
        Trace with the inner tracer; time the span if it is the run of a component.

        Components inside of a component, such as those of a SuperComponent, may have the same names as others outside: their
        time is part of its time.
        """
        watch = _running.get() if operation_name == COMPONENT_RUN else None
        if watch is None:
            with self.inner.trace(operation_name, tags=tags, parent_span=parent_span) as span:
                yield span
            return
        name = str((tags or {}).get(COMPONENT_NAME))
        watch.start(name)
        token = _running.set(None)
        with self.inner.trace(operation_name, tags=tags, parent_span=parent_span) as span:
            began = time.perf_counter()
            try:
                yield span
            finally:
                _running.reset(token)
                watch.add(name, (time.perf_counter() - began) * 1000)

    def current_span(self) -> Span | None:
        """Return the inner tracer's span."""
        return self.inner.current_span()


@contextmanager
def stopwatch(on_start: Callable[[str], None] | None = None) -> Iterator[Stopwatch]:
    """
    Time the components of the pipelines that run inside the `with` block, in this thread or asyncio task.

    While any stopwatch runs, Haystack's tracer is wrapped: existing tracing continues, and a tracer enabled meanwhile stays
    enabled. The last stopwatch to end removes the wrapper.

    :param on_start: Called with the name of each component that begins to run; `None`: as the stopwatch around this one.
    :returns: The stopwatch; read its `milliseconds` afterwards.
    """
    outer = _running.get()
    watch = Stopwatch(outer.start if on_start is None and outer is not None else on_start)
    _wrap_tracer()
    token = _running.set(watch)
    try:
        yield watch
    finally:
        _running.reset(token)
        _unwrap_tracer()


def _wrap_tracer() -> None:
    global _users  # noqa: PLW0603 - Haystack has one tracer for the process
    with _lock:
        _users += 1
        if not isinstance(haystack_tracer.actual_tracer, TimingTracer):
            haystack_tracer.actual_tracer = TimingTracer(haystack_tracer.actual_tracer)


def _unwrap_tracer() -> None:
    global _users  # noqa: PLW0603
    with _lock:
        _users -= 1
        if _users == 0 and isinstance(haystack_tracer.actual_tracer, TimingTracer):
            haystack_tracer.actual_tracer = haystack_tracer.actual_tracer.inner
