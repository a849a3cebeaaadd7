"""Rerankers whose packages do not install beside ours: an environment of their own, made once, and a process in it."""

import json
import logging
import os
import subprocess
import sys
import tempfile
import threading
import venv
from concurrent.futures import Future
from contextlib import suppress
from hashlib import sha256
from importlib.metadata import version
from itertools import count
from math import inf
from pathlib import Path
from typing import IO, Any

from rerank_plugin.errors import ModelError, RerankError
from rerank_plugin.files import cache_folder
from rerank_plugin.locks import acquire_lock

logger = logging.getLogger(__name__)

PROGRAM = Path(__file__).with_name("peer_program.py")
# "torch" becomes this environment's version of torch: the same arithmetic, and a wheel that pip has already.
PEERS: dict[str, tuple[str, ...]] = {
    "fastembed": ("fastembed==0.9.1",),  # needs huggingface-hub < 2
    "infinity": (
        "infinity-emb[torch,server]==0.0.77",
        "torch",
        "transformers<4.49",
        "optimum==1.23.3",
        "numpy<2",
        "pyarrow<20",  # newer ones need numpy 2, and do not say so
        "typer<0.16",
        "click<8.2",
    ),
}
_DONE = "installed.txt"
_SECONDS_TO_END = 10
# The model is a folder, and a measurement is nobody else's business.
_ENVIRONMENT = {"HF_HUB_OFFLINE": "1", "DO_NOT_TRACK": "1", "INFINITY_ANONYMOUS_USAGE_STATS": "0"}


def python_of(peer: str, *, requirements: tuple[str, ...] | None = None) -> Path:
    """
    Return the interpreter of a peer's environment, which is made in the cache folder when it is first asked for.

    :param peer: A key of `PEERS`.
    :param requirements: What to install; `None`: what `PEERS` says.
    :raises RerankError: If it cannot be installed.
    """
    wanted = [
        f"torch=={version('torch').partition('+')[0]}" if line == "torch" else line for line in requirements or PEERS[peer]
    ]
    key = sha256("\n".join([*wanted, sys.version]).encode()).hexdigest()[:12]
    folder = cache_folder() / "peers" / f"{peer}-{key}"
    python = folder / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
    lock = acquire_lock(folder.with_name(f"{folder.name}.lock"), wait=inf)
    assert lock is not None  # what is waited for without limit
    with lock:
        if (folder / _DONE).is_file():
            return python
        logger.warning("Installing %s into an environment of its own, once: %s", peer, folder)
        venv.create(folder, with_pip=True, clear=True)
        done = subprocess.run(  # noqa: S603 - the requirements stand above
            [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *wanted],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            lines = [line for line in done.stderr.splitlines() if line.strip()] or ["?"]
            # An error of pip's own begins with a traceback, one of the packages with what is wrong.
            reason = next((line for line in lines if line.startswith("ERROR: ") and line != "ERROR: Exception:"), lines[-1])
            raise RerankError(
                f"{peer} could not be installed into {folder} ({reason}): leave out --system {peer}, or try again when the "
                "package index can be reached"
            )
        (folder / _DONE).write_text("\n".join([*wanted, ""]), encoding="utf-8")
    return python


class Peer:
    """
    A reranker in a process of its own. Thread-safe: calls from several threads reach it at the same time.

    :param name: A key of `PEERS`.
    :param model: The folder that it loads.
    :param python: The interpreter; `None`: that of `python_of`.
    :param callers: How many calls it gets at a time.
    :raises RerankError: If it cannot be installed.
    :raises ModelError: If it cannot load the model.
    """

    def __init__(self, name: str, model: Path, *, callers: int, python: Path | None = None) -> None:
        self.name = name
        self._numbers = count()
        self._calls: dict[int, Future[list[float]]] = {}
        self._lock = threading.Lock()
        self._errors: IO[str] = tempfile.TemporaryFile(  # noqa: SIM115 - until `close`
            "w+", encoding="utf-8", errors="replace"
        )
        self._process = subprocess.Popen(  # noqa: S603 - our own program
            [str(python or python_of(name)), "-I", str(PROGRAM)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            encoding="utf-8",
            env={**os.environ, **_ENVIRONMENT},
        )
        self._receiver = threading.Thread(target=self._receive, name=f"answers of {name}", daemon=True)
        try:
            self._say({"peer": name, "model": str(model), "callers": callers})
            ready = json.loads(self._read() or "{}")
            if not ready.get("ready"):
                raise ModelError(f"{name} cannot load {model}: {ready.get('error') or self._last_words()}")
        except BaseException:
            self.close()
            raise
        self._receiver.start()

    @property
    def process_id(self) -> int:
        """The process that does its work."""
        return self._process.pid

    def score(self, query: str, texts: list[str]) -> list[float]:
        """
        Score texts against a query.

        :returns: What the peer calls its score, in the order of the texts.
        :raises RerankError: If it failed, or has ended.
        """
        answer: Future[list[float]] = Future()
        with self._lock:
            if self._process.poll() is not None:
                raise RerankError(f"{self.name} has ended: {self._last_words()}")
            number = next(self._numbers)
            self._calls[number] = answer
            self._say({"id": number, "query": query, "texts": texts})
        return answer.result()

    def close(self) -> None:
        """End the process."""
        with self._lock:
            assert self._process.stdin is not None
            with suppress(OSError):  # it may have ended
                self._process.stdin.close()
        try:
            self._process.wait(_SECONDS_TO_END)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if self._receiver.ident is not None:
            self._receiver.join()
        assert self._process.stdout is not None
        self._process.stdout.close()
        self._errors.close()

    def _say(self, message: dict[str, Any]) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(message) + "\n")
            self._process.stdin.flush()
        except OSError as error:
            raise RerankError(f"{self.name} has ended: {self._last_words()}") from error

    def _read(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline()

    def _receive(self) -> None:
        while line := self._read():
            message = json.loads(line)
            with self._lock:
                answer = self._calls.pop(message["id"])
            if "error" in message:
                answer.set_exception(RerankError(f"{self.name} failed: {message['error']}"))
            else:
                answer.set_result(message["scores"])
        with self._lock:
            lost, self._calls = self._calls, {}
        for answer in lost.values():
            answer.set_exception(RerankError(f"{self.name} has ended: {self._last_words()}"))

    def _last_words(self) -> str:
        self._process.wait(_SECONDS_TO_END)
        self._errors.seek(0)
        lines = self._errors.read().strip().splitlines() or [f"exit status {self._process.returncode}"]
        return lines[-1]
