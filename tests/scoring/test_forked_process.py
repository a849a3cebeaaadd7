"""A fork inherits a loaded model without the threads that run it."""

import pytest
from zygote import run_python

pytestmark = pytest.mark.slow  # subprocesses that load models

CODE = """
import os, signal, sys
from rerank_plugin.errors import ModelError
from rerank_plugin.scoring.loading.spec import ModelSpec
from rerank_plugin.scoring.scorer import ScorerSettings, load_scorer

def load():
    return load_scorer(ModelSpec(sys.argv[1]), ScorerSettings(backend=sys.argv[2], precision="fp32", num_threads=2))

if sys.argv[3] == "before":
    scorer = load()
    scorer.logits("moon", ["the moon is far"])
child = os.fork()
if child == 0:
    signal.alarm(300)  # a child that waits for ever is killed
    for step in (lambda: scorer.logits("moon", ["sun"]), load) if sys.argv[3] == "before" else (load,):
        try:
            result = step()
            print("worked", flush=True)
        except ModelError as error:
            print(error, flush=True)
    os._exit(0)
print("status", os.waitpid(child, 0)[1], flush=True)
if sys.argv[3] == "before":
    scorer.logits("moon", ["sun"])
"""


def fork(*arguments: str) -> list[str]:
    with run_python(CODE, *arguments) as process:
        output, errors = process.communicate()
    assert process.returncode == 0, errors
    return output.splitlines()


@pytest.mark.parametrize("backend", ["openvino", "torch"])
def test_in_a_fork_of_a_process_with_a_model_scoring_and_loading_fail_at_once(cross_encoder, backend):
    used, loaded, status = fork(str(cross_encoder), backend, "before")
    for message in (used, loaded):
        assert "forked" in message
        assert "spawn" in message
    assert status == "status 0"


def test_a_model_can_be_loaded_after_the_fork(cross_encoder):
    assert fork(str(cross_encoder), "openvino", "after") == ["worked", "status 0"]
