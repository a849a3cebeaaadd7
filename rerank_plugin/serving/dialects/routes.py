"""Which protocol a request speaks: by its path, where that says it, or else by the keys that only one protocol has."""

from collections.abc import Mapping
from typing import Any

from rerank_plugin.serving.dialects.cohere import CohereV1, CohereV2
from rerank_plugin.serving.dialects.dialect import Dialect
from rerank_plugin.serving.dialects.elasticsearch import Elasticsearch
from rerank_plugin.serving.dialects.infinity import Infinity
from rerank_plugin.serving.dialects.jina import Jina
from rerank_plugin.serving.dialects.pinecone import Pinecone
from rerank_plugin.serving.dialects.tei import TEI
from rerank_plugin.serving.dialects.vllm import VLLM, VLLMScore
from rerank_plugin.serving.dialects.voyage import Voyage
from rerank_plugin.serving.dialects.weaviate import Weaviate

PINECONE_HEADER = "x-pinecone-api-version"

cohere_v1, cohere_v2, jina, tei, vllm, vllm_score = CohereV1(), CohereV2(), Jina(), TEI(), VLLM(), VLLMScore()
voyage, infinity, pinecone, weaviate, elasticsearch = Voyage(), Infinity(), Pinecone(), Weaviate(), Elasticsearch()

VLLM_KEYS = frozenset(
    "truncate_prompt_tokens use_activation max_tokens_per_query truncation_side chat_template_kwargs mm_processor_kwargs "
    "cache_salt request_id".split()
)
# In this order: the first key that a request has decides.
BY_KEY: tuple[tuple[frozenset[str], Dialect[Any]], ...] = (
    (frozenset(["texts"]), tei),
    (frozenset(["input"]), elasticsearch),
    (frozenset(["property"]), weaviate),
    (frozenset(["top_k", "truncation"]), voyage),
    (frozenset(["raw_scores"]), infinity),
    (VLLM_KEYS, vllm),
    (frozenset(["rank_fields", "max_chunks_per_doc"]), cohere_v1),
)
# The protocols that share each path, the one that answers when no key decides last.
ROUTES: dict[str, tuple[Dialect[Any], ...]] = {
    "/rerank": (tei, elasticsearch, weaviate, voyage, infinity, vllm, cohere_v1, pinecone, jina),
    "/v1/rerank": (tei, elasticsearch, voyage, infinity, vllm, cohere_v1, jina),
    "/v2/rerank": (vllm, cohere_v2),
    "/reranking": (jina,),
    "/v1/reranking": (jina,),
    "/score": (vllm_score,),
    "/v1/score": (vllm_score,),
    "/voyage/v1/rerank": (voyage,),
    "/infinity/rerank": (infinity,),
    "/pinecone/rerank": (pinecone,),
}


def dialect_of(path: str, body: Mapping[str, Any], headers: Mapping[str, str]) -> Dialect[Any]:
    """
    Return the protocol of a request.

    :param path: A path of `ROUTES`.
    :param body: The request.
    :param headers: Its headers, names in lower case.
    """
    spoken = ROUTES[path]
    if pinecone in spoken and PINECONE_HEADER in headers:
        return pinecone
    for keys, dialect in BY_KEY:
        if dialect in spoken and not keys.isdisjoint(body):
            return dialect
    return spoken[-1]
