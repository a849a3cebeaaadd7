"""Documents in the form that clients of MCP expect: ChatGPT's connectors read id, title, url and text."""

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote, unquote

from rerank_plugin.agents.shortening import shortened

SCHEME = "rerank://documents/"
TEMPLATE = f"{SCHEME}{{id}}"
# Characters of a passage in a search result; passages of our own indexing are shorter.
MOST_CHARACTERS = 4000


def result_of(hit: Mapping[str, Any], url_template: str | None) -> dict[str, Any]:
    """
    Return a hit as a result of the tool `search`.

    :param hit: A hit of `hits_as_json`.
    :param url_template: See `url_of`.
    """
    result = {
        "id": hit["id"],
        "title": hit["title"],
        "url": url_of(hit["id"], hit["meta"], url_template),
        "text": shortened(hit["content"] or "", MOST_CHARACTERS),
        "score": hit["score"],
    }
    return result | {name: hit[name] for name in ("source", "page", "section") if hit[name] is not None}


def document_of(found: Mapping[str, Any], url_template: str | None) -> dict[str, Any]:
    """
    Return a document as the result of the tool `fetch`.

    :param found: `id`, `content` and `meta`.
    :param url_template: See `url_of`.
    """
    meta = found["meta"]
    return {
        "id": found["id"],
        "title": str(meta.get("title") or meta.get("source") or found["id"]),
        "text": found["content"] or "",
        "url": url_of(found["id"], meta, url_template),
        "metadata": meta,
    }


def url_of(document_id: str, meta: Mapping[str, Any], url_template: str | None) -> str:
    """
    Return the address to cite a document by.

    :param document_id: Its id.
    :param meta: Its metadata.
    :param url_template: An address with metadata fields in braces, such as `https://wiki.example.org/{source}`; `None`, or
        where the document lacks a field: its `url`, and without one the URI of its resource.
    """
    if url_template is not None:
        try:
            return url_template.format_map({name: quote(str(value)) for name, value in meta.items()} | {"id": document_id})
        except (KeyError, IndexError, AttributeError):
            pass
    return str(meta.get("url") or uri_of(document_id))


def uri_of(document_id: str) -> str:
    """Return the URI of a document's resource."""
    return SCHEME + quote(document_id, safe="")


def id_of(uri: str) -> str | None:
    """Return the id of the document whose resource has a URI; `None` if it is no such URI."""
    return unquote(uri.removeprefix(SCHEME)) if uri.startswith(SCHEME) else None
