"""The whole document that a passage is from: its passages in order, to be read or downloaded."""

from functools import partial
from pathlib import PurePath
from typing import Any
from urllib.parse import quote

from haystack import Document
from starlette.responses import Response

from rerank_plugin.serving.page.guard import SECURITY_HEADERS
from rerank_plugin.serving.page.hits import passage
from rerank_plugin.serving.page.search import PageSearch
from rerank_plugin.serving.search_service import SearchService

# Passages that are shown at once, around the one that was found; the download has all.
MOST_SHOWN = 300


class WholeDocuments:
    """
    Reads documents.

    :param service: Has the document store, and the threads.
    :param searches: Reads single passages.
    """

    def __init__(self, service: SearchService, searches: PageSearch) -> None:
        self._service, self._searches = service, searches

    async def read(self, document_id: str) -> dict[str, Any]:
        """
        Return the passages of the file that a passage is from.

        :param document_id: Id of the passage.
        :returns: The passages around it, and how many stand before and after those.
        :raises RequestError: If it does not exist.
        """
        return await self._service.run(partial(self._read, document_id))

    async def download(self, document_id: str) -> Response:
        """
        Return the text of the whole file as a download.

        :param document_id: Id of one of its passages.
        :raises RequestError: If it does not exist.
        """
        found, passages = await self._service.run(partial(self._passages, document_id))
        text = "\n\n".join(document.content or "" for document in passages)
        name = PurePath(str(found.meta.get("source") or found.meta.get("title") or "document")).name[:100] or "document"
        return attachment(text.encode("utf-8", "replace"), f"{name}.txt", "text/plain; charset=utf-8")

    def _read(self, document_id: str) -> dict[str, Any]:
        found, passages = self._passages(document_id)
        at = next(position for position, document in enumerate(passages) if document.id == document_id)
        first = max(0, min(at - MOST_SHOWN // 2, len(passages) - MOST_SHOWN))
        shown = passages[first : first + MOST_SHOWN]
        return {
            "id": document_id,
            "title": passage(found)["title"],
            "source": passage(found)["source"],
            "passages": [passage(document) for document in shown],
            "before": first,
            "after": len(passages) - first - len(shown),
        }

    def _passages(self, document_id: str) -> tuple[Document, list[Document]]:
        (found,) = self._searches.documents([document_id])
        fields = {name: found.meta[name] for name in ("source", "doc_id") if found.meta.get(name)}
        if "source" not in fields:
            return found, [found]
        same = [{"field": f"meta.{name}", "operator": "==", "value": value} for name, value in fields.items()]
        passages: list[Document] = self._service.store.filter_documents({"operator": "AND", "conditions": same})
        return found, passages


def attachment(body: bytes, name: str, media_type: str) -> Response:
    """
    Return a download, which no browser opens as a page.

    :param body: What is downloaded.
    :param name: The name of the file.
    :param media_type: Its type.
    """
    disposition = f"attachment; filename*=UTF-8''{quote(name.encode('utf-8', 'replace'), safe='')}"
    return Response(body, media_type=media_type, headers={**SECURITY_HEADERS, "content-disposition": disposition})
