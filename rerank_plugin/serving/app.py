"""The application: its routes, and what every request passes."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp

from rerank_plugin import __version__
from rerank_plugin.serving.body import BodyReader
from rerank_plugin.serving.dialects.routes import ROUTES
from rerank_plugin.serving.exchange import problem_response
from rerank_plugin.serving.gate import Gate
from rerank_plugin.serving.info_endpoints import TOKENIZE_EXAMPLE, InfoEndpoints, TokenizeBody
from rerank_plugin.serving.judgement_endpoints import JudgementEndpoints
from rerank_plugin.serving.judgement_service import JudgementService
from rerank_plugin.serving.keys import KeyRing
from rerank_plugin.serving.metrics import Metrics
from rerank_plugin.serving.models import ServedModels
from rerank_plugin.serving.openapi import DESCRIPTION, request_body, rerank_body
from rerank_plugin.serving.page.endpoints import PageEndpoints
from rerank_plugin.serving.page.guard import SameOriginGuard
from rerank_plugin.serving.page.parts import PageParts
from rerank_plugin.serving.page.routes import add_page_routes
from rerank_plugin.serving.page.settings import PageSettings
from rerank_plugin.serving.problems import Problem
from rerank_plugin.serving.rerank_endpoint import RerankEndpoint
from rerank_plugin.serving.search_endpoints import SearchEndpoints
from rerank_plugin.serving.search_service import SEARCH_EXAMPLE, SearchBody, SearchService
from rerank_plugin.serving.settings import ServerSettings
from rerank_plugin.serving.tracing import Tracer

logger = logging.getLogger(__name__)

NOT_FOUND = 404


def create_app(
    models: ServedModels,
    *,
    settings: ServerSettings | None = None,
    keys: KeyRing | None = None,
    searches: SearchService | None = None,
    page: PageSettings | None = None,
    tracer_provider: Any = None,
    on_failure: Callable[[], None] = lambda: None,
) -> ASGIApp:
    """
    Build the application.

    :param models: The models; they are loaded when the application starts, and released when it ends.
    :param settings: How it is run; `None`: the defaults.
    :param keys: Who may use it; `None`: everyone.
    :param searches: Runs `/search`; `None`: there is no index.
    :param page: What the search page may do; `None`: the defaults, which change no document.
    :param tracer_provider: Of OpenTelemetry; `None`: that of the process.
    :param on_failure: Called if a model cannot be loaded.
    :returns: The application.
    """
    settings, metrics = settings or ServerSettings(), Metrics()
    keys = keys or KeyRing()
    models.observe(metrics.record_batch)
    page = page or PageSettings()
    parts = None if searches is None else PageParts(searches, page)
    judgements = JudgementService(searches) if searches is not None and page.judging else None

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        warming = asyncio.create_task(_warm_up(models, searches, on_failure))
        try:
            yield
        finally:
            await warming
            await models.close()
            if parts is not None:
                await asyncio.to_thread(parts.close)
            if judgements is not None:
                await asyncio.to_thread(judgements.close)
            if searches is not None:
                await asyncio.to_thread(searches.close)

    app = FastAPI(
        title="rerank",
        version=__version__,
        description=DESCRIPTION,
        lifespan=lifespan,
        docs_url=None,  # the pages of FastAPI load scripts from elsewhere
        redoc_url=None,
        exception_handlers={HTTPException: _http_error},
    )
    bodies = BodyReader(settings.limits)
    _add_rerank_routes(app, RerankEndpoint(models, bodies, metrics, Tracer(tracer_provider)))
    _add_info_routes(app, InfoEndpoints(models, bodies, metrics))
    if searches is not None:
        _add_search_routes(app, SearchEndpoints(searches, bodies, metrics))
    if judgements is not None:
        JudgementEndpoints(judgements, bodies).add_to(app)
    add_page_routes(app, PageEndpoints(parts, models, bodies, metrics), parts, needs_key=not keys.is_open)
    guarded = SameOriginGuard(app, origins=settings.cors_origins, needs_local_name=settings.is_local and keys.is_open)
    gate: ASGIApp = Gate(guarded, keys=keys, metrics=metrics)
    if settings.cors_origins:
        # Outside of the gate: browsers ask without a key whether they may send one.
        gate = CORSMiddleware(gate, allow_origins=settings.cors_origins, allow_methods=["GET", "POST"], allow_headers=["*"])
    return gate


async def _warm_up(models: ServedModels, searches: SearchService | None, on_failure: Callable[[], None]) -> None:
    try:
        if searches is not None:
            await asyncio.to_thread(searches.warm_up)
    except Exception as error:  # noqa: BLE001 - reported by whoever started the server
        models.failure = error
    else:
        await models.warm_up()
    if models.failure is not None:
        on_failure()


def _add_rerank_routes(app: FastAPI, endpoint: RerankEndpoint) -> None:
    async def rerank(request: Request) -> Response:
        return await endpoint(request)

    for path, dialects in ROUTES.items():
        names = ", ".join(dialect.name for dialect in dialects)
        app.add_api_route(
            path,
            rerank,
            methods=["POST"],
            summary=f"Rank texts ({names})",
            tags=["rerank"],
            operation_id=f"rerank{path.replace('/', '_')}",
            response_model=None,
            openapi_extra=rerank_body(dialects),
        )


def _add_info_routes(app: FastAPI, endpoints: InfoEndpoints) -> None:
    for path, endpoint in (
        ("/health", endpoints.health),
        ("/ping", endpoints.health),
        ("/ready", endpoints.ready),
        ("/info", endpoints.info),
        ("/metrics", endpoints.metrics_page),
    ):
        app.add_api_route(path, endpoint, methods=["GET"], tags=["server"], response_model=None)
    app.add_api_route(
        "/tokenize",
        endpoints.tokenize,
        methods=["POST"],
        tags=["server"],
        response_model=None,
        openapi_extra=request_body({"tokenize": TokenizeBody}, {"tokenize": TOKENIZE_EXAMPLE}),
    )


def _add_search_routes(app: FastAPI, endpoints: SearchEndpoints) -> None:
    app.add_api_route(
        "/search",
        endpoints.search,
        methods=["POST"],
        tags=["search"],
        response_model=None,
        openapi_extra=request_body({"search": SearchBody}, {"search": SEARCH_EXAMPLE}),
    )
    app.add_api_route(
        "/documents/{document_id:path}", endpoints.document, methods=["GET"], tags=["search"], response_model=None
    )


async def _http_error(request: Request, error: Exception) -> Response:  # noqa: ARG001 - the interface of handlers
    """Answer a request for a path or a method that there is not."""
    status = error.status_code if isinstance(error, HTTPException) else NOT_FOUND
    allowed = dict(getattr(error, "headers", None) or {})
    message = "there is no such path: /openapi.json names all" if status == NOT_FOUND else "this path has another method"
    response = problem_response(Problem(status, "not_found", message))
    response.headers.update(allowed)
    return response
