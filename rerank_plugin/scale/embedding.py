"""Filling an index with passages whose embeddings are made in blocks: the part of indexing that takes the time."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from rerank_plugin.checks import shown
from rerank_plugin.errors import InputFileError
from rerank_plugin.files import replace_file
from rerank_plugin.scale.blocks import Block, Row, read_block

if TYPE_CHECKING:
    from haystack import Document

    from rerank_plugin.scale.job import JobFolder

IDS = ("_id", "id")


@dataclass(frozen=True)
class EmbedTask:
    """
    Embeds passages: rows with `text`, and if they have them `title`, `_id` or `id`, and further fields.

    :param pipeline: Name or YAML file of the indexing pipeline whose embedder is used.
    :param embedding_model: Hub id or folder to use instead of the pipeline's model; `None`: the pipeline's.
    :param threads: Threads of the model; `None`: as torch chooses.
    """

    pipeline: str = "indexing"
    embedding_model: str | None = None
    threads: int | None = None

    suffix = ".npy"

    def settings(self) -> dict[str, Any]:
        """Return the embedder, with its model by content."""
        from rerank_plugin.evaluation.model_files import model_fingerprints
        from rerank_plugin.pipelines import read_pipeline

        content = read_pipeline(self.pipeline, embedding_model=self.embedding_model)
        return {"task": "index", "pipeline": content, "models": model_fingerprints(content)}

    def open(self) -> Callable[[Sequence[Row], str], "np.ndarray"]:
        """Load the model. See `Task.open`."""
        if self.threads is not None:
            import torch

            torch.set_num_threads(self.threads)
        embedder = _embedder(self.pipeline, self.embedding_model)
        embedder.warm_up()

        def embed(rows: Sequence[Row], place: str) -> "np.ndarray":
            documents = [passage_of(row, f"{place}, row {number}") for number, row in enumerate(rows, start=1)]
            embedded = embedder.run(documents=documents)["documents"]
            return np.asarray([document.embedding for document in embedded], dtype="float32")

        return embed

    def write(self, part: Path, result: "np.ndarray") -> None:
        """Write vectors. See `Task.write`."""
        with replace_file(part, binary=True) as file:
            np.save(file, result, allow_pickle=False)


def _embedder(pipeline: str, embedding_model: str | None) -> Any:
    """Return the embedder of documents of an indexing pipeline, without the part of it that looks into an index."""
    from rerank_plugin.pipelines import load_pipeline

    loaded = load_pipeline(pipeline, embedding_model=embedding_model)
    for _, component in loaded.walk():
        embedder = getattr(component, "embedder", component)
        if "DocumentEmbedder" in type(embedder).__name__ and hasattr(embedder, "run"):
            return embedder
    raise InputFileError(f"the pipeline {pipeline} has no embedder of documents: choose one such as 'indexing'")


def passage_of(row: Row, place: str) -> "Document":
    """
    Return the passage of a row, with the id that it always has.

    :param row: The row.
    :param place: Where it is, for messages.
    :raises InputFileError: If it has no text.
    """
    from haystack import Document

    text, title = row.get("text"), row.get("title") or ""
    if not isinstance(text, str) or not isinstance(title, str):
        raise InputFileError(f"{place}: text and title must be texts, got {shown(text)} and {shown(title)}")
    own_id = next((str(row[name]) for name in IDS if row.get(name) is not None), None)
    identity = own_id if own_id is not None else f"{title}\0{text}"
    meta = {name: value for name, value in row.items() if name not in ("text", "title", *IDS) and value is not None}
    meta |= {"title": title, **({} if own_id is None else {"doc_id": own_id})}
    return Document(id=hashlib.sha256(identity.encode("utf-8", "surrogatepass")).hexdigest(), content=text, meta=meta)


def write_index(job: "JobFolder", blocks: Sequence[Block], on_block: Callable[[int], None] = lambda _: None) -> int:
    """
    Write passages and embeddings into the index that is the output of a job, block by block, in order.

    A block is written in one transaction, and passages of the same id replace each other: repeating it changes nothing.

    :param job: The job, all of whose blocks are embedded.
    :param blocks: The blocks.
    :param on_block: Called with the number of blocks that are written.
    :returns: The number of passages in the index.
    """
    from haystack.document_stores.types import DuplicatePolicy

    from rerank_plugin.store import HybridDocumentStore

    store = HybridDocumentStore(job.output)
    try:
        for number, block in enumerate(blocks, start=1):
            vectors = np.load(job.part(block, EmbedTask.suffix), allow_pickle=False)
            passages = [passage_of(row, str(block.file)) for row in read_block(block)]
            embedded = [
                replace(passage, embedding=vector.tolist()) for passage, vector in zip(passages, vectors, strict=True)
            ]
            store.write_documents(embedded, DuplicatePolicy.OVERWRITE)
            on_block(number)
        count: int = store.count_documents()
        return count
    finally:
        store.close()
