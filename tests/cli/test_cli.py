"""The command line, run as a user does."""

import json
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from haystack import Document

from rerank_plugin import HybridDocumentStore
from rerank_plugin.indexing import index_paths


@pytest.fixture(scope="module")
def index(tmp_path_factory, repository) -> Path:
    folder = tmp_path_factory.mktemp("cli") / "index"
    index_paths([repository / "sample_corpus"], folder, pipeline="indexing_keyword")
    return folder


def test_index_and_search(rerank, tmp_path, repository):
    done = rerank("index", repository / "sample_corpus", "--index", tmp_path / "index", "--pipeline", "indexing_keyword")
    progress = [line for line in done.stderr.splitlines() if line.startswith("Indexing: ")]  # on a slow machine
    assert (done.returncode, done.stderr.splitlines()) == (0, progress)
    assert "281 passages of 1 file written" in done.stdout
    again = rerank("index", repository / "sample_corpus", "--index", tmp_path / "index", "--pipeline", "indexing_keyword")
    assert "0 passages of 0 files" in again.stdout
    assert "1 file unchanged" in again.stdout


@pytest.mark.slow
def test_search_shows_ranks_scores_and_times(rerank, index):
    done = rerank("search", "how do bees make honey", "--index", index, "--top-k", 5)
    assert done.returncode == 0, done.stderr
    over, heads, *rows = done.stdout.splitlines()
    assert over.split() == ["first", "stage"]
    assert heads.split() == ["rank", "passage", "score", "moved", "rank", "score"]
    assert rows[0].split()[0] == "1"
    assert "documents.jsonl, en-" in rows[1]
    assert "milliseconds: bm25_retriever" in done.stdout
    assert "ranker" in rows[-1] or "together" in rows[-1]


def test_search_as_json(rerank, index):
    filters = json.dumps({"field": "meta.lang", "operator": "==", "value": "en"})
    done = rerank("search", "bees", "--index", index, "--pipeline", "bm25", "--top-k", 3, "--filters", filters, "--json")
    result = json.loads(done.stdout)
    assert [hit["rank"] for hit in result["hits"]] == [1, 2, 3]
    assert all(hit["meta"]["lang"] == "en" and hit["sentence"] for hit in result["hits"])
    assert set(result["milliseconds"]) == {"bm25_retriever"}


def test_eval_as_json(rerank, index, repository, tmp_path):
    out = ["--output", tmp_path / "out", "--limit", 20, "--json"]
    done = rerank("eval", repository / "sample_corpus", "--index", index, "--pipeline", "bm25", "--language", "en", *out)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["queries"] == 20
    measures = result["systems"]["bm25"]["measures"]
    per_query = result["systems"]["bm25"]["per_query"]["nDCG@10"]
    assert 0.3 < measures["nDCG@10"] <= 1.0
    assert measures["nDCG@10"] == pytest.approx(sum(per_query.values()) / 20)


