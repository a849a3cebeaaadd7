"""A search by a server that runs elsewhere: `rerank search --server URL`."""

from typing import TYPE_CHECKING, Any

from rerank_plugin.checks import shown
from rerank_plugin.errors import InvalidValueError, ServerError

if TYPE_CHECKING:
    from rerank_plugin.results import SearchResult

# The variable with the key of the server.
VARIABLE = "RERANK_SERVER_KEY"
SECONDS = 60.0


def search_by_server(server: str, key: str | None, request: dict[str, Any]) -> dict[str, Any]:
    """
    Send a search to a server.

    :param server: Its address, such as `http://127.0.0.1:8787`.
    :param key: Its key; `None`: it has none.
    :param request: The request to `/search`.
    :returns: Its answer.
    :raises InvalidValueError: If the address is not one.
    :raises ServerError: If the server cannot be reached, or refuses.
    """
    import httpx

    if not server.startswith(("http://", "https://")):
        raise InvalidValueError(f"--server must be an address such as http://127.0.0.1:8787, got {shown(server)}")
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    try:
        answer = httpx.post(f"{server.rstrip('/')}/search", json=request, headers=headers, timeout=SECONDS)
        content = answer.json()
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise ServerError(f"{server} cannot be reached ({error}): is `rerank serve` running there?") from error
    except ValueError as error:
        raise ServerError(f"{server} does not answer as `rerank serve` does: check the address") from error
    if answer.is_success and isinstance(content, dict) and "hits" in content:
        return content
    message = content.get("message") if isinstance(content, dict) else None
    remedy = f"; set {VARIABLE} to a key of the server" if answer.status_code == httpx.codes.UNAUTHORIZED else ""
    if answer.status_code == httpx.codes.NOT_FOUND:
        remedy = "; was it started with --index?"
    raise ServerError(f"{server} refuses the search ({answer.status_code}): {message}{remedy}")


def result_of(answer: dict[str, Any]) -> "SearchResult":
    """
    Return the answer of a server as the result of a search.

    :param answer: From `search_by_server`.
    """
    from haystack import Document

    from rerank_plugin.results import Hit, SearchResult

    hits = [
        Hit(
            document=Document(id=hit["id"], content=hit["content"], meta=hit["meta"], score=hit["score"]),
            rank=hit["rank"],
            first_stage_rank=hit["first_stage_rank"],
            first_stage_score=hit["first_stage_score"],
            sentence=hit["sentence"],
        )
        for hit in answer["hits"]
    ]
    return SearchResult(hits, answer["milliseconds"], answer["collapsed"], answer["over_limit"], answer["status"])
