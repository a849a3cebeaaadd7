"""Every protocol: its scores are the ranker's, its answer has the shape that its clients read."""

import math

import pytest
from conftest import SENTENCES
from haystack import Document

QUERY = "the capital of germany"
LONG = " ".join(SENTENCES * 8)  # several windows of the tiny model
TEXTS = [*SENTENCES, LONG, ""]


@pytest.fixture(scope="module")
def expected(ranker):
    documents = [Document(id=f"{i:03d}", content=text) for i, text in enumerate(TEXTS)]
    ranked = ranker.run(query=QUERY, documents=documents)["documents"]
    return {int(document.id): document.score for document in ranked}


@pytest.fixture(scope="module")
def logits(ranker):
    return dict(enumerate(ranker.logits(QUERY, TEXTS)))


def post(http, path, status=200, **body):
    answer = http.post(path, json=body)
    assert answer.status_code == status, answer.text
    return answer.json()


def same(found, expected):
    assert found.keys() == expected.keys()
    assert all(math.isclose(score, expected[index], abs_tol=1e-6) for index, score in found.items())


def scores(results, key="relevance_score"):
    found = [result[key] for result in results]
    assert found == sorted(found, reverse=True)
    return {result["index"]: result[key] for result in results}


def test_cohere_v2(http, expected):
    answer = post(http, "/v2/rerank", model="rerank-v3.5", query=QUERY, documents=TEXTS, max_tokens_per_doc=4096, priority=0)
    same(scores(answer["results"]), expected)
    assert answer["meta"]["api_version"] == {"version": "2"}
    assert "document" not in answer["results"][0]
    assert answer["status"] == {"state": "complete", "scored": len(TEXTS)}
    assert answer["model"] == "tiny"


def test_cohere_v2_cuts_documents_where_the_request_says_so_and_reports_it(http, ranker):
    answer = http.post("/v2/rerank", json={"query": QUERY, "documents": [LONG, "the sea"], "max_tokens_per_doc": 6})
    found = scores(answer.json()["results"])
    first = "Paris is the capital of France"
    same({0: found[0]}, {0: ranker.run(query=QUERY, documents=[Document(content=first)])["documents"][0].score})
    assert answer.json()["meta"]["warnings"] == ["1 texts were cut to 6 tokens, as the request wants"]
    assert answer.headers["x-rerank-warnings"] == "1 texts were cut to 6 tokens, as the request wants"


def test_cohere_v1_reads_the_fields_that_are_named(http, ranker):
    documents = [{"title": "Paris", "text": "The capital."}, {"title": "Tea", "text": "A drink.", "n": 5}, "Berlin"]
    answer = post(http, "/v1/rerank", query=QUERY, documents=documents, rank_fields=["title", "text"], return_documents=True)
    texts = ["title: Paris\ntext: The capital.", "title: Tea\ntext: A drink.", "Berlin"]
    ranked = ranker.run(query=QUERY, documents=[Document(id=str(i), content=text) for i, text in enumerate(texts)])
    same(scores(answer["results"]), {int(document.id): document.score for document in ranked["documents"]})
    returned = {result["index"]: result["document"] for result in answer["results"]}
    assert returned == {0: documents[0], 1: documents[1], 2: {"text": "Berlin"}}


@pytest.mark.parametrize("path", ["/v1/rerank", "/rerank", "/reranking", "/v1/reranking"])
def test_jina_and_llama_cpp(http, expected, path):
    answer = post(http, path, model="jina", query=QUERY, documents=TEXTS, top_n=None, user="someone")
    same(scores(answer["results"]), expected)
    assert all(result["document"] == {"text": TEXTS[result["index"]]} for result in answer["results"])
    assert answer["usage"]["total_tokens"] > 100
    few = post(http, path, query=QUERY, documents=TEXTS, top_n=2, return_documents=False)
    assert few["results"] == [{k: v for k, v in result.items() if k != "document"} for result in answer["results"][:2]]


def test_jina_documents_may_be_objects_with_a_text_but_not_images(http):
    answer = post(http, "/v1/rerank", query=QUERY, documents=[{"text": "Berlin"}, "Paris"])
    assert {result["document"]["text"] for result in answer["results"]} == {"Berlin", "Paris"}
    refused = post(http, "/v1/rerank", 400, query=QUERY, documents=["Paris", {"image": "https://example.org/a.png"}])
    assert refused["detail"] == "documents[1] has no text: images are not ranked here"