def test_u11_every_row_of_doctor_is_good_or_says_what_to_do(rerank, index):
    done = rerank("doctor", "--index", index, "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert set(found) == {"versions", "machine", "models", "index"}
    assert all(set(row) == {"value", "advice"} for rows in found.values() for row in rows.values())
    assert found["versions"]["tantivy"]["value"][0].isdigit()
    assert found["machine"]["backend"]["value"].startswith("openvino: ")
    assert found["machine"]["precision"]["value"].split(":")[0] in {"bf16", "fp32"}
    assert found["models"]["Hub"]["value"] == "cannot be reached: HF_HUB_OFFLINE is set"
    assert found["models"]["embeddings"] == {
        "value": "sentence-transformers/all-MiniLM-L6-v2, from the extra offline",
        "advice": None,
    }
    assert found["index"]["documents"] == {"value": 281, "advice": None}
    assert "language en" in found["index"]["settings"]["value"]
    assert "no document has one" in found["index"]["embeddings"]["advice"]
    shown = rerank("doctor", "--index", index).stdout
    assert "exact search is fast" in shown
    assert shown.count("->") == 1 + sum(row["advice"] is not None for rows in found.values() for row in rows.values())


def test_u11_doctor_reports_recall_and_damage(rerank, tmp_path):
    with HybridDocumentStore(tmp_path / "index") as store:
        store.write_documents([Document(content=f"fox {i}", embedding=[1.0, i]) for i in range(20)])
    healthy = json.loads(rerank("doctor", "--index", tmp_path / "index", "--json").stdout)["index"]
    assert (healthy["embeddings"], healthy["recall@10"]["value"]) == ({"value": 20, "advice": None}, 1.0)
    connection = sqlite3.connect(tmp_path / "index" / "documents.sqlite")
    connection.execute("UPDATE documents SET content = 'fox x' WHERE row = 3")
    connection.commit()
    connection.close()
    damaged = json.loads(rerank("doctor", "--index", tmp_path / "index", "--json").stdout)["index"]
    assert damaged["damage"]["value"] == "the index cannot be used"
    assert "is damaged" in damaged["damage"]["advice"]


def newer(index: Path) -> None:
    """Make an index look as if a newer version had written it."""
    connection = sqlite3.connect(index / "documents.sqlite")
    connection.execute("UPDATE settings SET value = 99 WHERE name = 'format'")
    connection.commit()
    connection.close()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["index", "{tmp}/no-such"], "no-such does not exist"),
        (["index", "{tmp}/binary.txt", "--index", "{tmp}/i"], "binary.txt is a binary file"),
        (["index", "{tmp}/bad.jsonl", "--index", "{tmp}/i"], "bad.jsonl, line 1: not valid JSON"),
        (["index", "{tmp}/good.txt", "--index", "{tmp}/newer", "--pipeline", "indexing_keyword"], "upgrade rerank-plugin"),
        (["index", "{tmp}/good.txt", "--index", "{tmp}/i", "--pipeline", "nope"], "unknown pipeline 'nope'"),
        (["index", "{tmp}/good.txt", "--index", "{tmp}/i", "--language", "xx"], "'xx'"),
        (["search", "fox", "--index", "{tmp}/none"], "none"),
        (["search", " ", "--index", "{index}", "--pipeline", "bm25"], "query is empty"),
        (
            ["search", "fox", "--index", "{index}", "--pipeline", "bm25", "--top-k", "0"],
            "top_k must be a whole number of at least 1, got 0",
        ),
        (["search", "fox", "--index", "{index}", "--pipeline", "{tmp}/faulty.yaml"], "unexpected keyword argument 'topk'"),
        (["search", "fox", "--index", "{index}", "--pipeline", "{tmp}/model.yaml"], "unknown model 'minilm-l6-xx'"),
        (["search", "fox", "--index", "{index}", "--filters", "{{"], "--filters is not valid JSON"),
        (["search", "fox", "--index", "{index}", "--filters", "[]"], "--filters must be an object"),
        (["search", "fox", "--index", "{index}", "--pipeline", "bm25", "--filters", '{{"field": "x"}}'], "operator"),
        (["doctor", "--index", "{tmp}/none"], "there is no index in"),
        (["eval", "{tmp}", "--index", "{index}"], "has no split 'test'"),
        (["train", "{tmp}/no-such.jsonl", "--output", "{tmp}/m"], "no-such.jsonl does not exist"),
        (["train", "{tmp}/bad.jsonl", "--output", "{tmp}/m"], "bad.jsonl, line 1"),
    ],
)
def test_a_mistake_gets_one_line_and_status_1(rerank, tmp_path, index, arguments, message):
    (tmp_path / "binary.txt").write_bytes(b"a\0b")
    (tmp_path / "bad.jsonl").write_text('{"_id": ')
    (tmp_path / "good.txt").write_text("good")
    ranker = (
        "components:\n  ranker:\n    type: rerank_plugin.components.ranker.CrossEncoderRanker\n    init_parameters: {}\n"
    )
    (tmp_path / "faulty.yaml").write_text(ranker.format("{topk: 5}") + "connections: []\n")
    bm25 = Path(__file__).parents[2] / "pipelines" / "bm25_rerank.yaml"
    (tmp_path / "model.yaml").write_text(bm25.read_text().replace("model: me5-l12-enru", "model: minilm-l6-xx"))
    index_paths([tmp_path / "good.txt"], tmp_path / "newer", pipeline="indexing_keyword")
    newer(tmp_path / "newer")
    done = rerank(*(argument.format(tmp=tmp_path, index=index) for argument in arguments))
    assert done.returncode == 1
    lines = done.stderr.strip().splitlines()
    assert len(lines) == 1, done.stderr
    assert lines[0].startswith("error: ")
    assert message in lines[0]


@pytest.mark.slow
def test_debug_shows_the_traceback(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "rerank_plugin", "--debug", "index", str(tmp_path / "no-such")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "Traceback" in done.stderr


@pytest.mark.parametrize("command", [[], ["index"], ["search"], ["eval"], ["train"], ["doctor"]])
def test_every_command_has_help(rerank, command):
    done = rerank(*command, "--help")
    assert done.returncode == 0
    assert "Usage: " in done.stdout
    if command:
        assert "--json" in done.stdout
