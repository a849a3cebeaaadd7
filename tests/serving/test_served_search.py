"""Searches of an index over HTTP."""

import json

import httpx
import pytest
from conftest import SENTENCES
from rerank_servers import KEY, FullEngine, running

from rerank_plugin.errors import StoreError
from rerank_plugin.indexing import index_paths
from rerank_plugin.pipelines import load_pipeline
from rerank_plugin.scoring.loading.spec import DEFAULT_MODEL
from rerank_plugin.search import Searcher
from rerank_plugin.serving.search_service import SearchService

QUERY = "the capital and the sea"


@pytest.fixture(scope="module")
def index(tmp_path_factory):
    folder = tmp_path_factory.mktemp("searched")
    for number, text in enumerate(SENTENCES):
        (folder / f"{number}.txt").write_text(f"{text} The sea is blue.")
    index_paths([folder], folder / "index", pipeline="indexing_keyword")
    return folder / "index"


@pytest.fixture(scope="module")
def yaml(index, cross_encoder, repository):
    text = (repository / "pipelines" / "bm25_rerank.yaml").read_text().replace(DEFAULT_MODEL, str(cross_encoder))
    file = index.parent / "small.yaml"
    file.write_text(text)
    return file


@pytest.fixture(scope="module")
def search(index, yaml):
    """Send a request to a server with two pipelines."""
    service = SearchService(index, [str(yaml), "bm25"], max_waiting=20)
    with running({"tiny": FullEngine()}, keys=(), searches=service) as url, httpx.Client(base_url=url, timeout=30) as client:

        def send(status=200, **body):
            answer = client.post("/search", json=body)
            assert answer.status_code == status, answer.text
            return answer.json()

        send.client = client
        yield send


@pytest.mark.slow
def test_hits_are_those_of_a_search_in_this_process(search, index, yaml):
    found = search(query=QUERY, top_k=4, highlights=True)
    own = Searcher(load_pipeline(yaml, index=index)).search(QUERY, top_k=4, sentences=True)
    assert [hit["id"] for hit in found["hits"]] == [hit.document.id for hit in own.hits]
    assert [hit["sentence"] for hit in found["hits"]] == [hit.sentence for hit in own.hits]
    assert [hit["score"] for hit in found["hits"]] == pytest.approx([hit.document.score for hit in own.hits], abs=1e-6)
    assert found["hits"][0]["first_stage_rank"] >= 1
    assert found["pipeline"] == "small"
    assert found["status"]["state"] == "complete"
    assert set(found["milliseconds"]) == {"bm25_retriever", "ranker", "collapser"}
    assert all("embedding" not in hit for hit in found["hits"])


def test_without_the_second_stage_it_is_the_first(search):
    plain = search(query=QUERY, rerank=False, top_k=3)
    assert [hit["id"] for hit in plain["hits"]] == [
        hit["id"] for hit in search(query=QUERY, pipeline="bm25", top_k=3)["hits"]
    ]
    assert plain["status"] is None
    assert "ranker" not in plain["milliseconds"]
    assert search(query=QUERY, top_k=3)["status"]["candidates"] > 3


def test_filters_candidates_and_budget_reach_the_pipeline(search):
    source = search(query=QUERY, top_k=1)["hits"][0]["source"]
    only = search(query=QUERY, filters={"field": "meta.source", "operator": "==", "value": source})
    assert {hit["source"] for hit in only["hits"]} == {source}
    assert search(query=QUERY, candidates=2)["status"]["candidates"] == 2
    short = search.client.post("/search", json={"query": QUERY, "time_budget_ms": 0.001, "collapse": False})
    assert short.headers["x-rerank-state"] == short.json()["status"]["state"]


def test_a_document_by_its_id(search):
    hit = search(query=QUERY, top_k=1)["hits"][0]
    document = search.client.get(f"/documents/{hit['id']}").json()
    assert document == {"id": hit["id"], "content": hit["content"], "meta": document["meta"]}
    for odd in ("none", "a/b", "%00", "%D1%84"):
        answer = search.client.get(f"/documents/{odd}")
        assert (answer.status_code, answer.json()["error"]["type"]) == (404, "not_found_error")


def test_the_command_line_lets_a_server_search(search, rerank):
    url = str(search.client.base_url).rstrip("/")
    done = rerank("search", QUERY, "--server", url, "--top-k", 2)
    assert done.returncode == 0, done.stderr
    assert "milliseconds: bm25_retriever" in done.stdout
    assert "moved" in done.stdout
    as_json = json.loads(rerank("search", QUERY, "--server", url, "--pipeline", "bm25", "--json").stdout)
    assert as_json["pipeline"] == "bm25"
    assert as_json["hits"] == search(query=QUERY, pipeline="bm25", highlights=True)["hits"]
    for arguments, message in (
        (["--server", url, "--pipeline", "none"], "unknown pipeline 'none'"),
        (["--server", "localhost"], "--server must be an address"),
        (["--server", url, "--index", "index"], "leave out --index"),
        (["--server", "http://127.0.0.1:1"], "cannot be reached"),
    ):
        failed = rerank("search", QUERY, *arguments)
        assert failed.returncode == 1
        assert message in failed.stderr
        assert len(failed.stderr.splitlines()) == 1


def test_a_server_without_an_index_or_with_keys_says_what_is_missing(url, rerank, monkeypatch):
    assert "set RERANK_SERVER_KEY" in rerank("search", QUERY, "--server", url).stderr
    monkeypatch.setenv("RERANK_SERVER_KEY", KEY)
    assert "was it started with --index?" in rerank("search", QUERY, "--server", url).stderr


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({}, "query: Field required"),
        ({"query": " "}, "query is empty"),
        ({"query": "fox", "pipeline": "none"}, "unknown pipeline 'none': choose one of ['small', 'bm25']"),
        ({"query": "fox", "top_k": 0}, "top_k: Input should be greater than or equal to 1"),
        ({"query": "fox", "filters": {"field": "meta.a"}}, "filters: "),
        ({"query": "fox", "filters": {"field": "meta.a", "operator": "~", "value": 1}}, "filters: "),
        ({"query": "fox", "time_budget_ms": 0}, "time_budget_ms: Input should be greater than 0"),
    ],
)
def test_what_is_wrong_is_named(search, body, message):
    answer = search.client.post("/search", json=body)
    assert answer.status_code == 400
    assert message in answer.json()["message"]


def test_an_empty_index_is_an_error_at_the_start(tmp_path, cross_encoder):
    (tmp_path / "index").mkdir()
    service = SearchService(tmp_path / "index", ["bm25"], max_waiting=1)
    with pytest.raises(StoreError, match="fill it with `rerank index`"):
        service.warm_up()
    service.close()
