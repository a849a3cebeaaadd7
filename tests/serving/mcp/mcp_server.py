"""A server for agents in a thread of the tests, and an index for it."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import uvicorn
from conftest import SENTENCES
from haystack import Document
from rerank_servers import KEY

from rerank_plugin import HybridDocumentStore
from rerank_plugin.scoring.loading.spec import DEFAULT_MODEL
from rerank_plugin.serving.keys import KeyRing
from rerank_plugin.serving.mcp.http import create_mcp_app
from rerank_plugin.serving.mcp.service import McpService
from rerank_plugin.serving.search_service import SearchService
from rerank_plugin.serving.server import uvicorn_config
from rerank_plugin.serving.settings import ServerSettings


def write_index(folder, model, repository):
    """Write an index and the YAML of a pipeline with a model; returns both."""
    store = HybridDocumentStore(folder / "index")
    store.write_documents(
        [
            Document(id=f"d{n}", content=text, meta={"title": f"Sentence {n}", "source": "book one.pdf", "page": n})
            for n, text in enumerate(SENTENCES)
        ]
    )
    store.close()
    yaml = folder / "small.yaml"
    yaml.write_text((repository / "pipelines" / "bm25_rerank.yaml").read_text().replace(DEFAULT_MODEL, str(model)))
    return folder / "index", yaml


@contextmanager
def serving(index, pipelines, **options) -> Iterator[str]:
    """Run the HTTP server in a thread, and return its address once it is warm."""
    service = McpService(lambda: SearchService(index, list(map(str, pipelines)), max_waiting=200), **options)
    settings = ServerSettings(port=0)
    app = create_mcp_app(service, settings=settings, keys=KeyRing(keys=[KEY]))
    server = uvicorn.Server(uvicorn_config(app, settings))
    thread = threading.Thread(target=asyncio.run, args=[server.serve()])
    thread.start()
    try:
        while not server.started and thread.is_alive():
            thread.join(0.01)
        url = f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
        while httpx.get(f"{url}/ready").status_code != 200 and thread.is_alive():
            thread.join(0.02)
        yield url
    finally:
        server.should_exit = True
        thread.join()
