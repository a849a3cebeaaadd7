"""LiteLLM, Voyage, Pinecone, LangChain and LlamaIndex against a running server."""

import json
import os

import pytest

if "RERANK_URL" not in os.environ:
    pytest.skip("`make test-clients` runs this beside a server", allow_module_level=True)

URL, FULL_URL, KEY = os.environ["RERANK_URL"], os.environ["RERANK_FULL_URL"], os.environ["RERANK_KEY"]
QUERY, TEXTS, BEST = (json.loads(os.environ["RERANK_EXPECTED"])[name] for name in ("query", "texts", "best"))
TOO_LONG = ["fox " * 3000]
WRONG = "wrong-wrong-wrong-wrong"

LITELLM = {
    "cohere/rerank-v3.5": "/v2/rerank",
    "hosted_vllm/any": "",
    "infinity/any": "/infinity",
    "jina_ai/any": "/v1/rerank",
    "huggingface/any": "",
    "voyage/rerank-2.5": "/voyage/v1/rerank",
}


@pytest.fixture(scope="module")
def litellm():
    litellm = pytest.importorskip("litellm")
    litellm.num_retries = 0
    return litellm


@pytest.mark.parametrize(("model", "path"), LITELLM.items())
class TestLiteLLM:
    def ask(self, litellm, model, url, texts, key=KEY):
        return litellm.rerank(model=model, query=QUERY, documents=texts, top_n=3, api_base=url, api_key=key, max_retries=0)

    def test_ranks(self, litellm, model, path):
        results = self.ask(litellm, model, URL + path, TEXTS).results
        assert [result["index"] for result in results][:3] == BEST[:3]

    @pytest.mark.parametrize("wrong", ["key", "empty", "overload", "too long"])
    def test_its_own_errors(self, litellm, model, path, wrong):
        url = (FULL_URL if wrong == "overload" else URL) + path
        texts = {"empty": [], "too long": TOO_LONG}.get(wrong, TEXTS)
        with pytest.raises(Exception) as error:  # noqa: PT011 - LiteLLM has many classes
            self.ask(litellm, model, url, texts, WRONG if wrong == "key" else KEY)
        assert not isinstance(error.value, KeyError | TypeError | AttributeError | AssertionError), error.value


@pytest.fixture(scope="module")
def voyageai():
    return pytest.importorskip("voyageai")


class TestVoyage:
    def test_ranks(self, voyageai):
        client = voyageai.Client(api_key=KEY, base_url=f"{URL}/voyage/v1", max_retries=0)
        answer = client.rerank(QUERY, TEXTS, model="rerank-2.5")
        assert [result.index for result in answer.results] == BEST
        assert answer.total_tokens > 0

    def test_its_own_errors(self, voyageai):
        from voyageai.error import AuthenticationError, InvalidRequestError, RateLimitError

        for error, url, key, texts in (
            (AuthenticationError, URL, WRONG, TEXTS),
            (InvalidRequestError, URL, KEY, []),
            (InvalidRequestError, URL, KEY, TOO_LONG),
            (RateLimitError, FULL_URL, KEY, TEXTS),
        ):
            with pytest.raises(error):
                voyageai.Client(api_key=key, base_url=f"{url}/voyage/v1", max_retries=0).rerank(QUERY, texts, model="m")


@pytest.fixture(scope="module")
def pinecone():
    return pytest.importorskip("pinecone")


class TestPinecone:
    def client(self, pinecone, url=URL, key=KEY):
        # The service is not behind Pinecone's load balancer: one try, so that an overload is an error at once.
        retries = pinecone.RetryConfig(max_retries=0)
        return pinecone.Pinecone(api_key=key, host=url, retry_config=retries).inference

    def test_ranks(self, pinecone):
        answer = self.client(pinecone).rerank("bge-reranker-v2-m3", QUERY, TEXTS, top_n=3)
        assert [result.index for result in answer.data] == BEST[:3]
        assert answer.data[0].document["text"] == TEXTS[BEST[0]]
        assert answer.usage.rerank_units >= 1

    def test_a_field_of_objects_is_ranked(self, pinecone):
        documents = [{"id": str(position), "summary": text} for position, text in enumerate(TEXTS)]
        answer = self.client(pinecone).rerank("m", QUERY, documents, rank_fields=["summary"], return_documents=False)
        assert [result.index for result in answer.data] == BEST

    def test_its_own_errors(self, pinecone):
        for error, url, key, texts in (
            (pinecone.UnauthorizedError, URL, WRONG, TEXTS),
            (pinecone.PineconeValueError, URL, KEY, []),
            (pinecone.ApiError, URL, KEY, TOO_LONG),
            (pinecone.RateLimitError, FULL_URL, KEY, TEXTS),
        ):
            with pytest.raises(error):
                self.client(pinecone, url, key).rerank("m", QUERY, texts)


def test_langchain_cohere():
    langchain_cohere = pytest.importorskip("langchain_cohere")
    reranker = langchain_cohere.CohereRerank(model="rerank-v3.5", cohere_api_key=KEY, base_url=URL, top_n=3)
    assert [result["index"] for result in reranker.rerank(TEXTS, QUERY)] == BEST[:3]


def test_langchain_jina(monkeypatch):
    jina = pytest.importorskip("langchain_community.document_compressors.jina_rerank")
    monkeypatch.setattr(jina, "JINA_API_URL", f"{URL}/v1/rerank")
    reranker = jina.JinaRerank(jina_api_key=KEY, model="any", top_n=3)
    assert [result["index"] for result in reranker.rerank(TEXTS, QUERY)] == BEST[:3]
    wrong = jina.JinaRerank(jina_api_key=WRONG, model="any", top_n=3)
    with pytest.raises(RuntimeError, match="the key is missing or wrong"):
        wrong.rerank(TEXTS, QUERY)


def nodes():
    schema = pytest.importorskip("llama_index.core.schema")
    return [schema.NodeWithScore(node=schema.TextNode(id_=str(i), text=text)) for i, text in enumerate(TEXTS)]


def order(found):
    return [int(node.node.node_id) for node in found]


def test_llama_index_cohere():
    module = pytest.importorskip("llama_index.postprocessor.cohere_rerank")
    reranker = module.CohereRerank(api_key=KEY, base_url=URL, model="rerank-v3.5", top_n=3)
    assert order(reranker.postprocess_nodes(nodes(), query_str=QUERY)) == BEST[:3]


def test_llama_index_tei():
    module = pytest.importorskip("llama_index.postprocessor.tei_rerank")
    reranker = module.TextEmbeddingInference(base_url=URL, auth_token=KEY, top_n=3, model_name="any")
    assert order(reranker.postprocess_nodes(nodes(), query_str=QUERY)) == BEST[:3]


def test_llama_index_jina():
    module = pytest.importorskip("llama_index.postprocessor.jinaai_rerank")
    reranker = module.JinaRerank(api_key=KEY, model="any", top_n=3, base_url=f"{URL}/v1")
    assert order(reranker.postprocess_nodes(nodes(), query_str=QUERY)) == BEST[:3]
