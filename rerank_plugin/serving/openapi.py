"""The description of the rerank routes for OpenAPI: every protocol of a path, with an example."""

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel

from rerank_plugin.serving.dialects.dialect import Dialect

DESCRIPTION = """
A reranker that speaks the protocols of Cohere, Jina, Text Embeddings Inference, vLLM, Voyage, Infinity, llama.cpp, Pinecone,
Weaviate and Elasticsearch. Where protocols share a path, the keys of the request tell which one it is. Unknown keys are
ignored, and so is an unknown `model`. `time_budget_ms` may be sent in any request.
""".strip()


def request_body(models: Mapping[str, type[BaseModel]], examples: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """
    Describe the body of a request.

    :param models: Its shapes, by name.
    :param examples: An example of each, by the same names.
    """
    schemas = [model.model_json_schema(ref_template="#/components/schemas/{model}") for model in models.values()]
    for schema in schemas:
        definitions = schema.pop("$defs", {})
        _inline(schema, definitions)
    content = {
        "schema": schemas[0] if len(schemas) == 1 else {"anyOf": schemas},
        "examples": {name: {"summary": name, "value": dict(example)} for name, example in examples.items()},
    }
    return {"requestBody": {"required": True, "content": {"application/json": content}}}


def _inline(node: Any, definitions: Mapping[str, Any]) -> None:
    """Put definitions in the places of the references to them, as the names of several models may be the same."""
    if isinstance(node, list):
        for item in node:
            _inline(item, definitions)
    elif isinstance(node, dict):
        reference = node.pop("$ref", None)
        if reference is not None:
            node.update(definitions[reference.rpartition("/")[2]])
        for value in node.values():
            _inline(value, definitions)


def rerank_body(dialects: Sequence[Dialect[Any]]) -> dict[str, Any]:
    """
    Describe the bodies of the protocols that share a path.

    :param dialects: The protocols.
    """
    # The one that answers when no key decides comes first.
    ordered = [*dialects[-1:], *dialects[:-1]]
    return request_body(
        {dialect.name: dialect.body for dialect in ordered}, {dialect.name: dialect.example for dialect in ordered}
    )
