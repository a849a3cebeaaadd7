"""A real Hayhooks server with the wrappers of deploy/hayhooks and a packaged YAML, and a scripted language model behind it."""

import json
import os
import shutil
import socket
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import pytest
from conftest import SENTENCES
from haystack import Document

from rerank_plugin import HybridDocumentStore
from rerank_plugin.scoring.loading.spec import DEFAULT_MODEL

pytest.importorskip("hayhooks")

ANSWER = ["Paris", " is the", " capital", " [1]."]
QUESTION = "what is the capital of france"


class ChatServer(BaseHTTPRequestHandler):
    """Streams an answer as OpenAI's chat protocol does, and keeps the prompts."""

    prompts: list[str] = []  # noqa: RUF012 - shared by the handler's instances on purpose

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.prompts.append(body["messages"][-1]["content"])
        assert body["stream"]
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.end_headers()
        for number, text in enumerate([*ANSWER, None]):
            delta = {} if text is None else {"role": "assistant", "content": text}
            choice = {"index": 0, "delta": delta, "finish_reason": "stop" if text is None else None}
            chunk = {
                "id": "1",
                "object": "chat.completion.chunk",
                "created": number,
                "model": body["model"],
                "choices": [choice],
            }
            self.wfile.write(f"data: {json.dumps(chunk)}\n\n".encode())
        self.wfile.write(b"data: [DONE]\n\n")

    def log_message(self, *arguments):
        pass


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return listening.getsockname()[1]


@pytest.fixture(scope="module")
def folder(tmp_path_factory, cross_encoder, repository):
    """What a user has: the wrappers, a YAML with the path of the index, and the index, which has embeddings."""
    folder = tmp_path_factory.mktemp("hayhooks")
    store = HybridDocumentStore(folder / "index")
    texts = enumerate(SENTENCES)
    meta = [{"title": f"Sentence {n}", "source": "book.pdf", "page": n + 1} for n in range(8)]
    store.write_documents([Document(id=f"d{n}", content=text, meta=meta[n], embedding=[float(n), 1.0]) for n, text in texts])
    store.close()
    shutil.copytree(repository / "deploy" / "hayhooks" / "pipelines", folder / "pipelines")
    for name in ("bm25_rerank", "rag_rerank"):
        text = (repository / "pipelines" / f"{name}.yaml").read_text().replace(DEFAULT_MODEL, str(cross_encoder))
        (folder / f"{name}.yaml").write_text(text.replace("path: index", f"path: {folder / 'index'}"))
    shutil.copy(folder / "bm25_rerank.yaml", folder / "pipelines" / "plain.yml")
    return folder


@pytest.fixture(scope="module")
def hayhooks(folder, repository):
    chat = ThreadingHTTPServer(("127.0.0.1", 0), ChatServer)
    threading.Thread(target=chat.serve_forever, daemon=True).start()
    port = free_port()
    environment = {
        **os.environ,
        "PYTHONPATH": str(repository),
        "HAYSTACK_DESERIALIZATION_ALLOWLIST": "rerank_plugin",
        "HAYHOOKS_STARTUP_DEPLOY_STRATEGY": "sequential",
        "RERANK_INDEX": str(folder / "index"),
        "RERANK_PIPELINE": str(folder / "bm25_rerank.yaml"),
        "RERANK_CHAT_PIPELINE": str(folder / "rag_rerank.yaml"),
        "OPENAI_API_KEY": "secret",
        "OPENAI_BASE_URL": f"http://127.0.0.1:{chat.server_port}/v1",
    }
    command = [str(Path(sys.executable).with_name("hayhooks")), "run", "--port", str(port), "--host", "127.0.0.1"]
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(
            [*command, "--pipelines-dir", str(folder / "pipelines")], cwd=folder, env=environment, stdout=log, stderr=log
        )
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as client:
        waiting = threading.Event()
        while process.poll() is None:
            try:
                client.get("/status")
                break
            except httpx.ConnectError:
                waiting.wait(0.1)
        assert process.poll() is None, (folder / "log").read_text()
        yield client
    process.terminate()
    process.wait()
    chat.shutdown()
    chat.server_close()


@pytest.mark.slow
def test_wrappers_and_yaml_are_deployed_and_answer(hayhooks, folder):
    status = hayhooks.get("/status").json()
    assert set(status["pipelines"]) == {"plain", "rerank_chat", "rerank_search"}, (folder / "log").read_text()

    found = hayhooks.post("/rerank_search/run", json={"query": QUESTION})
    assert found.status_code == 200, found.text
    hits = found.json()["result"]["hits"]
    assert hits[0]["source"] == "book.pdf"
    assert "embedding" not in json.dumps(hits)
    filters = {"field": "meta.page", "operator": "==", "value": 3}
    only = hayhooks.post("/rerank_search/run", json={"query": "red fox", "filters": filters, "top_k": 2, "rerank": False})
    assert [hit["id"] for hit in only.json()["result"]["hits"]] == ["d2"]

    plain = hayhooks.post("/plain/run", json={"query": QUESTION}).json()["result"]
    assert [each["id"] for each in plain["collapser"]["documents"]] == [hit["id"] for hit in hits]

    body = {"model": "rerank_chat", "messages": [{"role": "user", "content": QUESTION}]}
    whole = hayhooks.post("/v1/chat/completions", json={**body, "stream": False}).json()
    text = whole["choices"][0]["message"]["content"]
    assert text.startswith("Paris is the capital [1].\n\nSources:\n[1] Sentence ")
    assert ", book.pdf, page " in text
    with hayhooks.stream("POST", "/v1/chat/completions", json={**body, "stream": True}) as answer:
        lines = [line.removeprefix("data: ") for line in answer.iter_lines() if line.startswith("data: {")]
    parts = [json.loads(line)["choices"][0]["delta"].get("content") or "" for line in lines]
    assert "".join(parts) == text
    assert parts[: len(ANSWER)] == ANSWER or len([part for part in parts if part]) >= len(ANSWER), "it streams"
    assert QUESTION in ChatServer.prompts[-1]
    assert SENTENCES[0] in ChatServer.prompts[-1]
