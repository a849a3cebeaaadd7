"""`/judgements`: grades for the hits of the index, and what follows from them."""

import shutil
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from fastapi import FastAPI
from pydantic import BaseModel
from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.responses import FileResponse, Response

from rerank_plugin.serving.body import BodyReader, ClientLeftError, validated
from rerank_plugin.serving.exchange import CLIENT_LEFT, exchange_of, json_response, log_unexpected, problem_response
from rerank_plugin.serving.judgement_service import (
    CalibrateBody,
    EvaluateBody,
    JudgementBody,
    JudgementService,
    PoolBody,
    QueriesBody,
    UndoBody,
)
from rerank_plugin.serving.openapi import request_body
from rerank_plugin.serving.problems import INTERNAL, RequestError, problem_of

B = TypeVar("B", bound=BaseModel)
PATH = "/judgements"
ARCHIVE = "judgements.zip"
_QUERY = "coffee maker slow and loud from chalk"
_EXAMPLES: dict[str, dict[str, Any]] = {
    "": {
        "query": _QUERY,
        "document_id": "the id of a hit",
        "grade": 3,
        "judge": "anna",
        "shown": {"pipeline": "bm25_rerank", "rank": 1, "blind": False},
    },
    "/queries": {"texts": [_QUERY], "set": "default"},
    "/undo": {"judge": "anna"},
    "/pool": {"query": _QUERY, "depth": 10, "blind": True},
    "/evaluate": {"split": "all"},
    "/calibrate": {"pipeline": "bm25_rerank", "split": "dev"},
}


@dataclass(frozen=True)
class JudgementEndpoints:
    """
    The endpoints of judgements.

    :param service: Does the work.
    :param bodies: Reads requests.
    """

    service: JudgementService
    bodies: BodyReader

    def add_to(self, app: FastAPI) -> None:
        """
        Add the routes.

        :param app: The application.
        """
        for path, endpoint in (
            ("", self._grades),
            ("/progress", self._progress),
            ("/queries", self._queries),
            ("/export", self._export),
        ):
            app.add_api_route(PATH + path, endpoint, methods=["GET"], tags=["judgements"], response_model=None)
        self._add(app, "", JudgementBody, self.service.judge)
        self._add(app, "/queries", QueriesBody, self.service.add_queries)
        self._add(app, "/undo", UndoBody, self.service.undo)
        self._add(app, "/pool", PoolBody, self.service.pool)
        self._add(app, "/evaluate", EvaluateBody, self.service.evaluate)
        self._add(app, "/calibrate", CalibrateBody, self.service.calibrate)

    def _add(self, app: FastAPI, path: str, model: type[B], work: Callable[[B], Awaitable[dict[str, Any]]]) -> None:
        async def endpoint(request: Request) -> Response:
            async def answer() -> dict[str, Any]:
                async with self.bodies.json(request) as data:
                    return await work(validated(model, data))

            return await _answered(request, answer)

        app.add_api_route(
            PATH + path,
            endpoint,
            methods=["POST"],
            tags=["judgements"],
            operation_id=f"judgements{path.replace('/', '_')}",
            response_model=None,
            openapi_extra=request_body({"judgements": model}, {"judgements": _EXAMPLES[path]}),
        )

    async def _progress(self, request: Request) -> Response:
        return await _answered(request, self.service.progress)

    async def _queries(self, request: Request) -> Response:
        return await _answered(request, lambda: self.service.queries(request.query_params.get("set")))

    async def _grades(self, request: Request) -> Response:
        async def answer() -> dict[str, Any]:
            query = request.query_params.get("query")
            if query is None:
                raise RequestError("query is missing: write the query into the address, ?query=TEXT", param="query")
            return await self.service.grades(query)

        return await _answered(request, answer)

    async def _export(self, request: Request) -> Response:
        try:
            archive = await self.service.export()
        except Exception as error:  # noqa: BLE001 - told to the client
            return _problem(request, error)
        return FileResponse(
            archive,
            media_type="application/zip",
            filename=ARCHIVE,  # an attachment
            background=BackgroundTask(shutil.rmtree, archive.parent, ignore_errors=True),
        )


async def _answered(request: Request, answer: Callable[[], Awaitable[dict[str, Any]]]) -> Response:
    exchange_of(request).dialect = "judgements"
    try:
        return json_response(await answer())
    except ClientLeftError:
        return Response(status_code=CLIENT_LEFT)
    except Exception as error:  # noqa: BLE001 - told to the client
        return _problem(request, error)


def _problem(request: Request, error: Exception) -> Response:
    problem = problem_of(error)
    exchange = exchange_of(request)
    exchange.error = problem.kind
    if problem is INTERNAL:
        log_unexpected(error, exchange)
    return problem_response(problem)
