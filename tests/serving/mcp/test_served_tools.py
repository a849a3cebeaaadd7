"""`rerank mcp` with the official Python client, over standard input and output, and over HTTP."""

import asyncio
import json
import threading

import httpx
import pytest
from conftest import SENTENCES
from haystack import Document, component
from mcp_client import cancel, over_http, over_stdio, plain, use_everything
from mcp_server import serving, write_index
from rerank_servers import KEY
from zygote import run_python

from rerank_plugin.scoring.limits import CallLimits

waits, entered, stopped = threading.Event(), threading.Event(), threading.Event()


@component
class Gate:
    """While `waits` is set, lets documents pass only once their search was cancelled, which it tells."""

    @component.output_types(documents=list[Document])
    def run(self, documents: list[Document]) -> dict:
        if waits.is_set():
            entered.set()
            limits, patience = CallLimits(), threading.Event()
            for _ in range(3000):
                if limits.is_cancelled:
                    stopped.set()
                    break
                patience.wait(0.01)
        return {"documents": documents}


@pytest.fixture(scope="module")
def written(tmp_path_factory, cross_encoder, repository):
    return write_index(tmp_path_factory.mktemp("mcp"), cross_encoder, repository)


@pytest.fixture(scope="module")
def index(written):
    return written[0]


@pytest.fixture(scope="module")
def yaml(written):
    return written[1]


@pytest.fixture(scope="module")
def best(index, yaml):
    from rerank_plugin import load_pipeline
    from rerank_plugin.search import Searcher

    return Searcher(load_pipeline(yaml, index=index)).search("the red fox", top_k=1).hits[0].document.id


@pytest.fixture(scope="module")
def url(index, yaml):
    text = yaml.read_text().replace(
        "connections:\n",
        "  gate:\n    type: test_served_tools.Gate\nconnections:\n  - {sender: gate.documents, receiver: ranker.documents}\n",
    )
    text = text.replace(
        "sender: bm25_retriever.documents\n    receiver: ranker.documents",
        "sender: bm25_retriever.documents\n    receiver: gate.documents",
    )
    gated = index.parent / "gated.yaml"
    gated.write_text(text)
    from haystack.core.serialization_security import allow_deserialization_module

    allow_deserialization_module("test_served_tools")
    with serving(index, [yaml, gated], about="sentences", url_template="https://example.org/{source}#page={page}") as url:
        yield url


async def test_all_tools_and_resources_over_http(url, best):
    async with over_http(f"{url}/mcp", KEY) as session:
        await use_everything(session, "the red fox", best)
        (hit,) = plain(await session.call_tool("search", {"query": "red fox", "top_k": 1}))["structuredContent"]["results"]
        assert hit["url"] == f"https://example.org/book%20one.pdf#page={best[1:]}"
        search = plain(await session.list_tools())["tools"][0]
        assert "Searches sentences." in search["description"]
        assert search["inputSchema"]["properties"]["pipeline"]["enum"] == ["small", "gated"]


async def test_many_calls_at_once_each_get_their_own_answer(url):
    async with over_http(f"{url}/mcp", KEY) as session:
        queries = [text.rstrip(".") for text in SENTENCES] * 4
        answers = await asyncio.gather(
            *(session.call_tool("search", {"query": query, "top_k": 1, "rerank": False}) for query in queries)
        )
        texts = [plain(answer)["structuredContent"]["results"][0]["text"].rstrip(".") for answer in answers]
    assert texts == queries


async def test_a_cancelled_call_stops(url):
    waits.set()
    async with over_http(f"{url}/mcp", KEY) as session:
        call = asyncio.create_task(session.call_tool("search", {"query": "red fox", "pipeline": "gated"}))
        assert await asyncio.to_thread(entered.wait, 20)
        await cancel(session, call)
        assert await asyncio.to_thread(stopped.wait, 20)
        waits.clear()
        again = plain(await session.call_tool("search", {"query": "fox"}))
        assert again["structuredContent"]["results"]


async def test_without_a_key_it_is_refused(url):
    async with httpx.AsyncClient() as client:
        for headers in ({}, {"Authorization": "Bearer another-key-of-somebody"}):
            answer = await client.post(f"{url}/mcp", json={}, headers=headers)
            assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")
        assert (await client.get(f"{url}/health")).status_code == 200
        elsewhere = {"Authorization": f"Bearer {KEY}", "Host": "attacker.example"}
        assert (await client.post(f"{url}/mcp", json={}, headers=elsewhere)).status_code == 421
    with pytest.raises(Exception):  # noqa: B017, PT011 - each version of the client has its own
        async with over_http(f"{url}/mcp"):
            pass


@pytest.mark.slow
async def test_over_standard_input_and_output_which_carries_the_protocol_alone(index, yaml, best, tmp_path):
    log = tmp_path / "stdout"
    async with over_stdio("--index", str(index), "--pipeline", str(yaml), log=log) as session:
        await use_everything(session, "the red fox", best)
    lines = log.read_text(encoding="utf-8").splitlines()
    assert len(lines) > 10
    assert {json.loads(line)["jsonrpc"] for line in lines} == {"2.0"}


def test_what_is_wrong_is_said_before_anything_is_loaded(rerank, tmp_path):
    for arguments, message in (
        (["--index", tmp_path / "none"], "there is no index at"),
        (["--index", tmp_path, "--without-keys"], "keys are for --http"),
        (["--index", tmp_path, "--http", "--host", "0.0.0.0"], "there are no keys: pass --keys-file"),
    ):
        failed = rerank("mcp", *arguments)
        assert failed.returncode == 1
        assert message in failed.stderr
        assert len(failed.stderr.splitlines()) == 1


@pytest.mark.slow
def test_an_empty_index_ends_the_command_with_the_reason(tmp_path):
    (tmp_path / "index").mkdir()
    code = "import sys; sys.argv[0] = 'rerank'; from rerank_plugin.cli import main; main()"
    process = run_python(code, "mcp", "--index", tmp_path / "index", "--http", "--port", 0)
    _, errors = process.communicate()
    assert process.returncode == 1
    assert "fill it with `rerank index`" in errors
