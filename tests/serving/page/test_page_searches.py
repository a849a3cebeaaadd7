"""The endpoints behind the search page: searches, facets, whole documents, and where a document stands."""

import httpx
import pytest
from page_index import ATTACKS, IMAGE, LONG_WORD, SCRIPT, make_index, small_pipeline
from rerank_servers import KEY, FullEngine, running

from rerank_plugin.serving.search_service import SearchService

QUERY = "the river and the sea"
JSON = {"content-type": "application/json"}


@pytest.fixture(scope="module")
def service(tmp_path_factory, repository, cross_encoder):
    folder = tmp_path_factory.mktemp("page")
    index = make_index(folder)
    return SearchService(index, [str(small_pipeline(folder, repository, cross_encoder)), "bm25"], max_waiting=20)


@pytest.fixture(scope="module")
def client(service):
    with running({"tiny": FullEngine()}, keys=(), searches=service) as url, httpx.Client(base_url=url, timeout=60) as client:
        yield client


@pytest.fixture(scope="module")
def ask(client):
    def post(path, status=200, **body):
        answer = client.post(path, json=body)
        assert answer.status_code == status, answer.text
        return answer.json()

    return post


@pytest.mark.slow
def test_the_hits_are_those_of_the_api_and_behind_them_stand_all_candidates(ask):
    page = ask("/page/search", query=QUERY, top_k=5)
    api = ask("/search", query=QUERY, top_k=5)
    assert [hit["id"] for hit in page["hits"][:5]] == [hit["id"] for hit in api["hits"]]
    assert [hit["score"] for hit in page["hits"][:5]] == [hit["score"] for hit in api["hits"]]
    assert page["has_second_stage"]
    assert len(page["hits"]) + page["collapsed"] == page["status"]["candidates"]
    assert all(0 <= hit["probability"] <= 1 for hit in page["hits"])
    first = page["hits"][0]
    assert first["words"]
    assert {first["content"][start:end].lower() for start, end in first["words"]} <= {"river", "sea", "runs", "the"}


def test_without_the_second_stage_there_is_one_list(ask):
    page = ask("/page/search", query=QUERY, rerank=False)
    assert not page["has_second_stage"]
    assert page["status"] is None
    assert {hit["probability"] for hit in page["hits"]} == {None}


@pytest.mark.slow
def test_another_fusion_and_precision_give_the_ranking_of_a_pipeline_that_says_so(ask):
    alone = ask("/page/search", query=QUERY, fusion="none", collapse=False)
    probabilities = [hit["probability"] for hit in alone["hits"]]
    assert probabilities == sorted(probabilities, reverse=True)
    assert [hit["score"] for hit in alone["hits"]] == probabilities
    text = ask("/page/pipeline", fusion="none", precision="fp32")["yaml"]
    assert "fusion: none" in text
    assert "precision: fp32" in text
    assert "fusion_weight" not in text
    assert "path: index\n" in text
    message = ask("/page/search", 400, query=QUERY, pipeline="bm25", fusion="rrf")["message"]
    assert "has no CrossEncoderRanker" in message


@pytest.mark.slow
def test_the_best_sentences_are_places_in_the_texts(ask):
    hits = ask("/page/search", query=QUERY, top_k=3)["hits"][:3]
    spans = ask("/page/sentences", query=QUERY, ids=[hit["id"] for hit in hits])["sentences"]
    for hit in hits:
        start, end = spans[hit["id"]]
        assert hit["content"][start:end].strip().endswith((".", ">"))
    assert ask("/page/sentences", 404, query=QUERY, ids=["none"])["message"].startswith("there is no document 'none'")


def test_facets_count_the_documents_of_each_value_and_filters_narrow_them(ask):
    fields = {field["field"]: field for field in ask("/page/facets")["fields"]}
    assert {"value": "en", "count": 3} in fields["lang"]["values"]
    assert "source_fingerprint" not in fields
    only = {"field": "meta.lang", "operator": "in", "value": ["en"]}
    found = ask("/page/search", query="river", filters=only)
    assert {hit["meta"]["lang"] for hit in found["hits"]} == {"en"}


@pytest.mark.slow
def test_facets_of_ten_thousand_documents(tmp_path, benchmark_facets):
    """What is counted once for each state of the index; a clock would only measure the neighbours of the tests."""
    counts, again = benchmark_facets(tmp_path, 10_000)
    assert {value["value"]: value["count"] for value in counts["fields"][0]["values"]} == {"en": 5000, "ru": 5000}
    assert again is counts


@pytest.fixture
def benchmark_facets():
    import asyncio

    from haystack import Document

    from rerank_plugin.serving.page.facets import Facets, FacetsBody
    from rerank_plugin.store import HybridDocumentStore

    def count(folder, documents):
        with HybridDocumentStore(folder / "index") as store:
            store.write_documents(
                [
                    Document(id=str(n), content=f"text {n}", meta={"lang": ["en", "ru"][n % 2], "unique": n})
                    for n in range(documents)
                ]
            )
        service = SearchService(folder / "index", ["bm25"], max_waiting=2)
        facets = Facets(service)

        async def twice():
            return await facets.facets(FacetsBody()), await facets.facets(FacetsBody())

        try:
            return asyncio.run(twice())
        finally:
            service.close()

    return count


