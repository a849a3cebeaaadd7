"""What is not ranking: is the server alive, is it ready, what does it serve, and TEI's `/info` and `/tokenize`."""

from dataclasses import dataclass

from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import Response

from rerank_plugin import __version__
from rerank_plugin.serving.body import BodyReader, ClientLeftError, validated
from rerank_plugin.serving.dialects.routes import tei
from rerank_plugin.serving.exchange import CLIENT_LEFT, exchange_of, json_response
from rerank_plugin.serving.metrics import CONTENT_TYPE, Metrics
from rerank_plugin.serving.models import ServedModels
from rerank_plugin.serving.problems import RequestError, problem_of
from rerank_plugin.serving.settings import RequestLimits


class TokenizeBody(BaseModel):
    """A request to `/tokenize`."""

    inputs: str | list[str]
    add_special_tokens: bool = True


TOKENIZE_EXAMPLE = {"inputs": ["What is the capital of France?"], "add_special_tokens": True}


@dataclass(frozen=True)
class InfoEndpoints:
    """
    The endpoints that do not rank.

    :param models: The models.
    :param bodies: Reads requests.
    :param metrics: What `/metrics` shows.
    """

    models: ServedModels
    bodies: BodyReader
    metrics: Metrics

    async def health(self, request: Request) -> Response:  # noqa: ARG002 - the interface of endpoints
        """Say whether the process is alive: also while models are loaded, but not if one cannot be."""
        is_well = self.models.failure is None
        return json_response({"status": "ok" if is_well else "failed"}, status=200 if is_well else 503)

    async def ready(self, request: Request) -> Response:  # noqa: ARG002
        """Say whether all models are loaded and prepared, so that the first request is as fast as any."""
        is_ready = self.models.are_ready
        return json_response({"ready": is_ready}, status=200 if is_ready else 503)

    async def info(self, request: Request) -> Response:  # noqa: ARG002
        """Describe the default model as TEI does, and name all models."""
        facts = self.models.facts.get(self.models.default.name)
        label = {"LABEL_0": 0}
        return json_response(
            {
                "model_id": self.models.default.name,
                "model_sha": None,
                "model_dtype": None if facts is None else facts.precision,
                "served_model_name": self.models.default.name,
                "model_type": {"reranker": {"id2label": {"0": "LABEL_0"}, "label2id": label}},
                "max_concurrent_requests": None if facts is None else facts.max_waiting,
                "max_input_length": None if facts is None else facts.max_length,
                "max_batch_tokens": self.bodies.limits.tokens,
                "max_client_batch_size": self.bodies.limits.documents,
                "auto_truncate": False,
                "tokenization_workers": 1,
                "version": __version__,
                "models": self.models.names,
                "backend": None if facts is None else facts.backend,
            }
        )

    async def metrics_page(self, request: Request) -> Response:  # noqa: ARG002
        """Return the metrics in Prometheus' text format."""
        self.metrics.waiting.set(self.models.waiting)
        self.metrics.held.set(self.bodies.held)
        self.metrics.ready.set(self.models.are_ready)
        return Response(self.metrics.exposition(), headers={"content-type": CONTENT_TYPE})

    async def tokenize(self, request: Request) -> Response:
        """Tokenise texts, as TEI does."""
        exchange = exchange_of(request)
        exchange.dialect = tei.name
        try:
            async with self.bodies.json(request) as data:
                body = validated(TokenizeBody, data)
                texts = _inputs(body, self.bodies.limits)
                tokens = await self.models.default.engine.tokenize(texts, add_special_tokens=body.add_special_tokens)
        except ClientLeftError:
            return Response(status_code=CLIENT_LEFT)
        except Exception as error:  # noqa: BLE001 - told to the client
            problem = problem_of(error)
            exchange.error = problem.kind
            if problem.kind == "overloaded":
                self.metrics.rejected.inc()
            status, answer = tei.error(problem)
            return json_response(answer, status=status, headers=problem.headers)
        return json_response([[vars(token) for token in of_text] for of_text in tokens])


def _inputs(body: TokenizeBody, limits: RequestLimits) -> list[str]:
    texts = body.inputs if isinstance(body.inputs, list) else [body.inputs]
    if not texts:
        raise RequestError("inputs is empty: send at least one text", kind="empty", param="inputs")
    characters = sum(map(len, texts))
    # A token has a character or more. What is said of each token takes far more memory than the text.
    if len(texts) > limits.documents or characters > limits.text_tokens:
        raise RequestError(
            f"inputs has {len(texts)} texts with {characters} characters, and this server takes {limits.documents} texts "
            f"with {limits.text_tokens} characters at once: send fewer",
            param="inputs",
        )
    return texts
