"""
Runs the tests of this folder, each file in the environment of its clients, beside servers of this one.

`make test-clients` makes the environments first.
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from conftest import write_cross_encoder
from haystack import Document
from rerank_servers import KEY, FullEngine, local_engine, running

from rerank_plugin import CrossEncoderRanker

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
        with running({"tiny": local_engine(model)}) as url, running({"tiny": FullEngine()}) as full_url:
            environment = {
                **os.environ,
                "RERANK_URL": url,
                "RERANK_FULL_URL": full_url,
                "RERANK_KEY": KEY,
                "RERANK_EXPECTED": json.dumps(expected),
                "LITELLM_LOCAL_MODEL_COST_MAP": "True",  # otherwise it is fetched
            }
            return max(run(name, environment) for name in sys.argv[1:])


def run(name: str, environment: dict[str, str]) -> int:
    """Run a file in its environment, without the settings and fixtures of the other tests."""
    python = ROOT / f".venv-clients-{name}" / "bin" / "python"
    command = [python, "-m", "pytest", "-q", "-c", os.devnull, "--noconftest", "-p", "no:cacheprovider"]
    return subprocess.run([*command, HERE / f"test_{name}.py"], env=environment, check=False, cwd=HERE).returncode


if __name__ == "__main__":
    sys.exit(main())
