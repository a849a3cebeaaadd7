"""FileToDocument: convert files of many types to Documents that know their title, section and page."""

import logging
import warnings
from collections.abc import Iterable
from importlib import import_module
from pathlib import Path
from typing import Any

from haystack import Document, component, default_to_dict
from haystack.components.converters.utils import normalize_metadata
from haystack.dataclasses import ByteStream

from rerank_plugin.checks import shown
from rerank_plugin.components.converters.blocks import FileContent, Reader, to_documents
from rerank_plugin.components.converters.encoding import decode
from rerank_plugin.components.converters.types import BY_MIME_TYPE, BY_NAME, OFFICE_EXTRA, FileType, file_type, stem
from rerank_plugin.errors import InputFileError, InvalidValueError, MissingDependencyError, reason_of

logger = logging.getLogger(__name__)


@component
class FileToDocument:
    """
    Converts files to Documents, one for each section of a file.

    The type of a file is that of its stream's `mime_type`, or else that of its extension. Headings, code (in fences),
    tables (in Markdown) and paragraphs are kept apart by blank lines, as `PassageSplitter` expects them.

    The meta has, beside that of the source, `title` (by the file's own structure, or else the one in the meta of the source,
    or the file's name), `section` (the headings above the text, as in "Install > From source") and `page` (the page or slide
    on which the Document begins; form feeds in it count on). What a file does not have is left out.

    :param types: The types to convert, such as `["pdf", "docx"]`; `None`: all. See `types.FILE_TYPES`.
    :raises InvalidValueError: If `types` names a type that is unknown.
    """

    def __init__(self, types: list[str] | None = None) -> None:
        if types is not None and (not isinstance(types, list) or not types):
            raise InvalidValueError(f"types must be a list of types of files, such as ['pdf', 'html'], got {shown(types)}")
        unknown = [name for name in types or () if name not in BY_NAME]
        if unknown:
            raise InvalidValueError(f"unknown type of file {shown(unknown[0])}: choose of {list(BY_NAME)}")
        self.types = types

    def to_dict(self) -> dict[str, Any]:
        """Return the component as a dictionary, for a pipeline's YAML."""
        return default_to_dict(self, types=self.types)

    @component.output_types(documents=list[Document])
    def run(
        self, sources: list[str | Path | ByteStream], meta: dict[str, Any] | list[dict[str, Any]] | None = None
    ) -> dict[str, list[Document]]:
        """
        Convert files.

        :param sources: Paths, or streams with `mime_type`.
        :param meta: Added to the meta of all Documents, or one dictionary for each source.
        :returns: `documents`: the sections of the files, in order.
        :raises InputFileError: If a file cannot be read or converted; it is named.
        :raises MissingDependencyError: If the extra that reads a file is not installed.
        """
        metas = normalize_metadata(meta, sources_count=len(sources))
        return {
            "documents": [
                document
                for source, extra in zip(sources, metas, strict=True)
                for document in self._converted(_stream(source), extra)
            ]
        }

    def _converted(self, stream: ByteStream, extra: dict[str, Any]) -> Iterable[Document]:
        meta = {**stream.meta, **extra}
        name = str(meta.get("source") or meta.get("file_path") or "a stream without a name")
        kind = BY_MIME_TYPE.get(stream.mime_type or "") or file_type(Path(name))
        types = list(BY_NAME) if self.types is None else self.types
        if kind is None or kind.name not in types:
            raise InputFileError(f"{name} has a type that is not converted: pass one of {', '.join(types)}")
        try:
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                content = _content(kind, stream.data)
        except InputFileError as error:
            raise InputFileError(f"{name} {error}") from error
        except ImportError as error:
            raise MissingDependencyError(
                f"{name} needs {error.name}: pip install 'rerank-plugin[{OFFICE_EXTRA}]'"
            ) from error
        except RecursionError:
            raise InputFileError(f"{name} is nested too deeply: check the file") from None
        except Exception as error:
            reason = reason_of(error, named=True)
            raise InputFileError(f"{name} cannot be converted ({reason}): check the file, or leave it out") from error
        for warning in caught:  # of other libraries; one file may give hundreds
            logger.info("%s: %s", name, warning.message)
        for remark in content.remarks:
            logger.warning("%s: %s", name, remark)
        return list(to_documents(content, {"title": stem(Path(name)), **meta}))


def _content(kind: FileType, data: bytes) -> FileContent:
    module = import_module(f"rerank_plugin.components.converters.{kind.name}")
    read: Reader = module.read
    if kind.is_text:
        data = decode(data, is_markup=kind.name == "html").text.encode(errors="replace")
    return read(data)


def _stream(source: str | Path | ByteStream) -> ByteStream:
    if isinstance(source, ByteStream):
        return source
    path = Path(source)
    try:
        return ByteStream(data=path.read_bytes(), meta={"file_path": str(path)})
    except OSError as error:
        raise InputFileError(f"{path} cannot be read: {error.strerror}") from None
