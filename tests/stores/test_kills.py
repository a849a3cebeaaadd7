"""A run that is killed at any point is resumed to the same documents as one that was not."""

import json
import random

import pytest
from conftest import SENTENCES
from test_indexing import stored
from zygote import run_python

from rerank_plugin.indexing import index_paths

pytestmark = pytest.mark.slow
RUN = "import sys; sys.path.insert(0, sys.argv.pop(1)); import dying; dying.main()"
# Of 40 points; `make soak` kills at 20 random moments.
POINTS = (0.3, 0.8)


def write(folder, seed):
    """Files and a corpus; another seed gives other texts, and another file fewer."""
    folder.mkdir(exist_ok=True)
    chance = random.Random(seed)
    for path in folder.iterdir():
        path.unlink()
    for number in range(4):
        if number != seed % 4:
            text = "\n\n".join(f"# Part {i}\n\n{chance.choice(SENTENCES)}" for i in range(1 + number % 2))
            (folder / f"{number}.md").write_text(text, encoding="utf-8")
    rows = [{"_id": f"d{i}", "title": f"Row {i}", "text": chance.choice(SENTENCES)} for i in range(20 - 5 * seed)]
    (folder / "corpus.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")


def run(point, pipeline, folder, repository):
    process = run_python(RUN, repository / "tests" / "stores", point, pipeline, folder)
    output, errors = process.communicate()
    assert process.returncode in ((0,) if point == 0 else (0, -9)), errors
    return process.returncode, output


@pytest.mark.parametrize("name", ["qdrant", "pgvector"])
def test_a_killed_run_is_resumed_to_the_same_documents(name, new_database, tmp_path, bi_encoder, repository):
    files = tmp_path / "files"
    whole = new_database(name, folder=f"{name}-whole")
    pipeline = whole.pipeline(whole.indexing, model=bi_encoder)
    expected, points = [], []
    for seed in (0, 1):
        write(files, seed)
        points.append(int(run(0, pipeline, files, repository)[1]))
        expected.append(stored(pipeline))
    assert expected[0] != expected[1]

    for position in POINTS:
        killed = new_database(name, folder=f"{name}-{position}")
        other = killed.pipeline(killed.indexing, model=bi_encoder)
        for seed in (0, 1):
            write(files, seed)
            status, _ = run(max(1, round(position * points[seed])), other, files, repository)
            assert status == -9, f"the run ended before point {position}"
            report = index_paths([files], None, pipeline=other, prune=True)
            assert report.failed == []
            # The pipelines differ in the name of the collection, and so the fingerprints and ids do.
            assert texts(stored(other)) == texts(expected[seed]), f"killed at {position} of {points[seed]}"
        assert index_paths([files], None, pipeline=other, prune=True).passages == 0


def texts(documents):
    return sorted((source, text, vector) for text, source, vector in documents.values())
