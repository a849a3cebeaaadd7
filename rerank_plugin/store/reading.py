"""Reading all documents of an index, a batch at a time, for what goes through the whole of it."""

from collections.abc import Iterator

from haystack.dataclasses import Document

from rerank_plugin.store.session import Session

_BATCH = 1000


def read_all(session: Session) -> Iterator[Document]:
    """
    Yield every document without its embedding, in the order in which they were first written.

    Other users may read and write between two batches: a document that is written meanwhile may or may not be among these.

    :param session: The store's session.
    :raises StoreError: If the index cannot be read.
    """
    last = 0
    while True:
        with session.reading() as handle, handle.database.snapshot():
            documents = handle.database.documents
            rows = documents.rows_after(last, _BATCH)
            batch = [document for _, document in documents.read(rows, embeddings=False)]
        if not rows:
            return
        last = rows[-1]
        yield from batch
