"""Where documents are copied from and to: an index of ours, or the document store that a pipeline names."""

import hashlib
import os
from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Protocol

from haystack import Document
from haystack.document_stores.types import DuplicatePolicy

from rerank_plugin.errors import PipelineConfigError, StoreError
from rerank_plugin.files import data_folder
from rerank_plugin.indexing.foreign_store import ForeignStore
from rerank_plugin.indexing.manifest import manifest_folder
from rerank_plugin.indexing.pipeline import WRITER
from rerank_plugin.pipelines import STORE_TYPE, pipeline_names, read_pipeline
from rerank_plugin.pipelines.environment import document_stores
from rerank_plugin.pipelines.stores import address_of
from rerank_plugin.store import HybridDocumentStore

# How much the name of a new folder may look like that of a pipeline: more is taken for a slip.
_ALIKE = 0.8


class Place(Protocol):
    """Documents that are somewhere. `str()` gives its name for messages."""

    @property
    def folder(self) -> Path:
        """The folder of the lock: one run at a time writes here."""

    def count(self) -> int:
        """Return the number of documents."""

    def state(self) -> str:
        """Return a text that is another one after every change of the documents."""

    def parts(self, after: int, size: int) -> Iterator[tuple[int, list[Document]]]:
        """Yield the documents with their embeddings in a fixed order, and with each part the position of its last one."""

    def write(self, documents: Sequence[Document]) -> None:
        """Write documents; each replaces the one that has its id."""

    def close(self) -> None:
        """Bring everything up to date and release it."""


class IndexPlace:
    """
    An index of ours.

    :param folder: Its folder.
    :param parameters: Parameters of the store, such as its language, if a pipeline names it.
    """

    def __init__(self, folder: Path, parameters: dict[str, Any] | None = None) -> None:
        self.folder = folder
        self.store = HybridDocumentStore(**{**(parameters or {}), "path": folder})

    def __str__(self) -> str:
        """Return the folder."""
        return str(self.folder)

    def count(self) -> int:
        """Return the number of documents."""
        return self.store.count_documents()

    def state(self) -> str:
        """Return the revision of the index."""
        return self.store.revision()

    def parts(self, after: int, size: int) -> Iterator[tuple[int, list[Document]]]:
        """
        Yield the documents in the order in which they were first written.

        :param after: Row of the last document that is not wanted.
        :param size: Number of documents of a part.
        """
        while part := self.store.read_after(after, size):
            after = part[-1][0]
            yield after, [document for _, document in part]

    def write(self, documents: Sequence[Document]) -> None:
        """
        Write documents.

        :param documents: The documents.
        """
        self.store.write_documents(list(documents), DuplicatePolicy.OVERWRITE)

    def close(self) -> None:
        """Bring the indexes on disk up to date and close the files."""
        self.store.close()


class StorePlace:
    """
    A store of another package. Haystack's protocol has no pages: to be copied from here, all documents are read at once.

    :param data: The store as in a pipeline YAML.
    :param name: Name of the pipeline, for messages.
    """

    def __init__(self, data: dict[str, Any], *, name: str) -> None:
        self.store = ForeignStore(data, name=name)
        self.folder = manifest_folder(self.store.address, None)
        self._documents: list[Document] | None = None

    def __str__(self) -> str:
        """Return the class of the store and its address."""
        return str(self.store.address)

    def count(self) -> int:
        """Return the number of documents."""
        return self.store.count()

    def state(self) -> str:
        """Return a hash of all ids and texts."""
        digest = hashlib.sha256()
        for document in self._read():
            digest.update(f"{document.id}\0{document.content}\0".encode())
        return digest.hexdigest()

    def parts(self, after: int, size: int) -> Iterator[tuple[int, list[Document]]]:
        """
        Yield the documents in the order of their ids.

        :param after: Number of documents that are not wanted.
        :param size: Number of documents of a part.
        """
        documents = self._read()
        for start in range(after, len(documents), size):
            part = documents[start : start + size]
            yield start + len(part), part

    def write(self, documents: Sequence[Document]) -> None:
        """
        Write documents.

        :param documents: The documents.
        """
        self.store.overwrite(documents)

    def close(self) -> None:
        """Close the store."""
        self.store.close()

    def _read(self) -> list[Document]:
        if self._documents is None:
            documents, count = self.store.read(), self.store.count()
            if len(documents) != count:  # some stores return no more than so many documents at once
                raise StoreError(
                    f"{self} returns {len(documents):,} of its {count:,} documents when it is asked for all of them: index "
                    "the files into the new place instead, or copy with the tools of that database"
                )
            self._documents = sorted(documents, key=lambda document: document.id)
        return self._documents


def open_place(name: str | Path) -> Place:
    """
    Open the place that a command names.

    :param name: Folder of an index, name of a packaged pipeline, or path of a YAML file. Of a pipeline it is the document
        store of its writer or, where it has none, the one that all its components use.
    :raises PipelineConfigError: If a pipeline cannot be read, or names no document store, or several.
    :raises MissingDependencyError: If the package of its document store is not installed.
    :raises StoreError: If the store cannot be opened.
    """
    text = str(name)
    if text not in pipeline_names() and not text.endswith((".yaml", ".yml")):
        folder = Path(text).expanduser()
        alike = get_close_matches(text, pipeline_names(), n=1, cutoff=_ALIKE)
        if alike and isinstance(name, str) and os.sep not in text and not folder.exists():
            raise PipelineConfigError(
                f"there is no pipeline {text!r}, only {alike[0]!r}; if you mean a folder, write ./{text}"
            )
        return IndexPlace(folder)
    data = read_pipeline(text)
    writer = data["components"].get(WRITER, {})
    stores = list(document_stores(writer)) or list(document_stores(data))
    addresses = {address_of(store).key: store for store in stores}
    if len(addresses) != 1:
        found = ", ".join(str(address_of(store)) for store in addresses.values()) or "none"
        raise PipelineConfigError(f"{text} must name one document store to copy from or to; it names {found}")
    (store,) = addresses.values()
    if store.get("type") == STORE_TYPE:
        parameters = dict(store.get("init_parameters") or {})
        return IndexPlace(Path(str(parameters.pop("path", None) or "index")).expanduser(), parameters)
    return StorePlace(store, name=text)


def checkpoint_file(source: Place, target: Place) -> Path:
    """
    Return the file in which a copy notes how far it has got.

    :param source: Where it copies from.
    :param target: Where it copies to.
    """
    key = hashlib.sha256(f"{source.folder.resolve()}\0{target.folder.resolve()}".encode()).hexdigest()[:16]
    return data_folder() / "copies" / f"{key}.json"
