"""U8: a search does not load what it does not need, and says what it prepares."""

import subprocess
import sys

import pytest
from zygote import run_python

from rerank_plugin.indexing import index_paths
from rerank_plugin.scoring.loading.spec import DEFAULT_MODEL

HEAVY = "import sys; print({'torch._C', 'transformers', 'sentence_transformers'} & set(sys.modules), file=sys.stderr)"
SEARCH = f"""
from rerank_plugin.cli import main
try:
    main()
finally:
    {HEAVY}
"""


def run(code, *arguments):
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_u8_the_first_search_says_what_it_converts_and_the_second_loads_neither_torch_nor_transformers(
    tmp_path, cross_encoder, repository, monkeypatch
):
    (tmp_path / "a.txt").write_text("The red fox jumps over the old dog.")
    index_paths([tmp_path / "a.txt"], tmp_path / "index", pipeline="indexing_keyword")
    yaml = (repository / "pipelines" / "bm25_rerank.yaml").read_text().replace(DEFAULT_MODEL, str(cross_encoder))
    (tmp_path / "small.yaml").write_text(yaml)
    command = ["search", "red fox", "--index", tmp_path / "index", "--pipeline", tmp_path / "small.yaml", "--json"]
    monkeypatch.setenv("RERANK_PLUGIN_CACHE", str(tmp_path / "cache"))
    with run_python(SEARCH, *command) as first:  # what it has loaded does not matter
        _, errors = first.communicate()
    assert first.returncode == 0, errors
    line, _ = errors.splitlines()
    assert line == f"converting {cross_encoder.name} for openvino (fp32), once; it is kept in {tmp_path / 'cache'}"
    second = run(SEARCH, *command)
    assert (second.returncode, second.stderr.strip()) == (0, "set()")


POSTPONED = """
import sys
from rerank_plugin.cli.lazy_torch import postpone_torch
before = list(sys.meta_path)
postpone_torch()
import torch
import haystack
assert "torch._C" not in sys.modules
import torch.distributed  # torch imports it itself: it must not be executed twice
import torch.nn as nn
assert sys.modules["torch.distributed"] is torch.distributed
assert torch.distributed.__spec__.loader.get_filename() == torch.distributed.__file__
assert nn.Linear(2, 3)(torch.ones(1, 2)).shape == (1, 3)
assert not [finder for finder in sys.meta_path if type(finder).__module__.startswith("rerank_plugin")]
postpone_torch()  # nothing to do any more
import sentence_transformers
"""


@pytest.mark.slow
def test_a_postponed_torch_is_the_real_one():
    done = run(POSTPONED)
    assert done.returncode == 0, done.stderr
