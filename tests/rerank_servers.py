"""Real servers for the tests, on ports of their own."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import httpx
import uvicorn

from rerank_plugin.components.config import RankerConfig
from rerank_plugin.errors import OverloadedError
from rerank_plugin.serving.admission import Admission
from rerank_plugin.serving.app import create_app
from rerank_plugin.serving.engine import ModelFacts
from rerank_plugin.serving.keys import KeyRing
from rerank_plugin.serving.local_engine import LocalEngine
from rerank_plugin.serving.models import ServedModels
from rerank_plugin.serving.server import uvicorn_config
from rerank_plugin.serving.settings import RequestLimits, ServerSettings
from rerank_plugin.serving.token_limits import TokenLimits

KEY = "a-key-that-is-long-enough"
LIMITS = RequestLimits(body_bytes=200_000, body_seconds=30, header_seconds=30, documents=50, text_tokens=2000, tokens=10_000)

HASTY = replace(LIMITS, body_seconds=0.6, header_seconds=0.6)


class FullEngine:
    """An engine that always has too much waiting: the seam is where an overload can be had at will."""

    waiting = 7

    async def rank(self, request):
        raise OverloadedError("7 requests are waiting already: try again later", retry_after=0.3)

    async def tokenize(self, texts, *, add_special_tokens):
        raise OverloadedError("7 requests are waiting already: try again later", retry_after=0.3)

    def observe(self, observer):
        pass

    def warm_up(self):
        return ModelFacts("full", "none", "fp32", 64, 7)

    def close(self):
        pass


def local_engine(model, *, max_waiting=300, limits=LIMITS, **config):
    return LocalEngine(
        RankerConfig(model=str(model), backend="torch", **config),
        admission=Admission(max_requests=max_waiting),
        token_limits=TokenLimits(limits.text_tokens, limits.tokens),
    )


@contextmanager
def running(engines, *, keys=(KEY,), settings=None, verify=True, **parts) -> Iterator[str]:
    """Run a server, and return its address once it is ready."""
    settings = settings or ServerSettings(port=0, limits=LIMITS, cors_origins=["https://app.example.org"])
    ring = keys if isinstance(keys, KeyRing) else KeyRing(keys=keys)
    app = create_app(ServedModels(engines), settings=settings, keys=ring, **parts)
    server = uvicorn.Server(uvicorn_config(app, settings))
    thread = threading.Thread(target=asyncio.run, args=[server.serve()])
    thread.start()
    try:
        while not server.started and thread.is_alive():
            thread.join(0.01)
        url = (
            f"{'http' if settings.tls_key is None else 'https'}://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
        )
        while httpx.get(f"{url}/ready", verify=verify).status_code != 200 and thread.is_alive():
            thread.join(0.02)
        yield url
    finally:
        server.should_exit = True
        thread.join()
