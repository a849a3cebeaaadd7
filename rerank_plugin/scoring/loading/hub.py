"""Whether the Hub can be reached, found out in two seconds, and what its cache on this machine holds."""

import os
import socket
import threading
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

# For the whole attempt, with the look-up of the name, which has no time limit of its own.
WAIT_SECONDS = 2.0
OFFLINE_VARIABLES = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")


@dataclass(frozen=True)
class HubState:
    """
    Whether the Hub can be used.

    :param host: Its host.
    :param problem: Why it cannot be reached; empty if it can.
    """

    host: str
    problem: str = ""

    @property
    def is_reachable(self) -> bool:
        """Whether files can be downloaded."""
        return not self.problem


@cache
def hub_state() -> HubState:
    """
    Try once to connect to the Hub, or to the proxy that leads there. The result is kept for the life of the process.

    Without this, huggingface_hub tries again and again for more than a minute.

    :returns: Whether there is a connection, and why not.
    """
    from huggingface_hub import constants

    url = urlsplit(constants.ENDPOINT)
    host = url.hostname or constants.ENDPOINT
    if constants.is_offline_mode():
        variable = next((name for name in OFFLINE_VARIABLES if os.environ.get(name)), OFFLINE_VARIABLES[0])
        return HubState(host, f"{variable} is set")
    proxy = None if proxy_bypass(host) else getproxies().get(url.scheme)
    target = urlsplit(proxy if proxy is None or "//" in proxy else f"//{proxy}") if proxy else url
    port = target.port or (443 if target.scheme == "https" else 80)
    return HubState(host, _connection_problem(target.hostname or host, port))


def _connection_problem(host: str, port: int) -> str:
    problems: list[str] = []

    def connect() -> None:
        try:
            socket.create_connection((host, port), timeout=WAIT_SECONDS).close()
            problems.append("")
        except OSError as error:
            problems.append(f"no connection to {host}: {(error.strerror or str(error)).lower()}")

    # In a thread of its own, as the look-up of a name cannot be interrupted.
    attempt = threading.Thread(target=connect, daemon=True)
    attempt.start()
    attempt.join(WAIT_SECONDS)
    return problems[0] if problems else f"no connection to {host} within {WAIT_SECONDS:g} seconds"


def cached_weights(model: str, *, revision: str | None = None, cache_dir: str | None = None) -> Path | None:
    """
    Find a model in the Hub's cache on this machine.

    :param model: The Hub id.
    :param revision: Branch, tag or commit; `None`: the main branch.
    :param cache_dir: The cache; `None`: the Hub's own.
    :returns: The folder of its files; `None` if its configuration or its weights are not there.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    try:
        folder = Path(snapshot_download(model, revision=revision, cache_dir=cache_dir, local_files_only=True))
    except (LocalEntryNotFoundError, HFValidationError):
        return None
    has_weights = any(file.suffix in {".safetensors", ".bin"} for file in folder.rglob("*") if file.is_file())
    return folder if has_weights and (folder / "config.json").is_file() else None
