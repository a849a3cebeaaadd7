"""What Prometheus is told. No label and no value has anything of a text."""

from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector

from rerank_plugin.serving.dialects.dialect import Outcome

if TYPE_CHECKING:
    from rerank_plugin.scoring.work import SharedBatch

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
TEXTS = (1, 5, 10, 25, 50, 100, 250, 500, 1000)
TOKENS = (100, 500, 1_000, 5_000, 10_000, 50_000, 100_000, 500_000, 1_000_000)
BATCH_TOKENS = (64, 128, 256, 512, 1_024, 2_048, 4_096, 16_384, 65_536)
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Metrics:
    """The metrics of a server, in a registry of its own: several servers may run in one process."""

    def __init__(self) -> None:
        registry = self.registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        PlatformCollector(registry=registry)
        self.requests = Counter(
            "rerank_requests", "Requests that were answered.", ["route", "dialect", "status"], registry=registry
        )
        self.rejected = Counter("rerank_rejected", "Requests refused because too much was waiting.", registry=registry)
        self.left = Counter("rerank_clients_left", "Requests whose client left before the answer.", registry=registry)
        self.degraded = Counter(
            "rerank_degraded", "Answers that are partial, or in the order of the request.", ["state"], registry=registry
        )
        self.cached = Counter("rerank_cached_scores", "Scores that came from the cache.", registry=registry)
        self.scored = Counter("rerank_scored_texts", "Texts that have a score of the model.", registry=registry)
        self.waiting = Gauge("rerank_waiting_requests", "Requests that wait or are being worked on.", registry=registry)
        self.held = Gauge("rerank_held_body_bytes", "Bytes of the requests that are held.", registry=registry)
        self.ready = Gauge("rerank_ready", "1 if all models are loaded and prepared.", registry=registry)
        self.duration = Histogram(
            "rerank_request_seconds", "From the first byte to the answer.", ["route"], buckets=SECONDS, registry=registry
        )
        self.queue = Histogram(
            "rerank_queue_seconds", "Until work on the request began.", buckets=SECONDS, registry=registry
        )
        self.tokenization = Histogram("rerank_tokenization_seconds", "Tokenising.", buckets=SECONDS, registry=registry)
        self.inference = Histogram(
            "rerank_inference_seconds", "Scoring, with the wait for other batches.", buckets=SECONDS, registry=registry
        )
        self.batch_tokens = Histogram(
            "rerank_batch_tokens", "Tokens of a batch, padding included.", buckets=BATCH_TOKENS, registry=registry
        )
        self.batch_requests = Histogram(
            "rerank_batch_requests", "Requests that share a batch.", buckets=(1, 2, 4, 8, 16), registry=registry
        )
        self.texts = Histogram("rerank_request_texts", "Texts of a request.", buckets=TEXTS, registry=registry)
        self.tokens = Histogram("rerank_request_tokens", "Tokens of a request.", buckets=TOKENS, registry=registry)

    def record(self, outcome: Outcome, texts: int) -> None:
        """
        Count an answer.

        :param outcome: What was found.
        :param texts: Number of texts that were ranked.
        """
        self.texts.observe(texts)
        self.tokens.observe(outcome.tokens)
        self.scored.inc(outcome.scored)
        for result in outcome.results:
            self.cached.inc(result.cached)
            self.queue.observe(result.timings.queue)
            self.tokenization.observe(result.timings.tokenization)
            self.inference.observe(result.timings.inference)
        if outcome.state != "complete":
            self.degraded.labels(outcome.state).inc()

    def record_batch(self, batch: "SharedBatch") -> None:
        """Count a batch; prometheus_client takes counts from any thread."""
        self.batch_tokens.observe(batch.tokens)
        self.batch_requests.observe(len({id(work) for work, _ in batch.pieces}))

    def exposition(self) -> bytes:
        """Return all metrics in Prometheus' text format."""
        return generate_latest(self.registry)
