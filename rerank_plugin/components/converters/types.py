"""The types of files that can be read, how they are recognised, and what each needs."""

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

OFFICE_EXTRA = "office"


@dataclass(frozen=True)
class FileType:
    """
    A type of file.

    :param name: Its name, as in the parameter `types` of `FileToDocument`, and of the module that reads it.
    :param mime_type: Its MIME type.
    :param suffixes: The extensions of its files, in lower case.
    :param is_text: Whether it is text in some encoding, rather than bytes that say themselves how they are encoded.
    :param needs: The module of the extra `office` that reads it; empty if no extra is needed.
    """

    name: str
    mime_type: str
    suffixes: tuple[str, ...]
    is_text: bool = False
    needs: str = ""

    @property
    def is_readable(self) -> bool:
        """Whether the module that reads it is installed."""
        return not self.needs or find_spec(self.needs) is not None


FILE_TYPES = (
    FileType("text", "text/plain", (".txt", ".text"), is_text=True),
    FileType("markdown", "text/markdown", (".md", ".markdown"), is_text=True),
    FileType("rst", "text/x-rst", (".rst", ".rst.txt"), is_text=True),  # Sphinx publishes its sources under the second
    FileType("html", "text/html", (".html", ".htm", ".xhtml"), is_text=True),
    FileType("csv", "text/csv", (".csv", ".tsv"), is_text=True),
    FileType("notebook", "application/x-ipynb+json", (".ipynb",), is_text=True),
    FileType("email", "message/rfc822", (".eml",)),
    FileType("pdf", "application/pdf", (".pdf",)),
    FileType("epub", "application/epub+zip", (".epub",)),
    FileType("docx", "application/vnd.openxmlformats-officedocument.wordprocessingml.document", (".docx",), needs="docx"),
    FileType("pptx", "application/vnd.openxmlformats-officedocument.presentationml.presentation", (".pptx",), needs="pptx"),
    FileType(
        "xlsx", "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet", (".xlsx", ".xlsm"), needs="openpyxl"
    ),
)
BY_NAME = {kind.name: kind for kind in FILE_TYPES}
BY_SUFFIX = {suffix: kind for kind in FILE_TYPES for suffix in kind.suffixes}
BY_MIME_TYPE = {kind.mime_type: kind for kind in FILE_TYPES}


def file_type(path: Path) -> FileType | None:
    """
    Return the type of a file by its extension, `None` if files of this type cannot be read.

    :param path: The file; it need not exist.
    """
    return BY_SUFFIX.get("".join(path.suffixes[-2:]).lower()) or BY_SUFFIX.get(path.suffix.lower())


def stem(path: Path) -> str:
    """
    Return the name of a file without the extension of its type.

    :param path: The file; it need not exist.
    """
    kind = file_type(path)
    suffixes = sorted(kind.suffixes if kind else (), key=len, reverse=True)
    suffix = next((suffix for suffix in suffixes if path.name.lower().endswith(suffix)), path.suffix)
    return path.name[: -len(suffix)] if suffix else path.name
