"""IncrementalDocumentEmbedder: embed only documents whose embedding is not in the document store yet."""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from haystack import Document, component, default_from_dict, default_to_dict

from rerank_plugin.checks import shown
from rerank_plugin.errors import InvalidValueError
from rerank_plugin.progress import report_parts

# Parameters of embedders that do not change the embeddings.
_WITHOUT_EFFECT = frozenset(
    {"api_key", "batch_size", "device", "local_files_only", "max_retries", "progress_bar", "timeout", "token"}
)
# Documents that the embedder gets in one call; it sorts them by length.
_DOCUMENTS_AT_A_TIME = 512


@component
class IncrementalDocumentEmbedder:
    """
    Embeds documents with another embedder, and reuses the embeddings of unchanged texts from a document store.

    With each embedding, `meta["embedded_as"]` stores a hash of what it was computed from: the embedder's parameters, the
    content, and the meta fields that are embedded with it. When documents are written again, those whose hash is in the
    store are not embedded again, even if their ids, their order or other meta fields have changed. Works with any document
    store whose filters support `in`.

    `pipelines/indexing.yaml` uses it.

    :param embedder: A document embedder: a component that takes and returns `documents`.
    :param document_store: The store that the documents are written to.
    :raises InvalidValueError: If an argument is of the wrong kind.
    """

    def __init__(self, embedder: Any, document_store: Any) -> None:
        if not hasattr(embedder, "run") or not hasattr(embedder, "to_dict"):
            raise InvalidValueError(f"embedder must be a document embedder, got {type(embedder).__name__}")
        if not hasattr(document_store, "filter_documents"):
            raise InvalidValueError(f"document_store must be a document store, got {type(document_store).__name__}")
        self.embedder = embedder
        self.document_store = document_store

    def to_dict(self) -> dict[str, Any]:
        """Return the component as a dictionary, for a pipeline's YAML."""
        return default_to_dict(self, embedder=self.embedder.to_dict(), document_store=self.document_store.to_dict())

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> "IncrementalDocumentEmbedder":
        """
        Build the component from the output of `to_dict`.

        :param data: The dictionary.
        """
        return default_from_dict(cls, data)

    def warm_up(self) -> None:
        """Load the embedder's model."""
        if hasattr(self.embedder, "warm_up"):
            self.embedder.warm_up()

    def close(self) -> None:
        """Close the document store if it has files; the next use opens them again."""
        if hasattr(self.document_store, "close"):
            self.document_store.close()

    @component.output_types(documents=list[Document], reused=int)
    def run(self, documents: list[Document]) -> dict[str, Any]:
        """
        Embed documents.

        :param documents: The documents; they are not changed.
        :returns: `documents`: new documents with embeddings, in the same order; `reused`: how many embeddings were
            reused.
        :raises InvalidValueError: If they are not Documents, or the embedder returns a different number of them.
        """
        if not isinstance(documents, list) or not all(isinstance(document, Document) for document in documents):
            raise InvalidValueError(f"documents must be a list of Documents, got {shown(documents)}")
        keys = self._keys(documents)
        known = self._known(keys)
        missing = {key: document for key, document in zip(keys, documents, strict=True) if key not in known}
        if missing:
            known.update(zip(missing, self._embeddings(list(missing.values())), strict=True))
        with_embeddings = [
            replace(document, embedding=known[key], meta={**document.meta, "embedded_as": key})
            for key, document in zip(keys, documents, strict=True)
        ]
        return {"documents": with_embeddings, "reused": len(documents) - len(missing)}

    def _embeddings(self, documents: list[Document]) -> Iterator[list[float] | None]:
        """Yield the embeddings of documents. A large file is embedded in parts, so that there is progress to report."""
        for start in range(0, len(documents), _DOCUMENTS_AT_A_TIME):
            part = documents[start : start + _DOCUMENTS_AT_A_TIME]
            embedded = self.embedder.run(documents=part)["documents"]
            if len(embedded) != len(part):
                raise InvalidValueError(
                    f"embedder {type(self.embedder).__name__} returned {len(embedded)} documents for {len(part)}: it "
                    "must return one for each"
                )
            yield from (document.embedding for document in embedded)
            if len(documents) > _DOCUMENTS_AT_A_TIME:
                report_parts("passages", start + len(part), len(documents))

    def _keys(self, documents: list[Document]) -> list[str]:
        described = self.embedder.to_dict()
        effective = {
            name: value for name, value in described.get("init_parameters", {}).items() if name not in _WITHOUT_EFFECT
        }
        how = json.dumps([described.get("type"), effective], sort_keys=True, default=str)
        fields = getattr(self.embedder, "meta_fields_to_embed", None) or []
        texts = ([document.content, [document.meta.get(field) for field in fields]] for document in documents)
        return [hashlib.sha256(f"{how}\0{json.dumps(text, default=str)}".encode()).hexdigest()[:32] for text in texts]

    def _known(self, keys: list[str]) -> dict[str, list[float] | None]:
        if not keys:
            return {}
        same = {"field": "meta.embedded_as", "operator": "in", "value": sorted(set(keys))}
        stored = self.document_store.filter_documents(same)
        return {document.meta["embedded_as"]: document.embedding for document in stored if document.embedding is not None}
