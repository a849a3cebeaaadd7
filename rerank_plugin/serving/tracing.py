"""
Traces with OpenTelemetry, where it is configured: `opentelemetry-instrument rerank serve`, or a provider of the program.

The attributes are those of OpenInference and the proposal for GenAI. Texts are not among them.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from opentelemetry import propagate, trace

from rerank_plugin.serving.dialects.dialect import Outcome

NAME = "rerank_plugin.serving"


class Tracer:
    """
    Traces requests. Without a provider this does nothing.

    :param provider: The provider; `None`: that of the process.
    """

    def __init__(self, provider: Any = None) -> None:
        self._tracer = trace.get_tracer(NAME, tracer_provider=provider)

    @contextmanager
    def request(self, dialect: str, headers: Mapping[str, str]) -> Iterator["RequestSpan"]:
        """
        Trace a request, as a part of the trace that its W3C headers name.

        :param dialect: Its protocol.
        :param headers: Its headers.
        """
        with self._tracer.start_as_current_span(
            "rerank",
            context=propagate.extract(headers),
            kind=trace.SpanKind.SERVER,
            record_exception=False,  # messages may quote texts
            set_status_on_exception=False,
        ) as span:
            traced = RequestSpan(span if span.is_recording() else None)
            traced.set({"openinference.span.kind": "RERANKER", "gen_ai.operation.name": "rerank", "rerank.dialect": dialect})
            try:
                yield traced
            except Exception as error:
                span.set_status(trace.StatusCode.ERROR, type(error).__name__)
                raise


class RequestSpan:
    """
    The span of a request.

    :param span: OpenTelemetry's; `None`: nothing is recorded.
    """

    def __init__(self, span: Any) -> None:
        self._span = span

    def set(self, attributes: Mapping[str, Any]) -> None:
        """Record attributes."""
        if self._span is not None:
            self._span.set_attributes(attributes)

    def record(self, outcome: Outcome, *, texts: int, top_n: int | None) -> None:
        """
        Record a result.

        :param outcome: The result.
        :param texts: Number of texts that were ranked.
        :param top_n: How many the client wanted; `None`: all.
        """
        if self._span is None:
            return
        attributes = {
            "reranker.model_name": outcome.model,
            "gen_ai.request.model": outcome.model,
            "gen_ai.usage.input_tokens": outcome.tokens,
            "rerank.texts": texts,
            "rerank.scored": outcome.scored,
            "rerank.state": outcome.state,
        }
        if top_n is not None:
            attributes["reranker.top_k"] = top_n
        self._span.set_attributes(attributes)
