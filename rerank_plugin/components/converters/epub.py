"""E-books in EPUB format: the text of their pages in reading order, under the headings."""

import posixpath
import zipfile
from typing import Any
from urllib.parse import unquote

from rerank_plugin.components.converters import html
from rerank_plugin.components.converters.blocks import Block, FileContent, one_line
from rerank_plugin.components.converters.zip_file import open_zip
from rerank_plugin.errors import InputFileError

_CONTAINER = "META-INF/container.xml"
_DAMAGED = "is damaged, or not an e-book: open it in the program that wrote it and save it again"
_PAGES = ("application/xhtml+xml", "text/html")


def read(data: bytes) -> FileContent:
    """
    Read an EPUB file.

    :param data: The file.
    :returns: The blocks of its pages in reading order.
    :raises InputFileError: If it is damaged, protected or too large.
    """
    with open_zip(data, "an e-book") as archive:
        if "META-INF/rights.xml" in archive.namelist():
            raise InputFileError("is protected (DRM): use a copy without protection")
        roots = _xml(archive, _CONTAINER).xpath("//*[local-name()='rootfile']/@full-path")
        if not roots:
            raise InputFileError(_DAMAGED)
        package = _xml(archive, roots[0])
        blocks: list[Block] = []
        for name in _spine(package, posixpath.dirname(roots[0])):
            blocks += html.read(_member(archive, name)).blocks
    titles = package.xpath("//*[local-name()='metadata']/*[local-name()='title']")
    return FileContent(blocks, one_line("".join(titles[0].itertext())) if titles else "")


def _spine(package: Any, folder: str) -> list[str]:
    """Return the names of the pages in reading order."""
    items = {
        item.get("id"): item.get("href")
        for item in package.xpath("//*[local-name()='manifest']/*[local-name()='item']")
        if item.get("media-type") in _PAGES and item.get("href")
    }
    order = [item.get("idref") for item in package.xpath("//*[local-name()='spine']/*[local-name()='itemref']")]
    # A page that is named many times is read once.
    return [
        posixpath.normpath(posixpath.join(folder, unquote(items[name]))) for name in dict.fromkeys(order) if name in items
    ]


def _member(archive: zipfile.ZipFile, name: str) -> bytes:
    try:
        return archive.read(name)
    except KeyError:
        raise InputFileError(_DAMAGED) from None


def _xml(archive: zipfile.ZipFile, name: str) -> Any:
    from lxml import etree

    try:
        return etree.fromstring(_member(archive, name), etree.XMLParser(resolve_entities=False, no_network=True))
    except etree.LxmlError:
        raise InputFileError(_DAMAGED) from None
