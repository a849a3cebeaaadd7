"""Servers for the time of a measurement."""

import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import psutil

START_SECONDS = 300


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def running(command: Sequence[str], port: int, log: Path) -> Iterator[tuple[str, psutil.Process, float]]:
    """Start a server; yields its address, its process and the seconds until it was ready."""
    began = time.monotonic()
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "DO_NOT_TRACK": "1", "INFINITY_ANONYMOUS_USAGE_STATS": "0"}
    with log.open("w") as output:
        server = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, env=environment)
    url = f"http://127.0.0.1:{port}"
    try:
        while not is_ready(url):
            if server.poll() is not None or time.monotonic() - began > START_SECONDS:
                sys.exit(f"the server did not start: {' '.join(command)}\n{log.read_text()[-2000:]}")
            time.sleep(0.2)
        yield url, psutil.Process(server.pid), time.monotonic() - began
    finally:
        server.terminate()
        try:
            server.wait(60)
        except subprocess.TimeoutExpired:
            server.kill()


def is_ready(url: str) -> bool:
    """Return whether a request is answered."""
    body = json.dumps({"query": "ready", "documents": ["yes"], "model": "default"}).encode()
    request = urllib.request.Request(f"{url}/rerank", body, {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=30) as response:
            return response.status == 200
    except (urllib.error.URLError, OSError):
        return False
