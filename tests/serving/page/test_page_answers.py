"""Answers of a chat model, and the check of what they cite."""

import json

import httpx
import pytest
from chat_server import PIECES, chat_server
from page_index import make_index, small_pipeline
from rerank_servers import FullEngine, running

from rerank_plugin.errors import InvalidValueError
from rerank_plugin.serving.page.citations import check_citations, sentence_spans
from rerank_plugin.serving.page.settings import ChatSettings, PageSettings
from rerank_plugin.serving.search_service import SearchService

PASSAGES = ["The kettle is loud because of limescale.", "Tea is a drink."]


def words_shared(claim, passages):
    """A cross-encoder that can be worked out by hand: the share of the claim's words that a passage has."""
    words = {word.strip(".,").lower() for word in claim.split()}
    return [len(words & {word.strip(".,").lower() for word in passage.split()}) / len(words) for passage in passages]


def verdicts(answer, support=words_shared):
    checked = check_citations(answer, PASSAGES, support)
    return [(answer[one.start : one.end], [(c.number, c.verdict) for c in one.citations]) for one in checked]


def test_each_sentence_has_the_passages_that_it_names_and_whether_they_support_it():
    assert verdicts("The kettle is loud because of limescale [1]. Tea heals the sick [2]. So it is [9]. Hello there.") == [
        ("The kettle is loud because of limescale [1].", [(1, "supported")]),
        ("Tea heals the sick [2].", [(2, "unsupported")]),
        ("So it is [9].", [(9, "missing")]),
        ("Hello there.", []),
    ]


def test_citations_behind_the_full_stop_belong_to_the_sentence_before():
    assert verdicts("The kettle is loud. [1] Tea is a drink. [2, 1]\n\nEnd.") == [
        ("The kettle is loud. [1]", [(1, "supported")]),
        ("Tea is a drink. [2, 1]", [(2, "supported"), (1, "unsupported")]),
        ("End.", []),
    ]


def test_without_a_cross_encoder_nothing_is_said_of_a_citation():
    assert verdicts("Tea is a drink [2].", lambda claim, passages: None) == [("Tea is a drink [2].", [(2, "unchecked")])]


@pytest.mark.parametrize(
    "answer", ["", " \n", "[1]", "[1][2]", "...", "Чай [2]. Кофе — напиток, см. рис. 2 [1].", "a" * 10_000]
)
def test_any_answer_can_be_checked(answer):
    spans = sentence_spans(answer)
    assert all(0 <= start < end <= len(answer) for start, end in spans)
    assert [start for start, _ in spans] == sorted(start for start, _ in spans)
    check_citations(answer, PASSAGES, words_shared)


@pytest.fixture(scope="module")
def served(tmp_path_factory, repository, cross_encoder):
    folder = tmp_path_factory.mktemp("answers")
    service = SearchService(make_index(folder), [str(small_pipeline(folder, repository, cross_encoder))], max_waiting=20)
    with chat_server() as (chat_url, requests):
        page = PageSettings(chat=ChatSettings(chat_url, "small"))
        with (
            running({"tiny": FullEngine()}, keys=(), searches=service, page=page) as url,
            httpx.Client(base_url=url, timeout=60) as client,
        ):
            yield client, requests


@pytest.mark.slow
def test_an_answer_streams_and_its_citations_are_checked(served):
    client, requests = served
    hits = client.post("/page/search", json={"query": "river"}).json()["hits"][:2]
    body = {"query": "why is the kettle loud", "ids": [hit["id"] for hit in hits]}
    events = [json.loads(line) for line in client.post("/page/answer", json=body).text.splitlines()]
    assert "".join(event.get("text", "") for event in events) == "".join(PIECES)
    assert len(events) == len(PIECES) + 1
    sentences = events[-1]["sentences"]
    assert [[citation["number"] for citation in one["citations"]] for one in sentences] == [[1], [2], [99], []]
    assert sentences[2]["citations"][0]["verdict"] == "missing"
    assert sentences[0]["citations"][0]["support"] is not None
    sent = requests[-1]
    assert sent["model"] == "small"
    assert sent["stream"]
    assert hits[1]["content"] in sent["messages"][-1]["content"]
    assert client.post("/page/answer", json={**body, "ids": ["none"]}).status_code == 404
    assert client.post("/page/answer", json={**body, "ids": []}).status_code == 400


def test_a_chat_server_that_cannot_be_reached_is_named(tmp_path, repository, cross_encoder):
    service = SearchService(make_index(tmp_path), ["bm25"], max_waiting=20)
    page = PageSettings(chat=ChatSettings("http://127.0.0.1:9/v1", "small"))
    with running({"tiny": FullEngine()}, keys=(), searches=service, page=page) as url:
        hit = httpx.post(f"{url}/page/search", json={"query": "river"}).json()["hits"][0]
        answer = httpx.post(f"{url}/page/answer", json={"query": "river", "ids": [hit["id"]]}, timeout=60)
    assert "the chat server at http://127.0.0.1:9/v1 failed" in json.loads(answer.text)["error"]


def test_a_chat_server_needs_an_address():
    with pytest.raises(InvalidValueError, match="must be the base address"):
        ChatSettings("localhost", "small")
