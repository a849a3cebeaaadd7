"""
Runs the tests of this folder, each file in the environment of its clients, beside servers of this one.

`make test-clients` makes the environments first.
"""

import json
import os
import subprocess
import sys
import sysconfig
import tempfile
from contextlib import ExitStack
from pathlib import Path

from conftest import write_cross_encoder
from haystack import Document
from rerank_servers import KEY, FullEngine, local_engine, running

from rerank_plugin import CrossEncoderRanker, load_pipeline
from rerank_plugin.search import Searcher

HERE = Path(__file__).parent
ROOT = HERE.parents[2]
QUERY = "the capital of germany"
TEXTS = ["The sky is blue.", "Berlin is the capital of Germany and a big city.", "Coffee and tea are drinks.", "A fox."]


def main() -> int:
    """Return the worst exit status."""
    with tempfile.TemporaryDirectory() as folder:
        model = write_cross_encoder(Path(folder) / "model")
        documents = [Document(id=str(i), content=text) for i, text in enumerate(TEXTS)]
        ranked = CrossEncoderRanker(model=str(model), backend="torch").run(query=QUERY, documents=documents)["documents"]
        expected = {"query": QUERY, "texts": TEXTS, "best": [int(document.id) for document in ranked]}
        with ExitStack() as stack:
            url = stack.enter_context(running({"tiny": local_engine(model)}))
            full_url = stack.enter_context(running({"tiny": FullEngine()}))
            for_mcp = serve_mcp(Path(folder), model, stack) if "mcp" in sys.argv[1:] else {}
            environment = {
                **for_mcp,
                **os.environ,
                "RERANK_URL": url,
                "RERANK_FULL_URL": full_url,
                "RERANK_KEY": KEY,
                "RERANK_EXPECTED": json.dumps(expected),
                "LITELLM_LOCAL_MODEL_COST_MAP": "True",  # otherwise it is fetched
            }
            return max(run(name, environment) for name in sys.argv[1:])


def serve_mcp(folder: Path, model: Path, stack: ExitStack) -> dict[str, str]:
    """Serve an index to agents, and return what its tests have to know."""
    sys.path.insert(0, str(HERE.parent / "mcp"))
    from mcp_server import serving, write_index

    index, yaml = write_index(folder, model, ROOT)
    (hit,) = Searcher(load_pipeline(yaml, index=index)).search(QUERY, top_k=1).hits
    expected = {"query": QUERY, "best": hit.document.id, "index": str(index), "pipeline": str(yaml)}
    return {
        "RERANK_MCP_URL": f"{stack.enter_context(serving(index, [yaml]))}/mcp",
        "RERANK_MCP_EXPECTED": json.dumps(expected),
        "RERANK_MCP_TESTS": str(HERE.parent / "mcp"),
        "RERANK_MCP_PATHS": f"{ROOT}:{sysconfig.get_path('purelib')}",
    }


def run(name: str, environment: dict[str, str]) -> int:
    """Run a file in its environment, without the settings and fixtures of the other tests."""
    python = ROOT / f".venv-clients-{name}" / "bin" / "python"
    command = [python, "-m", "pytest", "-q", "-c", os.devnull, "--noconftest", "-p", "no:cacheprovider"]
    return subprocess.run([*command, HERE / f"test_{name}.py"], env=environment, check=False, cwd=HERE).returncode


if __name__ == "__main__":
    sys.exit(main())
