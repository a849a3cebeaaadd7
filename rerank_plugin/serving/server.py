"""Running the application: the port, TLS, logs, and an end that lets running requests finish."""

import signal
import socket
import sys
import threading
from collections.abc import Callable
from typing import Any

import uvicorn

from rerank_plugin.errors import InvalidValueError
from rerank_plugin.serving.app import create_app
from rerank_plugin.serving.connection import connection_class
from rerank_plugin.serving.gate import ACCESS_LOG
from rerank_plugin.serving.keys import KeyRing
from rerank_plugin.serving.models import ServedModels
from rerank_plugin.serving.page.settings import PageSettings
from rerank_plugin.serving.search_service import SearchService
from rerank_plugin.serving.settings import ServerSettings

# Connections that may wait to be accepted.
BACKLOG = 2048


def run_server(
    models: ServedModels,
    *,
    settings: ServerSettings,
    keys: KeyRing,
    searches: SearchService | None = None,
    page: PageSettings | None = None,
    on_start: Callable[[int], None] = lambda _: None,
) -> None:
    """
    Serve until SIGTERM or SIGINT, and then until the running requests have ended or the limit for that has passed.

    :param models: The models.
    :param settings: How it is run.
    :param keys: Who may use it.
    :param searches: Runs `/search`; `None`: there is no index.
    :param page: What the search page may do; `None`: the defaults.
    :param on_start: Called with the port, which is open then.
    :raises RerankError: If a model cannot be loaded, or the index is empty.
    :raises InvalidValueError: If the port is taken, or the address is not of this machine.
    """
    listening = listen(settings)

    def stop() -> None:
        server.should_exit = True

    app = create_app(models, settings=settings, keys=keys, searches=searches, page=page, on_failure=stop)
    server = uvicorn.Server(uvicorn_config(app, settings))
    # Uvicorn raises the signal again when it has ended, which would end the process without success.
    before = signal.signal(signal.SIGTERM, lambda *_: None) if _is_main_thread() else None
    on_start(listening.getsockname()[1])
    try:
        server.run(sockets=[listening])
    finally:
        listening.close()
        if before is not None:
            signal.signal(signal.SIGTERM, before)
    if models.failure is not None:
        raise models.failure


def listen(settings: ServerSettings) -> socket.socket:
    """
    Open the port, before anything is loaded.

    :param settings: Where to listen.
    :raises InvalidValueError: If that cannot be done.
    """
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    try:
        return socket.create_server((settings.host, settings.port), family=family, backlog=BACKLOG)
    except OSError as error:
        raise InvalidValueError(
            f"cannot listen on {settings.host}:{settings.port} ({error.strerror or error}): choose another --port, or an "
            "address of this machine as --host"
        ) from error


def uvicorn_config(app: Any, settings: ServerSettings) -> uvicorn.Config:
    """
    Return the configuration of uvicorn.

    :param app: The application.
    :param settings: How it is run.
    """
    return uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        http=connection_class(settings.limits.header_seconds),
        ws="none",
        loop="asyncio",  # the same everywhere, whatever else is installed
        access_log=False,
        log_config=log_config(),
        server_header=False,
        timeout_graceful_shutdown=settings.drain_seconds,
        backlog=BACKLOG,
        ssl_certfile=settings.tls_certificate,
        ssl_keyfile=None if settings.tls_key is None else str(settings.tls_key),
    )


def log_config() -> dict[str, Any]:
    """Return where the logs go: one JSON object for each request to standard output, all else to standard error."""
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {
            "bare": {"format": "%(message)s"},
            "named": {"format": "%(levelname)s %(message)s"},
        },
        "handlers": {
            "access": {"class": "logging.StreamHandler", "formatter": "bare", "stream": sys.stdout},
            "other": {"class": "logging.StreamHandler", "formatter": "named", "stream": sys.stderr},
        },
        "loggers": {
            ACCESS_LOG: {"handlers": ["access"], "level": "INFO", "propagate": False},
            "rerank_plugin.serving": {"handlers": ["other"], "level": "INFO", "propagate": False},
            "uvicorn": {"handlers": ["other"], "level": "WARNING", "propagate": False},
        },
    }


def _is_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()
