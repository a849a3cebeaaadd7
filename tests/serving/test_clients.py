"""
Real clients against a real server: the order they return is the ranker's, and a refusal is the client's own error.

These install beside everything else (extra `clients`). Those that need other versions have environments of their own: see
`tests/serving/other_clients`.
"""

import asyncio
import gc
import re

import pytest
from haystack import Document, Pipeline
from haystack.utils import Secret
from rerank_servers import KEY

QUERY = "the capital of germany"
TEXTS = ["The sky is blue.", "Berlin is the capital of Germany and a big city.", "Coffee and tea are drinks.", ""]
TOO_LONG = ["fox " * 3000]


# The clients leave closing their connections to the garbage collector.
pytestmark = [
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


@pytest.fixture(scope="module", autouse=True)
def _collected():
    yield
    gc.collect()


@pytest.fixture(scope="module")
def best(ranker):
    documents = [Document(id=str(i), content=text) for i, text in enumerate(TEXTS)]
    return [int(document.id) for document in ranker.run(query=QUERY, documents=documents)["documents"]]


@pytest.fixture(scope="module")
def cohere():
    return pytest.importorskip("cohere")


@pytest.fixture(scope="module")
def rerankers():
    return pytest.importorskip("rerankers.models.api_rankers")


class TestCohere:
    @pytest.mark.parametrize("version", ["Client", "ClientV2"])
    def test_ranks(self, cohere, url, best, version):
        client = getattr(cohere, version)(api_key=KEY, base_url=url)
        answer = client.rerank(model="rerank-v3.5", query=QUERY, documents=TEXTS, top_n=3)
        assert [result.index for result in answer.results] == best[:3]
        assert answer.meta.billed_units.search_units == 1

    @pytest.mark.parametrize("version", ["AsyncClient", "AsyncClientV2"])
    def test_ranks_async(self, cohere, url, best, version):
        async def ask():
            return await getattr(cohere, version)(api_key=KEY, base_url=url).rerank(
                model="rerank-v3.5", query=QUERY, documents=TEXTS
            )

        assert [result.index for result in asyncio.run(ask()).results] == best

    def test_v1_with_fields_and_documents(self, cohere, url):
        documents = [{"title": "Paris", "text": "A city."}, {"title": "Berlin", "text": "A city."}]
        answer = cohere.Client(api_key=KEY, base_url=url).rerank(
            query=QUERY, documents=documents, rank_fields=["title", "text"], return_documents=True
        )
        assert {result.document.text for result in answer.results} == {"A city."}

    def test_relevant_spans(self, cohere, url):
        answer = cohere.ClientV2(api_key=KEY, base_url=url).rerank(
            model="rerank-v4.0", query=QUERY, documents=TEXTS, relevant_spans={"mode": "enabled", "threshold": 0}
        )
        for result in answer.results:
            for span in result.relevant_spans:
                assert TEXTS[result.index][span.start : span.end].strip()

    def test_its_own_errors(self, cohere, url, full_url):
        wrong = cohere.ClientV2(api_key="wrong", base_url=url)
        with pytest.raises(cohere.UnauthorizedError, match="the key is missing or wrong"):
            wrong.rerank(model="m", query=QUERY, documents=TEXTS)
        right = cohere.ClientV2(api_key=KEY, base_url=url)
        with pytest.raises(cohere.BadRequestError, match="there are no documents"):
            right.rerank(model="m", query=QUERY, documents=[])
        with pytest.raises(cohere.BadRequestError, match="this server reads 2000 of a text"):
            right.rerank(model="m", query=QUERY, documents=TOO_LONG)
        full = cohere.ClientV2(api_key=KEY, base_url=full_url)
        with pytest.raises(cohere.TooManyRequestsError):
            full.rerank(model="m", query=QUERY, documents=TEXTS, request_options={"max_retries": 0})


@pytest.mark.parametrize("name", ["tei", "cohere", "jina", "vllm"])
def test_haystack_rankers_from_yaml(name, repository, url, ranker, monkeypatch):
    documents = [Document(id=str(i), content=text or " ") for i, text in enumerate(TEXTS)]
    text = (repository / "examples" / "serving" / f"{name}.yaml").read_text()
    pytest.importorskip(re.search(r"type: (\S+)\.\w+\n", text)[1])
    monkeypatch.setenv(re.search(r"env_vars: \[(\w+)\]", text)[1], KEY)
    pipeline = Pipeline.loads(text.replace("http://127.0.0.1:8787", url))
    found = pipeline.run({"ranker": {"query": "the capital", "documents": documents}})["ranker"]["documents"]
    wanted = ranker.run(query="the capital", documents=documents, top_k=3)["documents"]
    assert [document.content for document in found] == [document.content for document in wanted]
    assert [document.score for document in found] == pytest.approx([document.score for document in wanted], abs=1e-6)


def haystack_rankers():
    secret = Secret.from_token(KEY)
    yield (
        "cohere",
        lambda url, key=secret: ranker_class("cohere.ranker", "CohereRanker")(
            api_base_url=url, api_key=key, model="rerank-v3.5", max_tokens_per_doc=4096
        ),
    )
    yield "jina", lambda url, key=secret: ranker_class("jina.ranker", "JinaRanker")(base_url=f"{url}/v1/rerank", api_key=key)
    yield (
        "tei",
        lambda url, key=secret: ranker_class("huggingface_api.ranker", "HuggingFaceTEIRanker")(
            url=url, token=key, max_retries=0
        ),
    )
    yield (
        "vllm",
        lambda url, key=secret: ranker_class("vllm.ranker", "VLLMRanker")(
            api_base_url=f"{url}/v1", api_key=key, model="any"
        ),
    )


def ranker_class(module, name):
    return getattr(pytest.importorskip(f"haystack_integrations.components.rankers.{module}"), name)


@pytest.mark.parametrize("make", [make for _, make in haystack_rankers()], ids=[name for name, _ in haystack_rankers()])
class TestHaystackRankers:
    def test_its_own_errors(self, url, make):
        documents = [Document(content=text or " ") for text in TEXTS]
        for ranker, wanted in [
            (make(url, Secret.from_token("wrong")), documents),
            (make(url), [Document(content=TOO_LONG[0])]),
        ]:
            with pytest.raises(Exception, match=r"the key is missing|this server reads 2000|401|400|422") as error:
                ranker.run(query=QUERY, documents=wanted)
            # An answer that the client cannot read would be one of these.
            assert not isinstance(error.value, KeyError | TypeError | AttributeError), error.value

    def test_without_documents_there_is_an_empty_answer_or_its_own_error(self, url, make):
        try:
            found = make(url).run(query=QUERY, documents=[])["documents"]
        except Exception as error:  # noqa: BLE001 - CohereRanker asks the server
            found = str(error)
        assert found == [] or "there are no documents" in found

    @pytest.mark.slow
    def test_an_overload_is_its_own_error(self, full_url, make):
        ranker = make(full_url)
        if hasattr(ranker, "warm_up"):
            ranker.warm_up()
        with pytest.raises(Exception, match=r"waiting already|429"):
            ranker.run(query=QUERY, documents=[Document(content="fox")])


@pytest.mark.parametrize(
    ("provider", "path"),
    [
        ("cohere", "/v1/rerank"),
        ("jina", "/v1/rerank"),
        ("voyage", "/v1/rerank"),
        ("pinecone", "/rerank"),
        ("text-embeddings-inference", "/rerank"),
    ],
)
def test_rerankers(rerankers, url, best, provider, path):
    ranker = rerankers.APIRanker("any", KEY, provider, verbose=0, url=f"{url}{path}")
    found = ranker.rank(query=QUERY, docs=TEXTS, doc_ids=list(range(len(TEXTS))))
    assert [result.document.doc_id for result in found.results] == best


class TestShapes:
    """What applications send that cannot be installed here."""

    @pytest.mark.parametrize("path", ["/v1/rerank", "/rerank"])
    def test_open_webui_gets_a_score_for_every_document(self, http, path):
        # backend/open_webui/retrieval/models/external.py
        answer = http.post(path, json={"model": "any", "query": QUERY, "documents": TEXTS, "top_n": len(TEXTS)}).json()
        by_index = sorted(answer["results"], key=lambda result: result["index"])
        assert [result["index"] for result in by_index] == list(range(len(TEXTS)))
        assert all(isinstance(result["relevance_score"], float) for result in by_index)

    def test_dify_sends_a_threshold_of_its_own(self, http, best):
        body = {"model": "any", "query": QUERY, "documents": TEXTS, "top_n": 3, "return_documents": True}
        results = http.post("/v1/rerank", json=body | {"score_threshold": 0.5}).json()["results"]
        assert [(result["index"], result["document"]["text"]) for result in results] == [(i, TEXTS[i]) for i in best[:3]]

    def test_n8n_and_vercel_send_version_2_of_cohere(self, http, best):
        results = http.post(
            "/v2/rerank", json={"model": "rerank-v3.5", "query": QUERY, "documents": TEXTS, "top_n": 2}
        ).json()
        assert [result["index"] for result in results["results"]] == best[:2]

    def test_librechat_has_a_model_of_jina_built_in(self, http, best):
        body = {
            "model": "jina-reranker-v2-base-multilingual",
            "query": QUERY,
            "top_n": 2,
            "documents": TEXTS,
            "return_documents": True,
        }
        results = http.post("/v1/rerank", json=body).json()["results"]
        assert [result["document"]["text"] for result in results] == [TEXTS[i] for i in best[:2]]
