"""What docs/serving.md shows works: the client, the dashboard, and the examples of /openapi.json."""

import importlib.util
import json
import re

import pytest
from haystack import Document
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
