"""
A local HTTP server that answers as OpenSearch and Elasticsearch do, for the requests that these pipelines make, and records them.

It is no search engine: it knows the filters that indexing sends, and answers every search with all documents.
"""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit


def matches(query: Any, source: dict[str, Any]) -> bool:
    """Whether a document matches a query; of the query language only what indexing sends."""
    if isinstance(query, list):
        return all(matches(each, source) for each in query)
    ((kind, body),) = query.items()
    if kind == "bool":
        must = [*_listed(body.get("must")), *_listed(body.get("filter"))]
        should = _listed(body.get("should"))
        return (
            all(matches(each, source) for each in must)
            and not any(matches(each, source) for each in _listed(body.get("must_not")))
            and (not should or any(matches(each, source) for each in should))
        )
    ((field, value),) = body.items()
    if kind == "term":
        return source.get(field) == (value["value"] if isinstance(value, dict) else value)
    if kind == "terms":
        return source.get(field) in value
    raise AssertionError(f"a query that this server does not know: {query}")


def _listed(value: Any) -> list[Any]:
    return [] if value is None else value if isinstance(value, list) else [value]


class SearchServer(ThreadingHTTPServer):
    """The server; `requests` has method, path, parameters and body of each request."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.documents: dict[str, dict[str, Any]] = {}
        self.indexes: set[str] = set()
        self.requests: list[tuple[str, str, dict[str, str], Any]] = []

    @property
    def url(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self.server_port}"

    def answer(self, method: str, path: str, parameters: dict[str, str], text: str) -> tuple[int, Any]:
        """Return status and body of the answer to a request."""
        lines = [json.loads(line) for line in text.splitlines() if line] if path.endswith("_bulk") else None
        body = lines if lines is not None else json.loads(text or "{}")
        self.requests.append((method, path, parameters, body))
        if path == "/":
            return 200, {
                "name": "local",
                "version": {"number": "8.19.0", "build_flavor": "default"},
                "tagline": "You Know, for Search",
            }
        index, _, action = path.strip("/").partition("/")
        if not action:
            if method == "PUT":
                self.indexes.add(index)
                return 200, {"acknowledged": True, "index": index}
            return (200 if index in self.indexes else 404), {}
        if action == "_mapping":
            return 200, {index: {"mappings": {"properties": {}}}}
        found = (
            {
                key: each
                for key, each in self.documents.items()
                if "query" not in body or self._is_search(body) or matches(body["query"], each)
            }
            if action != "_bulk"
            else {}
        )
        if action == "_bulk":
            return 200, {"errors": False, "items": self._write(body)}
        if action == "_count":
            return 200, {"count": len(found)}
        if action == "_delete_by_query":
            for key in found:
                del self.documents[key]
            return 200, {"deleted": len(found)}
        assert action == "_search", path
        hits = [{"_id": key, "_score": 1.0 + number, "_source": each} for number, (key, each) in enumerate(found.items())]
        return 200, {"hits": {"total": {"value": len(hits)}, "hits": hits}}

    @staticmethod
    def _is_search(body: Any) -> bool:
        """Whether a request is for what is most similar to a text or a vector."""
        return any(f'"{kind}"' in json.dumps(body) for kind in ("multi_match", "knn"))

    def _write(self, lines: list[Any]) -> list[Any]:
        items = []
        for action, source in zip(lines[::2], lines[1::2], strict=True):
            ((kind, meta),) = action.items()
            self.documents[meta["_id"]] = source
            items.append({kind: {"_id": meta["_id"], "status": 200}})
        return items


class _Handler(BaseHTTPRequestHandler):
    server: SearchServer
    protocol_version = "HTTP/1.1"

    def _do(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        parts = urlsplit(self.path)
        status, answer = self.server.answer(
            self.command, parts.path, dict(parse_qsl(parts.query)), self.rfile.read(length).decode()
        )
        data = b"" if self.command == "HEAD" else json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("X-Elastic-Product", "Elasticsearch")
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    do_GET = do_POST = do_PUT = do_HEAD = do_DELETE = _do  # noqa: N815 - names that the base class looks for

    def log_message(self, *_: object) -> None:
        """Print nothing."""


@contextmanager
def running_search_server() -> Iterator[SearchServer]:
    """Run the server in a thread."""
    server = SearchServer()
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
