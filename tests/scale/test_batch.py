"""Jobs over files in blocks: the same output however often they are killed, and wherever their blocks run."""

import json
import random
import signal

import numpy as np
import pytest
from conftest import SENTENCES
from zygote import run_python

from rerank_plugin import HybridDocumentStore, load_pipeline, rank
from rerank_plugin.errors import InputFileError, InvalidValueError
from rerank_plugin.scale.blocks import plan_blocks, read_block
from rerank_plugin.scale.embedding import EmbedTask
from rerank_plugin.scale.run import run_job
from rerank_plugin.scale.tasks import MineTask, RankTask
from rerank_plugin.search import Searcher

QUERIES = ["capital of france", "red fox", "coffee and tea", "where are the books", "the sea"]


def write_rows(file, rows):
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return file


def read_rows(file):
    return [json.loads(line) for line in file.read_bytes().splitlines()]


@pytest.fixture
def pairs(tmp_path):
    rng = random.Random(3)
    rows = [
        {"n": n, "query": rng.choice(QUERIES), "text": f"{rng.choice(SENTENCES)} {rng.choice(SENTENCES)}"}
        for n in range(230)
    ]
    return write_rows(tmp_path / "pairs.jsonl", rows)


@pytest.fixture
def task(cross_encoder):
    return RankTask(str(cross_encoder), threads=1, backend="torch")


def test_scores_are_those_of_the_ranker(task, pairs, tmp_path, cross_encoder):
    result = run_job(task, [pairs], tmp_path / "out.jsonl", block_rows=50)
    assert (result.rows, result.blocks, result.resumed) == (230, 5, 0)
    rows = read_rows(tmp_path / "out.jsonl")
    assert [row["n"] for row in rows] == list(range(230))
    for row in rows[::37]:
        (own,) = rank(row["query"], [row["text"]], model=cross_encoder, backend="torch")
        assert row["score"] == pytest.approx(own.score, abs=1e-4)


def test_lists_of_documents_are_ranked(task, tmp_path, cross_encoder):
    rows = [
        {"id": "q1", "query": QUERIES[0], "documents": SENTENCES},
        {"id": "q2", "query": QUERIES[1], "documents": [{"id": f"d{n}", "text": text} for n, text in enumerate(SENTENCES)]},
        {"id": "q3", "query": QUERIES[2], "documents": []},
    ]
    run_job(task, [write_rows(tmp_path / "in.jsonl", rows)], tmp_path / "out.jsonl")
    first, second, third = read_rows(tmp_path / "out.jsonl")
    own = rank(QUERIES[0], SENTENCES, model=cross_encoder, backend="torch")
    assert [each["index"] for each in first["results"]] == [each.index for each in own]
    assert all(each["id"] == f"d{each['index']}" for each in second["results"])
    assert third == {"id": "q3", "query": QUERIES[2], "results": []}


def test_a_finished_job_is_not_repeated_and_another_one_is_refused(task, pairs, tmp_path):
    output = tmp_path / "out.jsonl"
    run_job(task, [pairs], output, block_rows=100)
    before = output.stat().st_mtime_ns
    assert run_job(task, [pairs], output, block_rows=100).resumed == 3
    assert output.stat().st_mtime_ns == before
    with pytest.raises(InvalidValueError, match="other settings \\(block_rows\\)"):
        run_job(task, [pairs], output, block_rows=50)
    write_rows(tmp_path / "foreign.jsonl", [])
    with pytest.raises(InvalidValueError, match="no job of this kind wrote it"):
        run_job(task, [pairs], tmp_path / "foreign.jsonl")


@pytest.mark.slow
def test_killed_at_any_time_and_resumed_it_writes_the_same_file(task, pairs, tmp_path):
    whole, resumed = tmp_path / "whole.jsonl", tmp_path / "resumed.jsonl"
    run_job(task, [pairs], whole, block_rows=20)
    code = f"""
        from pathlib import Path
        from rerank_plugin.scale.run import run_job
        from rerank_plugin.scale.tasks import RankTask

        def told(done, total):
            print(done, flush=True)

        run_job(RankTask({task.model!r}, threads=1, backend="torch"), [Path({str(pairs)!r})], Path({str(resumed)!r}),
                block_rows=20, on_progress=told)
        """
    for kill_at in ("3", "9"):
        with run_python(code) as process:
            for line in process.stdout:
                if line.strip() == kill_at:
                    process.kill()
                    break
            assert process.wait() in (-signal.SIGKILL, 0)
    result = run_job(task, [pairs], resumed, block_rows=20)
    assert result.resumed >= 9
    assert resumed.read_bytes() == whole.read_bytes()
    assert [path.name for path in (tmp_path / "resumed.jsonl.parts").iterdir()] == ["job.json"]