@pytest.mark.parametrize("raw", [True, False, None])
def test_tei(http, expected, logits, raw):
    answer = http.post("/rerank", json={"query": QUERY, "texts": TEXTS, "raw_scores": raw, "return_text": True})
    same(scores(answer.json(), "score"), logits if raw else expected)
    assert all(result["text"] == TEXTS[result["index"]] for result in answer.json())
    assert int(answer.headers["x-compute-tokens"]) > 100
    assert int(answer.headers["x-compute-characters"]) == sum(map(len, TEXTS))
    timings = ["x-total-time", "x-compute-time", "x-queue-time", "x-tokenization-time", "x-inference-time"]
    assert all(answer.headers[name].isdigit() for name in timings)


def test_tei_without_texts_of_its_own(http):
    assert set(post(http, "/rerank", query=QUERY, texts=["a", None])[0]) == {"index", "score"}


def test_tei_info_and_tokenize(http):
    info = http.get("/info").json()
    assert info["model_type"]["reranker"]["id2label"] == {"0": "LABEL_0"}
    assert (info["model_id"], info["max_input_length"], info["max_client_batch_size"]) == ("tiny", 64, 50)
    ((first, *_, last),) = post(http, "/tokenize", inputs="red fox")
    assert (first["text"], first["special"], last["special"]) == ("[CLS]", True, True)
    ((red, fox),) = post(http, "/tokenize", inputs=["red fox"], add_special_tokens=False)
    assert (red["start"], red["stop"], fox["start"], fox["stop"]) == (0, 3, 4, 7)


@pytest.mark.parametrize("path", ["/rerank", "/v1/rerank", "/v2/rerank"])
@pytest.mark.parametrize("activation", [True, False])
def test_vllm(http, expected, logits, path, activation):
    answer = post(http, path, query=QUERY, documents=TEXTS, top_n=0, use_activation=activation, max_tokens_per_doc=0)
    same(scores(answer["results"]), expected if activation else logits)
    assert all(result["document"] == {"text": TEXTS[result["index"]]} for result in answer["results"])


def test_vllm_limits_query_and_prompt(http, ranker):
    body = {"query": f"{QUERY} {LONG}", "documents": [LONG], "max_tokens_per_query": 4, "truncate_prompt_tokens": 12}
    answer = http.post("/v1/rerank", json=body)
    document = Document(content="Paris is the capital of")  # 12 less 4 of the query and 3 special tokens
    wanted = ranker.run(query=QUERY, documents=[document])["documents"][0].score
    same(scores(answer.json()["results"]), {0: wanted})
    assert "as the request wants" in answer.headers["x-rerank-warnings"]


@pytest.mark.parametrize("path", ["/score", "/v1/score"])
@pytest.mark.parametrize(
    "names", [("text_1", "text_2"), ("queries", "documents"), ("queries", "items"), ("data_1", "data_2")]
)
def test_vllm_score(http, expected, path, names):
    answer = post(http, path, **{names[0]: QUERY, names[1]: TEXTS})
    same({item["index"]: item["score"] for item in answer["data"]}, expected)
    assert [item["index"] for item in answer["data"]] == list(range(len(TEXTS)))


def test_vllm_score_of_pairs(http, ranker):
    queries = ["red fox", QUERY, "red fox"]
    answer = post(http, "/score", text_1=queries, text_2=TEXTS[:3])
    pairs = zip(queries, TEXTS[:3], strict=True)
    single = [ranker.run(query=q, documents=[Document(content=t)])["documents"][0].score for q, t in pairs]
    same({item["index"]: item["score"] for item in answer["data"]}, dict(enumerate(single)))
    refused = post(http, "/score", 400, text_1=["a", "b"], text_2=["a", "b", "c"])
    assert refused["error"]["message"] == "text_1 has 2 texts and text_2 has 3: send one, or as many"


