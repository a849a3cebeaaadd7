"""Filters from metadata: the fields by which the documents of an index fall into groups, and how many are in each."""

from functools import partial
from typing import Any

from pydantic import BaseModel

from rerank_plugin.serving.page.hits import SHOWN_APART
from rerank_plugin.serving.search_service import SearchService

MOST_FIELDS = 8
MOST_VALUES = 60
# A field that tells nearly every document apart from the others groups nothing.
LEAST_DOCUMENTS_PER_VALUE = 2.0
FILE = "source"
# Told by the file already: the splitter's id of the whole document.
NO_FACETS = SHOWN_APART | {"source_id"}


class FacetsBody(BaseModel):
    """A request for the facets of the documents that filters let through."""

    filters: dict[str, Any] | None = None


class Facets:
    """
    Counts the values of metadata; without filters once for each state of the index.

    :param service: Has the document store, and the threads.
    """

    def __init__(self, service: SearchService) -> None:
        self._service = service
        self._known: tuple[str, dict[str, Any]] | None = None

    async def facets(self, body: FacetsBody) -> dict[str, Any]:
        """Return the fields with their values and the number of documents of each; none for a store that cannot count."""
        return await self._service.run(partial(self._facets, body.filters))

    def _facets(self, filters: dict[str, Any] | None) -> dict[str, Any]:
        store = self._service.store
        if not hasattr(store, "count_metadata_values"):
            return {"fields": []}
        if filters:
            return chosen_fields(store.count_metadata_values(filters))
        revision = store.revision()
        if self._known is None or self._known[0] != revision:
            self._known = revision, chosen_fields(store.count_metadata_values())
        return self._known[1]


def chosen_fields(counts: dict[str, list[tuple[Any, int]]]) -> dict[str, Any]:
    """
    Choose the fields to show, the file first, then those with the fewest values.

    :param counts: For each field its values with their numbers of documents, the most frequent first.
    """
    groups = {
        name: values
        for name, values in counts.items()
        if (name == FILE or name not in NO_FACETS)
        and len(values) > 1
        and sum(count for _, count in values) >= LEAST_DOCUMENTS_PER_VALUE * len(values)
    }
    ordered = sorted(groups, key=lambda name: (name != FILE, len(groups[name]), name))
    return {
        "fields": [
            {
                "field": name,
                "values": [{"value": value, "count": count} for value, count in groups[name][:MOST_VALUES]],
                "more": max(0, len(groups[name]) - MOST_VALUES),
            }
            for name in ordered[:MOST_FIELDS]
        ]
    }