def test_parquet_in_and_out(task, pairs, tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet")
    import pyarrow as pa

    table = pa.Table.from_pylist(read_rows(pairs))
    parquet.write_table(table, tmp_path / "pairs.parquet", row_group_size=33)
    run_job(task, [tmp_path / "pairs.parquet"], tmp_path / "out.parquet", block_rows=50)
    run_job(task, [pairs], tmp_path / "out.jsonl", block_rows=50)
    assert parquet.read_table(tmp_path / "out.parquet").to_pylist() == read_rows(tmp_path / "out.jsonl")


def test_line_separators_in_a_text_do_not_end_a_row_of_parquet(task, tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet")
    text = "one\u2028two\u2029three\x85four\x0bfive\x1csix"
    write_rows(tmp_path / "in.jsonl", [{"query": "fox", "text": text}])
    run_job(task, [tmp_path / "in.jsonl"], tmp_path / "out.parquet", block_rows=50)
    assert [row["text"] for row in parquet.read_table(tmp_path / "out.parquet").to_pylist()] == [text]


def test_blocks_are_the_file_cut_in_pieces(tmp_path):
    rng = random.Random(1)
    rows = [{"n": n, "text": "ж" * rng.randrange(200)} for n in range(57)]
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" * rng.choice([1, 1, 2]) for row in rows)
    file = tmp_path / "in.jsonl"
    file.write_text(text.rstrip("\n"), encoding="utf-8")
    for size in (1, 7, 57, 100):
        blocks = plan_blocks([file, file], size)
        assert [row for block in blocks for row in read_block(block)] == rows * 2
        assert [block.number for block in blocks] == list(range(len(blocks)))


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("[1]", "bad.jsonl, line 3: must be an object"),
        ("{", "bad.jsonl, line 3: not valid JSON"),
        ('{"query": "fox"}', "text must be a text, got None"),
        ('{"query": 5, "text": "x"}', "query must be a text, got 5"),
        ('{"query": "fox", "documents": "x"}', "documents must be a list of texts"),
        ('{"query": "fox", "documents": [1]}', "documents must be a text, got 1"),
    ],
)
def test_what_is_wrong_with_a_row_is_named(task, tmp_path, line, message):
    file = tmp_path / "bad.jsonl"
    file.write_text('{"query": "fox", "text": "a fox"}\n\n' + line + "\n")
    with pytest.raises(InputFileError, match=message):
        run_job(task, [file], tmp_path / "out.jsonl")
    assert not (tmp_path / "out.jsonl").exists()


@pytest.fixture
def index(tmp_path):
    from haystack import Document

    store = HybridDocumentStore(tmp_path / "searched")
    store.write_documents([Document(id=f"d{n}", content=text) for n, text in enumerate(SENTENCES)])
    store.close()
    return tmp_path / "searched"


def test_mined_negatives_are_no_positives_and_always_the_same(index, tmp_path):
    rows = [
        {"query": "capital of france and germany", "positives": [SENTENCES[0]]},
        {"query": "sea, moon and books", "positives": [SENTENCES[7]]},
    ]
    file = write_rows(tmp_path / "queries.jsonl", rows)
    for name in ("one", "two"):
        run_job(MineTask(index), [file], tmp_path / f"{name}.jsonl", block_rows=1)
    assert (tmp_path / "one.jsonl").read_bytes() == (tmp_path / "two.jsonl").read_bytes()
    for row, mined in zip(rows, read_rows(tmp_path / "one.jsonl"), strict=True):
        assert mined["negatives"]
        assert set(mined["negatives"]) <= set(SENTENCES) - set(row["positives"])


@pytest.mark.slow
def test_an_index_made_in_blocks_is_searched_like_any_other(bi_encoder, tmp_path):
    rows = [{"_id": f"d{n}", "title": f"Title {n}", "text": text, "lang": "en"} for n, text in enumerate(SENTENCES)]
    file = write_rows(tmp_path / "corpus.jsonl", rows)
    run_job(EmbedTask(embedding_model=str(bi_encoder)), [file], tmp_path / "index", block_rows=3)
    searcher = Searcher(load_pipeline("hybrid", index=tmp_path / "index", embedding_model=str(bi_encoder)))
    hit = searcher.search("red fox", top_k=1, filters={"field": "meta.lang", "operator": "==", "value": "en"}).hits[0]
    assert hit.document.content == SENTENCES[2]
    assert (hit.document.meta["doc_id"], hit.title) == ("d2", "Title 2")
    store = HybridDocumentStore(tmp_path / "index")
    assert store.count_documents() == 8
    assert all(np.linalg.norm(document.embedding) > 0 for document in store.filter_documents())
    store.close()
    assert run_job(EmbedTask(embedding_model=str(bi_encoder)), [file], tmp_path / "index", block_rows=3).resumed == 3


def test_the_commands(rerank, pairs, cross_encoder, tmp_path, index):
    options = ["--output", tmp_path / "o.jsonl", "--model", cross_encoder, "--backend", "torch", "--block-rows", 100]
    done = rerank("batch", "rank", pairs, *options)
    assert done.returncode == 0, done.stderr
    assert "230 rows in 3 blocks" in done.stdout
    again = rerank("batch", "rank", pairs, *options)
    assert "(3 of them were done before)" in again.stdout
    file = write_rows(tmp_path / "q.jsonl", [{"query": "sea, moon and books", "positives": [SENTENCES[7]]}])
    assert (
        rerank("batch", "mine", file, "--output", tmp_path / "m.jsonl", "--index", index, "--ranks", "1-3:2").returncode == 0
    )
    assert len(read_rows(tmp_path / "m.jsonl")[0]["negatives"]) == 2
    failed = rerank("batch", "rank", tmp_path / "none.jsonl", "--output", tmp_path / "p.jsonl")
    assert (failed.returncode, failed.stderr) == (1, f"error: {tmp_path}/none.jsonl does not exist: check the path\n")