@pytest.mark.parametrize(
    ("path", "extra"), [("/rerank", {"top_k": None}), ("/v1/rerank", {"truncation": True}), ("/voyage/v1/rerank", {})]
)
def test_voyage(http, expected, path, extra):
    answer = post(http, path, query=QUERY, documents=TEXTS, return_documents=True, **extra)
    same(scores(answer["data"]), expected)
    assert all(result["document"] == TEXTS[result["index"]] for result in answer["data"])
    assert answer["object"] == "list"
    assert answer["usage"]["total_tokens"] > 0


@pytest.mark.parametrize(("path", "raw"), [("/rerank", True), ("/rerank", False), ("/infinity/rerank", None)])
def test_infinity(http, expected, logits, path, raw):
    extra = {} if raw is None else {"raw_scores": raw}
    answer = post(http, path, query=QUERY, documents=TEXTS, return_documents=True, **extra)
    same(scores(answer["results"]), logits if raw else expected)
    assert all(result["document"] == TEXTS[result["index"]] for result in answer["results"])
    refused = post(http, "/infinity/rerank", 422, query=QUERY, documents=5)
    assert refused["detail"][0]["loc"] == ["body", "documents"]


def test_pinecone(http, expected):
    body = {"query": QUERY, "documents": [{"id": str(i), "text": text} for i, text in enumerate(TEXTS)]}
    answer = post(http, "/pinecone/rerank", **body)
    same(scores(answer["data"], "score"), expected)
    assert all(result["document"]["id"] == str(result["index"]) for result in answer["data"])
    by_header = http.post("/rerank", json=body | {"top_n": 1}, headers={"X-Pinecone-API-Version": "2025-10"})
    assert by_header.json()["data"] == answer["data"][:1]
    refused = post(http, "/pinecone/rerank", 400, rank_fields=["title"], **body)
    assert refused["message"] == "documents[0] has no text: it has no field ['title']"


def test_weaviate(http, expected):
    answer = post(http, "/rerank", query=QUERY, documents=TEXTS, property="")
    assert answer["query"] == QUERY
    assert [score["document"] for score in answer["scores"]] == TEXTS
    same({i: score["score"] for i, score in enumerate(answer["scores"])}, expected)
    assert isinstance(post(http, "/rerank", 400, query=QUERY, documents=[], property="")["error"], str)


def test_elasticsearch(http, expected):
    answer = post(http, "/rerank", query=QUERY, input=TEXTS, task_settings={"return_documents": True})
    same(scores(answer["rerank"]), expected)
    assert all(result["text"] == TEXTS[result["index"]] for result in answer["rerank"])
    single = post(http, "/rerank", query=QUERY, input="Berlin", task_settings={"top_n": 3})
    assert [result["index"] for result in single["rerank"]] == [0]


def test_equal_scores_keep_the_order_of_the_request(http):
    answer = post(http, "/rerank", query=QUERY, texts=["the fox"] * 12)
    assert [result["index"] for result in answer] == list(range(12))


def test_a_budget_that_is_too_short_leaves_texts_unscored_and_says_so(http):
    texts = [f"{text} {n}" for n, text in enumerate(SENTENCES * 6)]
    answer = http.post("/v2/rerank", json={"query": QUERY, "documents": texts, "time_budget_ms": 0.001})
    body = answer.json()
    assert answer.headers["x-rerank-state"] == body["status"]["state"] == "partial"
    assert body["status"]["scored"] < len(texts) == len(body["results"])
    assert body["results"][-1]["relevance_score"] == 0.0
    assert "partial" in body["meta"]["warnings"][-1]
    bare = http.post("/rerank", json={"query": QUERY, "texts": texts, "time_budget_ms": 0.001, "raw_scores": True})
    assert bare.headers["x-rerank-state"] == "partial"
    found = [result["score"] for result in bare.json()]
    assert found == sorted(found, reverse=True)
    assert len(found) == len(texts)


def test_a_long_query_is_cut_with_a_warning_or_refused_where_the_client_does_not_want_that(http):
    answer = http.post("/rerank", json={"query": LONG, "texts": ["the fox"]})
    assert "the model reads 30: the rest was not read" in answer.headers["x-rerank-warnings"]
    refused = post(http, "/rerank", 422, query=LONG, texts=["the fox"], truncate=False)
    assert refused["error_type"] == "Validation"
    assert "shorten it" in refused["error"]
    assert post(http, "/rerank", 400, query=LONG, documents=["the fox"], truncation=False)["error"]["param"] == "query"
