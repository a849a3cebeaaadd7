"""How long each component of a pipeline takes, through Haystack's own tracing."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from haystack.tracing.tracer import Span, Tracer
from haystack.tracing.tracer import tracer as haystack_tracer

COMPONENT_RUN = "haystack.component.run"
COMPONENT_NAME = "haystack.component.name"


class _NoteSpan(Span):
    """Keeps nothing: only the time matters here."""

    def set_tag(self, key: str, value: Any) -> None:
        pass


class Stopwatch(Tracer):
    """
    Adds up the wall-clock time of each component.

    `milliseconds` maps a component's name to the time of its runs so far.
    """

    def __init__(self) -> None:
        self.milliseconds: dict[str, float] = {}

    @contextmanager
    def trace(
        self,
        operation_name: str,
        tags: dict[str, Any] | None = None,
        parent_span: Span | None = None,  # noqa: ARG002 - spans are not nested here
    ) -> Iterator[Span]:
        """Time a span where it is the run of a component."""
        start = time.perf_counter()
        yield _NoteSpan()
        if operation_name == COMPONENT_RUN and tags:
            name = str(tags[COMPONENT_NAME])
            elapsed = (time.perf_counter() - start) * 1000
            self.milliseconds[name] = self.milliseconds.get(name, 0.0) + elapsed

    def current_span(self) -> Span | None:
        """Return nothing: spans are not nested here."""
        return None


@contextmanager
def stopwatch() -> Iterator[Stopwatch]:
    """
    Time the components of all pipelines that run inside the `with`.

    :returns: The stopwatch; read its `milliseconds` afterwards.
    """
    watch = Stopwatch()
    before = haystack_tracer.actual_tracer
    haystack_tracer.actual_tracer = watch
    try:
        yield watch
    finally:
        haystack_tracer.actual_tracer = before
