"""What docs/serving.md shows works: the client, the YAML files, the dashboard; and /openapi.json is one."""

import importlib.util
import json
import re

import pytest
from haystack import Document, Pipeline
from rerank_servers import KEY

from rerank_plugin.serving.dialects.routes import ROUTES

DOCUMENTS = [
    Document(content=text) for text in ("The sky is blue.", "Berlin is the capital of Germany.", "Coffee and tea.", "A fox.")
]


@pytest.fixture(scope="module")
def client(repository):
    spec = importlib.util.spec_from_file_location("client", repository / "examples" / "serving" / "client.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_client_ranks_and_says_what_is_wrong(client, url, ranker):
    texts = [document.content for document in DOCUMENTS]
    found = client.rerank(url, "the capital", texts, key=KEY)
    assert [text for _, text in found] == [
        d.content for d in ranker.run(query="the capital", documents=DOCUMENTS)["documents"]
    ]
    with pytest.raises(RuntimeError, match="the key is missing or wrong"):
        client.rerank(url, "the capital", texts)
    with pytest.raises(RuntimeError, match="there are no documents"):
        client.rerank(url, "the capital", [], key=KEY)


@pytest.mark.slow
def test_the_client_comes_back_after_the_time_that_it_is_told(client, full_url):
    with pytest.raises(RuntimeError, match="waiting already"):
        client.rerank(full_url, "the capital", ["a"], key=KEY, tries=2)


@pytest.mark.parametrize("name", ["tei", "cohere", "jina", "vllm"])
@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_haystack_rankers_from_yaml(name, repository, url, ranker, monkeypatch):
    text = (repository / "examples" / "serving" / f"{name}.yaml").read_text()
    pytest.importorskip(re.search(r"type: (\S+)\.\w+\n", text)[1])
    monkeypatch.setenv(re.search(r"env_vars: \[(\w+)\]", text)[1], KEY)
    pipeline = Pipeline.loads(text.replace("http://127.0.0.1:8787", url))
    found = pipeline.run({"ranker": {"query": "the capital", "documents": DOCUMENTS}})["ranker"]["documents"]
    wanted = ranker.run(query="the capital", documents=DOCUMENTS, top_k=3)["documents"]
    assert [document.content for document in found] == [document.content for document in wanted]
    assert [document.score for document in found] == pytest.approx([document.score for document in wanted], abs=1e-6)


def test_the_dashboard_shows_metrics_that_there_are(repository, http):
    http.post("/rerank", json={"query": "fox", "texts": ["a"]})
    metrics = http.get("/metrics").text
    known = set(re.findall(r"^# TYPE (\w+) ", metrics, flags=re.MULTILINE))
    dashboard = json.loads((repository / "docs" / "grafana.json").read_text())
    named = set(re.findall(r"(?:rerank|process)_\w+", json.dumps([panel["targets"] for panel in dashboard["panels"]])))
    assert len(named) >= 10
    assert {re.sub(r"_bucket$", "", name) for name in named} <= known


def test_every_protocol_is_described_with_an_example_that_works(http):
    described = http.get("/openapi.json").json()
    assert described["openapi"].startswith("3.")
    for path in [*ROUTES, "/tokenize"]:
        content = described["paths"][path]["post"]["requestBody"]["content"]["application/json"]
        assert "$ref" not in json.dumps(content["schema"])
        for name, example in content["examples"].items():
            answer = http.post(path, json=example["value"])
            assert answer.status_code == 200, (path, name, answer.text)
