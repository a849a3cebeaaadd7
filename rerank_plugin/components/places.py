"""Places of passages: where in which file a text stands, as listed in `meta["also_in"]`."""

from collections.abc import Iterable
from typing import Any

from haystack import Document

from rerank_plugin.store.shared_passages import ALSO_IN

# `doc_id` is the id of a document in a corpus file, whose passages all have the same source.
_FIELDS = ("source", "page", "section", "doc_id")

Place = dict[str, Any]


def place_of(document: Document) -> Place:
    """
    Return where a passage stands.

    :param document: The passage.
    :returns: `source`, and `page`, `section` and `doc_id` where the meta has them; for a document without a source its `id`.
    """
    if not document.meta.get("source"):
        return {"id": document.id}
    return {name: document.meta[name] for name in _FIELDS if document.meta.get(name) not in (None, "")}


def also_in(document: Document) -> list[Place]:
    """Return the other places of a passage's text, as its meta lists them; what is not a list of places is ignored."""
    places = document.meta.get(ALSO_IN)
    return [dict(place) for place in places if isinstance(place, dict)] if isinstance(places, list | tuple) else []


def merge_places(document: Document, others: Iterable[Document]) -> list[Place]:
    """
    Return the other places of a text that several passages share.

    :param document: The passage that is shown.
    :param others: The passages that are not shown, as they have the same text.
    :returns: The places of `others`, and those that any of them lists; each once, without that of `document` itself.
    """
    places = also_in(document)
    for other in others:
        places += [place_of(other), *also_in(other)]
    own = place_of(document)
    return [place for position, place in enumerate(places) if place != own and place not in places[:position]]


def file_of(document: Document) -> tuple[Any, ...] | None:
    """Return what `max_per_source` counts: the file, or the document of a corpus file; `None` without a source."""
    source = document.meta.get("source")
    return (str(source), str(document.meta.get("doc_id", ""))) if source else None
