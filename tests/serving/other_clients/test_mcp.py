"""The first version of the package `mcp`: its client with a server of the second version, and both with each other."""

import asyncio
import json
import os
import sys
from importlib.metadata import version

import pytest

if "RERANK_MCP_TESTS" not in os.environ:
    pytest.skip("`make test-clients` runs this beside a server", allow_module_level=True)

sys.path.insert(0, os.environ["RERANK_MCP_TESTS"])

from mcp_client import cancel, over_http, over_stdio, use_everything

EXPECTED = json.loads(os.environ["RERANK_MCP_EXPECTED"])
# Packages of the server come from its own environment, where this one does not have them.
SERVER = "import sys; sys.path += sys.argv.pop(1).split(':'); from rerank_plugin.cli import main; main()"


def test_it_is_the_first_version():
    assert version("mcp").startswith("1.")


def test_with_a_server_of_the_second_version_over_http():
    async def use():
        async with over_http(os.environ["RERANK_MCP_URL"], os.environ["RERANK_KEY"]) as session:
            await use_everything(session, EXPECTED["query"], EXPECTED["best"])

    asyncio.run(use())


def test_with_a_server_of_the_same_version_over_standard_input_and_output(tmp_path):
    async def use():
        prefix = ("-c", SERVER, os.environ["RERANK_MCP_PATHS"])
        arguments = ("--index", EXPECTED["index"], "--pipeline", EXPECTED["pipeline"])
        async with over_stdio(*arguments, log=tmp_path / "stdout", prefix=prefix) as session:
            await use_everything(session, EXPECTED["query"], EXPECTED["best"])
            call = asyncio.create_task(session.call_tool("search", {"query": "red fox"}))
            await asyncio.sleep(0)
            await cancel(session, call)
            await use_everything(session, EXPECTED["query"], EXPECTED["best"])

    asyncio.run(use())
    lines = (tmp_path / "stdout").read_text(encoding="utf-8").splitlines()
    assert {json.loads(line)["jsonrpc"] for line in lines} == {"2.0"}


def test_without_a_key_it_is_refused():
    async def use():
        async with over_http(os.environ["RERANK_MCP_URL"]):
            pass

    with pytest.raises(BaseException):  # noqa: B017, PT011 - a group of errors
        asyncio.run(use())
