"""OpenSearch and Elasticsearch: there is no server here, so what is sent is checked against one that answers in their form."""

import pytest
from conftest import SENTENCES
from databases import Database
from search_server import running_search_server

from rerank_plugin.indexing import index_paths
from rerank_plugin.pipelines import load_pipeline
from rerank_plugin.search import Searcher

pytestmark = pytest.mark.slow


@pytest.fixture
def server(tmp_path, monkeypatch):
    monkeypatch.setenv("RERANK_PLUGIN_DATA", str(tmp_path / "data"))
    with running_search_server() as running:
        yield running


@pytest.mark.parametrize("name", ["opensearch", "elasticsearch"])
def test_what_is_sent_while_files_are_indexed_replaced_and_searched(name, server, tmp_path, bi_encoder, cross_encoder):
    def small(data):
        data["components"]["ranker"]["init_parameters"]["model"] = str(cross_encoder)

    database = Database(name, tmp_path, {"hosts": server.url})
    indexing = database.pipeline(f"indexing_{name}", model=bi_encoder)
    files = tmp_path / "files"
    files.mkdir()
    for number, text in enumerate(SENTENCES[:3]):
        (files / f"{number}.txt").write_text(text)
    report = index_paths([files], None, pipeline=indexing)
    assert (report.files, report.passages, report.failed) == (3, 3, [])
    assert server.indexes == {"rerank"}
    assert {each["content"] for each in server.documents.values()} == set(SENTENCES[:3])
    assert all(len(each["embedding"]) == 32 for each in server.documents.values())

    (files / "1.txt").write_text(SENTENCES[5])
    del server.requests[:]
    report = index_paths([files], None, pipeline=indexing)
    assert (report.files, report.unchanged, report.failed) == (1, 2, [])
    assert {each["content"] for each in server.documents.values()} == {SENTENCES[0], SENTENCES[2], SENTENCES[5]}
    writes = [request for request in server.requests if request[1].endswith("_bulk")]
    deletions = [request for request in server.requests if request[1].endswith("_delete_by_query")]
    assert [list(line) for _, _, _, lines in writes for line in lines[::2]] == [["index"]]  # replaces what has its id
    assert all(parameters["refresh"] in ("wait_for", "true") for _, _, parameters, _ in [*writes, *deletions])
    assert server.requests.index(writes[-1]) < server.requests.index(deletions[-1])

    del server.requests[:]
    pipeline = load_pipeline(database.pipeline(f"hybrid_rerank_{name}", model=bi_encoder, change=small))
    filters = {"field": "meta.source", "operator": "==", "value": "x"}
    result = Searcher(pipeline).search(SENTENCES[5], filters=filters, top_k=3)
    pipeline.close()
    assert len(result.hits) == 3
    sent = [body for _, path, _, body in server.requests if path.endswith("_search")]
    assert len(sent) == 2
    assert any("multi_match" in str(body) and SENTENCES[5] in str(body) for body in sent)
    assert any("knn" in str(body) and "query_string" not in str(body) for body in sent)
    assert all("'source': 'x'" in str(body) for body in sent)
    assert all(body.get("size", 100) == 100 for body in sent)
