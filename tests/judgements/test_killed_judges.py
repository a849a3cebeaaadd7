"""A process that is killed while it judges: every grade that it acknowledged is there."""

import os
import signal
import sys

import pytest
from haystack import Document
from zygote import run_python

from rerank_plugin.judgements.judgements import Judgements
from rerank_plugin.store import HybridDocumentStore

JUDGE = """
    import itertools, sys
    from rerank_plugin.judgements.judgements import Judgement, Judgements
    judgements = Judgements.open(sys.argv[1])
    for number in itertools.count():
        done = judgements.judge(f"query {number}", Judgement(f"d{number % 5}", number % 4, "anna"))
        print(done.id, flush=True)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="needs SIGKILL")
@pytest.mark.parametrize("after", [1, 7, 20])
def test_every_acknowledged_grade_is_there(tmp_path, after):
    with HybridDocumentStore(tmp_path / "index") as store:
        store.write_documents([Document(id=f"d{number}", content=f"fox {number}") for number in range(5)])
    with run_python(JUDGE, tmp_path / "index") as process:
        acknowledged = [process.stdout.readline() for _ in range(after)]
        os.kill(process.pid, signal.SIGKILL)
        acknowledged += process.stdout.readlines()
    count = sum(line.endswith("\n") for line in acknowledged)
    judgements = Judgements.open(tmp_path / "index")
    judgements.store.verify()
    queries = judgements.queries()
    assert len(queries) - count in (0, 1), "at most the one that was being written"
    for number in range(count):
        assert [(g.document_id, g.grade) for g in judgements.grades(f"query {number}")] == [(f"d{number % 5}", number % 4)]
    judgements.close()
