"""The indexing pipeline: converts, splits, embeds and writes files, and returns the written passages."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from haystack import Document
from haystack.core.errors import PipelineRuntimeError
from haystack.dataclasses import ByteStream

from rerank_plugin.errors import InputFileError, PipelineConfigError, RerankError, reason_of
from rerank_plugin.indexing.opening import open_target
from rerank_plugin.indexing.targets import Target
from rerank_plugin.pipelines import STORE_TYPE, build_pipeline, find_pipeline, read_pipeline

if TYPE_CHECKING:
    from haystack import Pipeline

ROUTER, PASSAGES, WRITER = "router", "passages", "writer"

# Part of every fingerprint: incremented when this package changes how it reads files, so that they are indexed again.
_READER_VERSION = 4


@dataclass(frozen=True)
class WrittenPassages:
    """
    The passages that one run of the pipeline wrote.

    :param passages: The output of the component `passages`.
    :param written: The number of documents that the component `writer` wrote.
    """

    passages: Sequence[Document]
    written: int

    def of(self, source: str) -> int:
        """
        Return the number of distinct passages of a file.

        :param source: The file.
        """
        return len({passage.id for passage in self.passages if passage.meta["source"] == source})

    @property
    def is_exact(self) -> bool:
        """Whether exactly these passages were written: no component after `passages` dropped or split any."""
        return self.written == len(self.passages)


class IndexingPipeline:
    """
    A pipeline YAML with the components `router`, `passages` and `writer`.

    Components are created, and models loaded, when the first file is converted: detecting that nothing has changed needs
    only the store.

    :param source: Name or path of the pipeline.
    :param index: Folder of the index, or of the manifest of another store; `None`: see `open_target`.
    :param language: See `load_pipeline`.
    :param embedding_model: See `load_pipeline`.
    :param repair: Whether texts are repaired before they are indexed; part of the fingerprint.
    :raises PipelineConfigError: If the pipeline cannot be read or lacks a component.
    :raises MissingDependencyError: If the package of its document store is not installed.
    :raises StoreError: If its document store cannot be opened.
    """

    def __init__(
        self,
        source: str | Path,
        *,
        index: Path | None,
        language: str | None = None,
        embedding_model: str | None = None,
        repair: bool = False,
    ) -> None:
        self._file = find_pipeline(source)
        self._data = read_pipeline(source, index=index, language=language, embedding_model=embedding_model)
        self._pipeline: Pipeline | None = None
        self.target: Target = open_target(self._store_of_writer(), index, name=str(self._file))
        text = self._file.read_text(encoding="utf-8")
        configuration = f"{_READER_VERSION}\0{embedding_model}\0{text}" + ("\0repaired" if repair else "")
        # Part of every fingerprint: with another configuration, files are indexed again.
        self.salt = hashlib.sha256(configuration.encode()).hexdigest()

    def write_documents(self, documents: Sequence[Document]) -> WrittenPassages:
        """
        Write the documents of a corpus; each is one passage and is not split.

        :param documents: The documents.
        :raises RerankError: If a component fails.
        """
        return self._run({ROUTER: {"sources": []}, PASSAGES: {"documents": list(documents)}})

    def write_files(self, files: Sequence[ByteStream]) -> WrittenPassages:
        """
        Convert, split and write files.

        :param files: Their content, with `source` in the meta.
        :raises InputFileError: If a file cannot be converted. With several files, the error does not say which one.
        :raises RerankError: If another component fails.
        """
        return self._run({ROUTER: {"sources": list(files)}})

    def close(self) -> None:
        """Close what is indexed into; see `Target.close`."""
        self.target.close()

    def _run(self, data: dict[str, Any]) -> WrittenPassages:
        if self._pipeline is None:
            self._pipeline = self._load()
        try:
            result = self._pipeline.run(data, include_outputs_from={PASSAGES})
        except PipelineRuntimeError as error:
            raise self._explained(error) from error
        passages: list[Document] = result.get(PASSAGES, {}).get("documents", [])
        if any("source" not in passage.meta for passage in passages):
            raise PipelineConfigError(
                f"{self._file} cannot index: a component drops meta['source'], which names the file of a passage"
            )
        return WrittenPassages(passages, result.get(WRITER, {}).get("documents_written", len(passages)))

    def _load(self) -> "Pipeline":
        pipeline = build_pipeline(self._data, name=str(self._file))
        self.target.connect(pipeline, writer=WRITER)
        try:
            pipeline.warm_up()
        except RerankError:
            raise
        except Exception as error:
            reason = reason_of(error, named=True)
            raise PipelineConfigError(f"a component of {self._file} cannot be loaded ({reason})") from error
        return pipeline

    def _explained(self, error: PipelineRuntimeError) -> RerankError:
        """Return the RerankError that caused a failure of the pipeline, or an error that names the failed component."""
        cause = error.__cause__
        if isinstance(cause, RerankError):
            return cause
        reason = reason_of(cause, named=True) if cause else reason_of(error)
        name = error.component_name
        if name in self._upstream(PASSAGES):
            return InputFileError(f"cannot be converted ({reason})")
        return PipelineConfigError(f"the component {name!r} of {self._file} failed ({reason})")

    def _upstream(self, name: str) -> set[str]:
        """Return the components whose output reaches a component."""
        pairs = [
            (str(connection["sender"]).split(".")[0], str(connection["receiver"]).split(".")[0])
            for connection in self._data.get("connections") or []
        ]
        reached, new = set[str](), {name}
        while new:
            new = {sender for sender, receiver in pairs if receiver in new} - reached
            reached |= new
        return reached

    def _store_of_writer(self) -> Any:
        components = self._data["components"]
        missing = [name for name in (ROUTER, PASSAGES, WRITER) if name not in components]
        if missing:
            raise PipelineConfigError(
                f"{self._file} cannot index: it has no component named {' or '.join(missing)}; start from "
                "pipelines/indexing.yaml"
            )
        return _store_of_writer(self._data)


def is_for_another_store(source: str | Path) -> bool:
    """
    Return whether an indexing pipeline writes into another document store than an index of ours.

    :param source: Name or path of the pipeline.
    :raises PipelineConfigError: If it cannot be read.
    """
    store = _store_of_writer(read_pipeline(source))
    return isinstance(store, dict) and store.get("type") != STORE_TYPE


def _store_of_writer(data: dict[str, Any]) -> Any:
    writer = data["components"].get(WRITER)
    parameters = writer.get("init_parameters") if isinstance(writer, dict) else None
    return parameters.get("document_store") if isinstance(parameters, dict) else None
