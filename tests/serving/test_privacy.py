"""Texts, queries and keys are in no log, no metric and no trace."""

import json
import logging
import threading
from contextlib import contextmanager

import httpx
import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from rerank_servers import KEY, running

SECRET = "zanzibar"


class BrokenEngine:
    """An engine that fails as no one expected, with a text in its message."""

    waiting = 0

    async def rank(self, request):
        raise KeyError(f"{request.query} {request.texts}")

    async def tokenize(self, texts, *, add_special_tokens):
        raise KeyError(str(texts))

    def observe(self, observer):
        pass

    def warm_up(self):
        from rerank_servers import FullEngine

        return FullEngine().warm_up()

    def close(self):
        pass


class Logged(list[str]):
    """Lines that other threads add: those of a request may come after its answer."""

    def __init__(self):
        super().__init__()
        self.added = threading.Condition()

    def wait_for(self, *parts, count=1):
        def found():
            return [line for line in self if all(part in line for part in parts)]

        with self.added:
            assert self.added.wait_for(lambda: len(found()) >= count, timeout=60), (parts, list(self))
            return found()


@contextmanager
def all_logs():
    """Everything that is logged anywhere, from now on; a server that starts later replaces the handlers."""
    lines = Logged()

    class Lines(logging.Handler):
        def emit(self, record):
            with lines.added:
                lines.append(self.format(record))
                lines.added.notify_all()

    handler = Lines(logging.DEBUG)
    loggers = [logging.getLogger(name) for name in ("", "rerank_plugin.serving", "rerank_plugin.serving.access", "uvicorn")]
    for logger in loggers:
        logger.addHandler(handler)
    yield lines
    for logger in loggers:
        logger.removeHandler(handler)


BODIES = [
    ("/rerank", {"query": SECRET, "texts": [SECRET, f"{SECRET} " * 3000]}),
    ("/rerank", {"query": f"{SECRET} " * 200, "texts": [SECRET]}),
    ("/v2/rerank", {"query": SECRET, "documents": [SECRET], "relevant_spans": {}}),
    ("/v1/rerank", {"query": SECRET, "documents": SECRET}),
    ("/v1/rerank", {"query": [SECRET], "documents": [{SECRET: SECRET}], "model": SECRET}),
    ("/tokenize", {"inputs": SECRET}),
    (f"/documents/{SECRET}", {}),
    (f"/rerank?query={SECRET}", {"query": SECRET}),
]


@pytest.fixture
def logged(http):
    with all_logs() as lines:
        yield lines


def test_texts_and_keys_are_not_in_logs_or_metrics(http, logged):
    for path, body in BODIES:
        http.post(path, json=body)
        http.post(path, content=json.dumps(body)[:-3])
    http.get(f"/{SECRET}", headers={"X-Request-Id": f"{SECRET} and more"})
    metrics = http.get("/metrics").text
    assert "rerank_batch_tokens_count" in metrics
    assert "rerank_batch_tokens_count 0.0" not in metrics
    logged.wait_for(count=2 * len(BODIES))
    for line in [*logged, metrics]:
        assert SECRET not in line.lower()
        assert KEY not in line


def test_an_unexpected_error_is_logged_by_its_place_and_told_to_nobody():
    with running({"broken": BrokenEngine()}, keys=()) as url, all_logs() as logged:
        for path, body, status in (
            ("/rerank", {"query": SECRET, "texts": [SECRET]}, 424),
            ("/v2/rerank", {"query": SECRET, "documents": [SECRET]}, 500),
        ):
            answer = httpx.post(url + path, json=body, headers={"X-Request-Id": "mine"})
            assert answer.status_code == status
            assert SECRET not in answer.text
            assert answer.headers["x-request-id"] == "mine"
        logged.wait_for("request mine failed: KeyError at", "test_privacy.py")
    assert not any(SECRET in line for line in logged)


def test_the_access_log_says_what_was_done(http, logged):
    http.post("/rerank", json={"query": "fox", "texts": ["a", "b"]}, headers={"X-Request-Id": "r-1"})
    line = json.loads(logged.wait_for('"r-1"')[0])
    assert line["client"] == "127.0.0.1"
    assert (line["method"], line["route"], line["status"], line["dialect"]) == ("POST", "/rerank", 200, "tei")
    assert (line["texts"], line["state"]) == (2, "complete")
    assert line["milliseconds"] > 0


def test_a_request_is_a_span_of_the_clients_trace(cross_encoder):
    from rerank_servers import local_engine

    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    trace_id = "0af7651916cd43dd8448eb211c80319c"
    headers = {"traceparent": f"00-{trace_id}-b7ad6b7169203331-01"}
    with running({"tiny": local_engine(cross_encoder)}, keys=(), tracer_provider=provider) as url:
        body = {"query": SECRET, "documents": [SECRET, "b"], "top_n": 1}
        assert httpx.post(f"{url}/v2/rerank", json=body, headers=headers).status_code == 200
        assert httpx.post(f"{url}/v2/rerank", json=body | {"query": 5}).status_code == 400
    good, bad = exporter.get_finished_spans()
    assert f"{good.context.trace_id:032x}" == trace_id
    assert good.attributes["openinference.span.kind"] == "RERANKER"
    assert good.attributes["gen_ai.operation.name"] == "rerank"
    assert (good.attributes["reranker.model_name"], good.attributes["reranker.top_k"]) == ("tiny", 1)
    assert bad.status.description == "RequestError"
    assert SECRET not in good.to_json() + bad.to_json()