def test_a_document_that_is_missed_is_found_and_placed_at_each_stage(ask):
    everything = ask("/page/search", query=QUERY, rerank=False, candidates=60, top_k=60, collapse=False)["hits"]
    deep = everything[40]
    by_words = ask("/page/find", query=deep["content"])["documents"]
    assert deep["id"] in {document["id"] for document in by_words}
    assert ask("/page/find", query=deep["id"])["documents"][0]["id"] == deep["id"]
    why = ask("/page/why-not", query=QUERY, document_id=deep["id"])
    assert [stage["stage"] for stage in why["stages"]] == ["bm25_retriever"]
    assert why["stages"][0]["rank"] == 41
    assert why["stages"][0]["passes_on"] == 100
    assert why["passes_filters"]
    assert 0 < why["probability"] < 1
    elsewhere = {"field": "meta.lang", "operator": "==", "value": "none"}
    assert not ask("/page/why-not", query=QUERY, document_id=deep["id"], filters=elsewhere)["passes_filters"]


def test_a_whole_document_can_be_read_and_downloaded(client, ask):
    hit = ask("/page/search", query=QUERY, top_k=1)["hits"][0]
    whole = client.get("/page/document", params={"id": hit["id"]}).json()
    assert whole["id"] in {passage["id"] for passage in whole["passages"]}
    assert (whole["before"], whole["after"]) == (0, 0)
    text = client.get("/page/text", params={"id": hit["id"]})
    assert text.text == "\n\n".join(passage["content"] for passage in whole["passages"])
    assert text.headers["content-disposition"].startswith("attachment;")
    assert text.headers["x-content-type-options"] == "nosniff"
    assert client.get("/page/document", params={"id": "none"}).status_code == 404


def test_hostile_documents_are_sent_as_they_are_and_never_as_a_page(client, ask):
    for document in ATTACKS[:2]:
        answer = client.get("/page/document", params={"id": document.id})
        assert answer.json()["passages"][0]["content"] == document.content
        text = client.get("/page/text", params={"id": document.id})
        assert text.headers["content-type"].startswith("text/plain")
        assert "attachment" in text.headers["content-disposition"]
        assert "<" not in text.headers["content-disposition"]
    long = client.get("/page/document?id=long").json()["passages"][0]
    assert len(long["content"]) == 20_000
    assert long["characters"] == len(f"river {LONG_WORD}")
    assert len(client.get("/page/text?id=long").text) == long["characters"]


def test_the_page_is_in_the_language_of_its_visitor_and_allows_nothing_inline(client):
    page = client.get("/")
    policy = page.headers["content-security-policy"]
    assert "unsafe" not in policy
    assert "default-src 'none'" in policy
    assert "<script>" not in page.text
    assert " style=" not in page.text
    assert 'lang="en"' in page.text
    for headers, query, language in (
        ({"accept-language": "de, ru;q=0.8, en;q=0.5"}, "", "ru"),
        ({"accept-language": "ru"}, "?lang=en", "en"),
        ({"accept-language": "xx;q=a,,"}, "?lang=<b>", "en"),
    ):
        assert f'<html lang="{language}"' in client.get(f"/{query}", headers=headers).text
    assert client.get("/page/assets/page.html").status_code == 404
    assert client.get("/page/assets/..%2fshell.py").status_code == 404
    assert client.get("/favicon.ico").headers["content-type"] == "image/svg+xml"


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        (JSON, 200),
        (JSON | {"origin": "https://evil.example"}, 403),
        (JSON | {"origin": "null"}, 403),
        (JSON | {"origin": "https://app.example.org"}, 200),  # named by --cors-origin
        ({"content-type": "text/plain"}, 415),
        ({"content-type": "application/x-www-form-urlencoded"}, 415),
        ({"content-type": "multipart/form-data; boundary=x"}, 415),
        (JSON | {"host": "rebound.evil.example"}, 403),
        (JSON | {"host": "localhost:1", "origin": "http://localhost:1"}, 200),
    ],
)
def test_other_sites_cannot_use_the_page_through_a_visitor(client, headers, status):
    answer = client.post("/page/facets", content="{}", headers=headers)
    assert answer.status_code == status, answer.text


def test_a_read_only_page_has_nothing_that_changes_the_index(client):
    assert client.get("/page/settings").json()["upload"] is None
    for path in ("/page/upload?name=a.txt", "/page/remove", "/page/undo"):
        assert client.post(path, json={}).status_code in (404, 405)
    assert client.get("/page/files").status_code == 404


def test_with_keys_only_the_shell_of_the_page_is_open_to_everyone(service):
    with running({"tiny": FullEngine()}) as url, httpx.Client(base_url=url) as client:
        shell = client.get("/")
        assert "data-needs-key" in shell.text
        assert client.get("/page/assets/page.js").status_code == 200
        assert client.get("/page/settings").status_code == 401
        settings = client.get("/page/settings", headers={"authorization": f"Bearer {KEY}"}).json()
        assert settings["models"] == ["tiny"]
        assert settings["index"] is None
        # With keys, a name that leads here does no harm.
        rebound = {"host": "any.example", "authorization": f"Bearer {KEY}"}
        assert client.get("/page/settings", headers=rebound).status_code == 200


def test_nothing_of_the_attacks_is_in_the_shell(client):
    assert SCRIPT not in client.get("/").text
    assert IMAGE not in client.get(f"/?q={IMAGE}&lang={SCRIPT}").text
