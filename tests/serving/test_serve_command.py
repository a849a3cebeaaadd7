"""`rerank serve` as a program of its own."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from contextlib import contextmanager

import httpx
import pytest
from rerank_servers import KEY, local_engine, running

from rerank_plugin.errors import ModelError
from rerank_plugin.serving.keys import KeyRing
from rerank_plugin.serving.models import ServedModels
from rerank_plugin.serving.server import run_server
from rerank_plugin.serving.settings import ServerSettings

HEADERS = {"Authorization": KEY}
POLL = threading.Event()


@contextmanager
def serving(log, *arguments, **environment):
    """Run the command, and return the process and its address once it listens. Standard output goes to a file."""
    with log.open("w") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "rerank_plugin", "serve", "--port", "0", "--backend", "torch", *map(str, arguments)],
            stdout=output,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, **environment},
        )
    try:
        line = process.stderr.readline()
        address = re.search(r"https?://[\d.]+:\d+", line)
        yield process, address[0] if address else line + process.stderr.read()
    finally:
        process.kill()
        process.communicate()


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="needs SIGTERM")
def test_it_is_alive_before_it_is_ready_and_sigterm_lets_running_requests_finish(tmp_path, cross_encoder):
    log = tmp_path / "access.log"
    with serving(log, "--model", f"small={cross_encoder}", "--model", f"other={cross_encoder}", RERANK_SERVE_KEYS=KEY) as (
        process,
        url,
    ):
        with httpx.Client(base_url=url, headers=HEADERS, timeout=120) as client:
            assert client.get("/health").status_code == 200
            while client.get("/ready").status_code != 200:
                POLL.wait(0.05)
            assert client.get("/info").json()["models"] == ["small", "other"]
            named = client.post("/v2/rerank", json={"query": "a", "documents": ["b"], "model": "other"})
            assert named.json()["model"] == "other"
            answers = []

            def ask():
                texts = [f"{n} " + "fox " * 1500 for n in range(40)]
                body = {"query": "fox", "documents": texts, "model": "unknown", "return_documents": False}
                answers.append(httpx.post(f"{url}/v1/rerank", json=body, headers=HEADERS, timeout=120))

            thread = threading.Thread(target=ask)
            thread.start()
            while "rerank_waiting_requests 1.0" not in client.get("/metrics").text and not answers:
                POLL.wait(0.01)
            process.send_signal(signal.SIGTERM)
            thread.join()
        _, errors = process.communicate(timeout=120)
        assert (process.returncode, "Traceback" in errors) == (0, False)
        assert (answers[0].status_code, answers[0].json()["model"], len(answers[0].json()["results"])) == (200, "small", 40)
        logged = [json.loads(line) for line in log.read_text().splitlines()]
        assert {line["route"] for line in logged} == {"/health", "/ready", "/info", "/v2/rerank", "/v1/rerank", "/metrics"}


def test_a_model_that_cannot_be_loaded_ends_the_server(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(ModelError):
        run_server(ServedModels({"bad": local_engine(tmp_path)}), settings=ServerSettings(port=0), keys=KeyRing())


@pytest.mark.slow
def test_a_client_that_leaves_is_no_work_any_more(cross_encoder):
    with running({"tiny": local_engine(cross_encoder)}) as url, httpx.Client(base_url=url, headers=HEADERS) as client:
        texts = [f"{n} " + "fox " * 1000 for n in range(9)]
        with pytest.raises(httpx.ReadTimeout):
            client.post("/rerank", json={"query": "fox", "texts": texts}, timeout=0.001)
        while "rerank_clients_left_total 1.0" not in client.get("/metrics", timeout=60).text:
            POLL.wait(0.01)
        assert "rerank_waiting_requests 0.0" in client.get("/metrics", timeout=60).text


def test_the_port_is_taken(rerank, cross_encoder):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        done = rerank("serve", "--model", cross_encoder, "--port", taken.getsockname()[1], "--backend", "torch")
    assert done.returncode == 1
    assert "Address already in use" in done.stderr
    assert "choose another --port" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--host", "0.0.0.0"], "can be reached from other machines, and there are no keys"),
        (["--port", "70000"], "port must be a whole number from 0 to 65535"),
        (["--model", "a=minilm-l6-en", "--model", "a=minilm-l6-en"], "two models are called 'a'"),
        (["--model", "=x"], "must be a model, or NAME=MODEL"),
        (["--pipeline", "bm25"], "pass --index, too"),
        (["--keys-file", "no/such/file"], "cannot be read"),
        (["--tls-key", "no/such/file"], "pass --tls-certificate and --tls-key"),
        (["--cors-origin", "*"], "is not an origin"),
        (["--max-documents", "0"], "documents must be a whole number of at least 1"),
        (["--precision", "fp8"], "unknown precision"),
    ],
)
def test_wrong_options_are_errors_before_anything_is_loaded(rerank, arguments, message):
    done = rerank("serve", *arguments)
    assert done.returncode == 1
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == 1
