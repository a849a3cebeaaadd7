"""The files of an index: what is in it, how it is, adding files, removing them, and taking both back."""

import threading
import uuid
from collections import OrderedDict
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from pydantic import BaseModel, Field
from starlette.requests import Request

from rerank_plugin.checks import shown
from rerank_plugin.errors import InvalidValueError, StoreError
from rerank_plugin.indexing import IndexReport, index_paths
from rerank_plugin.pipelines import STORE_TYPE
from rerank_plugin.pipelines.yaml_file import init_parameters
from rerank_plugin.serving.page.jobs import Job, Jobs
from rerank_plugin.serving.page.settings import PageSettings
from rerank_plugin.serving.page.uploads import UploadFolder
from rerank_plugin.serving.problems import RequestError
from rerank_plugin.serving.search_service import SearchService
from rerank_plugin.store.indexing_lock import indexing_lock

# Seconds that a removal waits for a run that indexes.
REMOVAL_WAIT = 30.0
FILES_ON_A_PAGE = 50
MOST_UNDONE = 200
# The end of the type of every component that turns a query into a vector.
QUERY_EMBEDDER = "TextEmbedder"


class SourceBody(BaseModel):
    """Names a file of the index."""

    source: str = Field(min_length=1)


class UndoBody(BaseModel):
    """Names a removal."""

    undo: str


@dataclass(frozen=True)
class Removal:
    """
    A file that was removed.

    :param source: The file.
    :param aside: Where it is now; `None`: it is still in its place.
    """

    source: str
    aside: Path | None


class Library:
    """
    The files of the index, for a page that may change it.

    :param service: Has the document store, and the threads.
    :param settings: What the page may do.
    :raises InvalidValueError: If the index is in a store of another kind, which does not know its files.
    """

    def __init__(self, service: SearchService, settings: PageSettings) -> None:
        if not any(init_parameters(service.definition(service.names[0]), STORE_TYPE)):
            raise InvalidValueError(
                f"--writable needs an index of this package, and {service.names[0]} searches a store of another kind: leave "
                "--writable out"
            )
        self._service, self._settings = service, settings
        self._uploads = UploadFolder(service.index, max_bytes=settings.max_upload_bytes)
        self._uploads.empty_bin()
        self._jobs = Jobs(self._index_file, self._uploads.discard)
        self._lock = threading.Lock()
        self._removals: OrderedDict[str, Removal] = OrderedDict()

    async def overview(self, *, find: str, offset: int) -> dict[str, Any]:
        """
        Return the files of the index, and how it is.

        :param find: Part of the paths; empty: all files.
        :param offset: Number of files to pass over.
        """
        return await self._service.run(partial(self._overview, find, max(0, offset)))

    async def verify(self) -> dict[str, Any]:
        """Compare every document with its checksum, and say what is damaged."""
        return await self._service.run(self._verify)

    async def add(self, name: str, request: Request) -> dict[str, Any]:
        """
        Receive a file, and begin to index it.

        :param name: The name of the file.
        :param request: Has the file as its body.
        :raises RequestError: If the file is refused.
        """
        return self._shown(self._jobs.add(await self._uploads.receive(name, request)))

    def job(self, job_id: str) -> dict[str, Any]:
        """
        Return how far a file is.

        :param job_id: Id of the job.
        :raises RequestError: If there is none.
        """
        return self._shown(self._jobs.get(job_id))

    async def remove(self, body: SourceBody) -> dict[str, Any]:
        """
        Remove a file and its passages from the index. An uploaded file is put aside; others stay where they are.

        :param body: Names the file.
        :returns: `undo`, which takes it back as long as the server runs.
        :raises RequestError: If it is not in the index.
        """
        return {"undo": await self._service.run(partial(self._remove, body.source)), "source": body.source}

    async def undo(self, body: UndoBody) -> dict[str, Any]:
        """
        Take a removal back: the file is indexed again.

        :param body: Names the removal.
        :raises RequestError: If there is none, or the file is gone.
        """
        with self._lock:
            removal = self._removals.pop(body.undo, None)
        if removal is None:
            raise RequestError("this removal was taken back already, or is too long ago", status=404, kind="not_found")
        if removal.aside is not None:
            self._uploads.restore(removal.aside, removal.source)
        elif not Path(removal.source).is_file():
            raise RequestError(
                f"{shown(removal.source)} is gone: index it from where it is now", status=404, kind="not_found"
            )
        return self._shown(self._jobs.add(Path(removal.source)))

    def close(self) -> None:
        """Wait for the file that is being indexed."""
        self._jobs.close()

    def _overview(self, find: str, offset: int) -> dict[str, Any]:
        store = self._service.store
        snapshot = store.indexed_files.snapshot()
        named = [source for source in snapshot.sources if find.lower() in source.lower()]
        sources = sorted(named, key=lambda source: (not self._uploads.holds(source), source))  # what was added here first
        files = []
        for source in sources[offset : offset + FILES_ON_A_PAGE]:
            record, stored = snapshot.files.get(source), sum(snapshot.passages.get(source, {}).values())
            files.append(
                {
                    "source": source,
                    "name": Path(source).name,
                    "passages": stored,
                    "bytes": None if record is None else record.size,
                    "is_complete": record is not None and record.complete,
                    "is_uploaded": self._uploads.holds(source),
                }
            )
        of_files = sum(sum(counts.values()) for counts in snapshot.passages.values())
        documents = store.count_documents()
        return {
            "files": files,
            "found": len(sources),
            "offset": offset,
            "documents": documents,
            "without_file": max(0, documents - of_files),
            "embeddings": store.count_embeddings(),
            "incomplete": sum(not record.complete for record in snapshot.files.values()),
            "settings": {name: value for name, value in store.settings().items() if value is not None},
        }

    def _verify(self) -> dict[str, Any]:
        try:
            self._service.store.verify()
        except StoreError as error:
            return {"is_sound": False, "error": str(error)}
        return {"is_sound": True, "error": None}

    def _remove(self, source: str) -> str:
        store = self._service.store
        with indexing_lock(self._service.index, wait=REMOVAL_WAIT):
            if source not in store.indexed_files.snapshot().sources:
                raise RequestError(f"{shown(source)} is not in the index", status=404, kind="not_found", param="source")
            store.indexed_files.forget([source], passages=True)
        name = uuid.uuid4().hex
        removal = Removal(source, self._uploads.discard(source))
        with self._lock:
            self._removals[name] = removal
            while len(self._removals) > MOST_UNDONE:
                self._removals.popitem(last=False)
        return name

    def _index_file(self, file: Path) -> IndexReport:
        return index_paths(
            [file],
            self._service.index,
            pipeline="indexing" if self._has_embeddings() else "indexing_keyword",
            embedding_model=self._settings.embedding_model,
        )

    def _has_embeddings(self) -> bool:
        """Return whether the index has vectors; an empty one has if a pipeline of the server searches them."""
        store = self._service.store
        if store.count_documents():
            return bool(store.count_embeddings())
        components = [self._service.definition(name)["components"].values() for name in self._service.names]
        return any(QUERY_EMBEDDER in component["type"] for of_one in components for component in of_one)

    def _shown(self, job: Job) -> dict[str, Any]:
        return {**asdict(job), "name": Path(job.source).name}
