"""The routes of the page."""

from fastapi import FastAPI
from starlette.requests import Request

from rerank_plugin.serving.page.answers import AnswerBody, Answers
from rerank_plugin.serving.page.endpoints import PageEndpoints
from rerank_plugin.serving.page.facets import FacetsBody
from rerank_plugin.serving.page.library import Library, SourceBody, UndoBody
from rerank_plugin.serving.page.parts import PageParts
from rerank_plugin.serving.page.search import PageSearchBody, SentencesBody, VariantBody
from rerank_plugin.serving.page.shell import PageShell
from rerank_plugin.serving.page.why_not import FindBody, WhyNotBody


def add_page_routes(app: FastAPI, endpoints: PageEndpoints, parts: PageParts | None, *, needs_key: bool) -> None:
    """
    Add the page, and the endpoints that it calls, to an application. They are not part of its documented interface.

    :param app: The application.
    :param endpoints: Make the endpoints.
    :param parts: What the page can do with the index; `None`: there is no index.
    :param needs_key: Whether the server has keys.
    """
    shell = PageShell(needs_key=needs_key)
    _get(app, "/", shell.page)
    _get(app, "/favicon.ico", shell.icon)
    _get(app, "/page/assets/{name}", shell.file)
    _get(app, "/page/settings", endpoints.settings)
    if parts is None:
        return
    searches, why_not = parts.searches, parts.why_not
    _post(app, "/page/search", endpoints.posting(PageSearchBody, searches.search))
    _post(app, "/page/sentences", endpoints.posting(SentencesBody, searches.sentences))
    _post(app, "/page/facets", endpoints.posting(FacetsBody, parts.facets.facets))
    _post(app, "/page/find", endpoints.posting(FindBody, why_not.find))
    _post(app, "/page/why-not", endpoints.posting(WhyNotBody, why_not.explain))
    _post(app, "/page/pipeline", endpoints.posting(VariantBody, parts.definition))
    whole = parts.whole_documents
    # In the query of the address, as a browser resolves dots in its path.
    _get(app, "/page/text", endpoints.getting(lambda request: whole.download(request.query_params.get("id", ""))))
    _get(app, "/page/document", endpoints.getting(lambda request: whole.read(request.query_params.get("id", ""))))
    if parts.library is not None:
        _add_library_routes(app, endpoints, parts.library)
    if parts.answers is not None:
        _add_answer_route(app, endpoints, parts.answers)


def _add_library_routes(app: FastAPI, endpoints: PageEndpoints, library: Library) -> None:
    async def overview(request: Request) -> object:
        offset = request.query_params.get("offset", "0")
        return await library.overview(
            find=request.query_params.get("find", ""), offset=int(offset[:12]) if offset.isdecimal() else 0
        )

    async def verify(request: Request) -> object:  # noqa: ARG001 - the interface of `getting`
        return await library.verify()

    async def add(request: Request) -> object:
        return await library.add(request.query_params.get("name", ""), request)

    async def job(request: Request) -> object:
        return library.job(request.path_params["id"])

    _get(app, "/page/files", endpoints.getting(overview))
    _get(app, "/page/health", endpoints.getting(verify))
    _post(app, "/page/upload", endpoints.getting(add))
    _get(app, "/page/jobs/{id}", endpoints.getting(job))
    _post(app, "/page/remove", endpoints.posting(SourceBody, library.remove))
    _post(app, "/page/undo", endpoints.posting(UndoBody, library.undo))


def _add_answer_route(app: FastAPI, endpoints: PageEndpoints, answers: Answers) -> None:
    _post(app, "/page/answer", endpoints.streaming(AnswerBody, answers.prepare))


def _get(app: FastAPI, path: str, endpoint: object) -> None:
    app.add_api_route(path, endpoint, methods=["GET"], include_in_schema=False, response_model=None)  # type: ignore[arg-type]


def _post(app: FastAPI, path: str, endpoint: object) -> None:
    app.add_api_route(path, endpoint, methods=["POST"], include_in_schema=False, response_model=None)  # type: ignore[arg-type]
