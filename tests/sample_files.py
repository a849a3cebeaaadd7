"""Small real files of every type, written by the libraries that people use."""

import io
import json
import zipfile
from collections.abc import Iterable
from pathlib import Path

RST = """The manual
==========

Intro text with :ref:`a link <target>` and ``code``.

.. toctree::
   :maxdepth: 2

   a

Install
-------

.. code-block:: sh

   pip install rerank

.. note:: Mind the gap.

.. py:function:: search(query)
   :noindex:

   Search for the *query*.

Options
~~~~~~~

=====  =====
Name   Value
=====  =====
port   8080
=====  =====

- one
- two
"""
MARKDOWN = """---
title: Front
---
# The guide

Intro with **bold**, `code` and [a link](http://x).

## Install

- one
- two

### From source

| a | b |
|---|---|
| 1 | 2 |

```sh
make

make install
```

## Empty

## Next

![a picture](x.png)
"""
HTML = """<html><head><title>The page | Site</title></head><body><nav>Menu</nav><h1>The page</h1><p>Moon text.</p>
<h2>Code</h2><div class="highlight-python"><pre>x = 1

y = 2</pre></div><table><tr><th>a</th><th>b</th></tr><tr><td>1</td><td>2</td></tr></table></body></html>"""
NOTEBOOK = {
    "cells": [
        {"cell_type": "markdown", "source": ["# Analysis\n", "\n", "Look at the data."]},
        {"cell_type": "code", "source": ["print(1)"], "outputs": [{"output_type": "stream", "text": ["1\n"]}]},
        {"cell_type": "markdown", "source": "## Result\n\nThe mean is five."},
    ],
    "metadata": {"language_info": {"name": "python"}},
    "nbformat": 4,
    "nbformat_minor": 5,
}
MAIL = (
    "From: Ann <ann@example.org>\r\nTo: bob@example.org\r\nSubject: =?utf-8?q?Caf=C3=A9_meeting?=\r\n"
    "Date: Mon, 1 Jan 2024 10:00:00 +0000\r\nContent-Type: text/plain; charset=iso-8859-1\r\n\r\nLet us meet at the café.\r\n"
).encode("latin-1")
CONTAINER = (
    '<container xmlns="urn:oasis:names:tc:opendocument:xmlns:container"><rootfiles>'
    '<rootfile full-path="OEBPS/content.opf"/></rootfiles></container>'
)
PACKAGE = (
    '<package xmlns="http://www.idpf.org/2007/opf"><metadata xmlns:dc="http://purl.org/dc/elements/1.1/">'
    '<dc:title>The Whale</dc:title></metadata><manifest><item id="b" href="two.xhtml" media-type="application/xhtml+xml"/>'
    '<item id="a" href="one.xhtml" media-type="application/xhtml+xml"/></manifest>'
    '<spine><itemref idref="a"/><itemref idref="b"/></spine></package>'
)


def pdf(pages: Iterable[str], *, title: str = "", outline: Iterable[tuple[str, int]] = ()) -> bytes:
    """A PDF with a page for each text, whose lines are drawn one below the other, and an outline of (heading, page index)."""
    pages, outline = list(pages), list(outline)
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R /Outlines 4 0 R >>",
        b"",
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
    ]
    first_page = 6 + len(outline)
    items = b"".join(b" %d 0 R" % number for number in (6,) if outline)
    objects.append(b"<< /Type /Outlines%s >>" % (b" /First 6 0 R /Last %d 0 R" % (5 + len(outline)) if items else b""))
    objects.append(b"<< /Title (%s) >>" % title.encode("latin-1"))
    for number, (heading, page) in enumerate(outline):
        following = b" /Next %d 0 R" % (7 + number) if number + 1 < len(outline) else b""
        objects.append(
            b"<< /Title (%s) /Parent 4 0 R /Dest [%d 0 R /Fit]%s >>" % (heading.encode(), first_page + 2 * page, following)
        )
    for number, text in enumerate(pages):
        lines = b" 0 -14 Td ".join(b"(%s) Tj" % line.encode("latin-1") for line in text.split("\n"))
        stream = b"BT /F1 12 Tf 72 720 Td %s ET" % lines
        objects.append(
            b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Contents %d 0 R /Resources << /Font << /F1 3 0 R >> >> >>"
            % (first_page + 2 * number + 1)
        )
        objects.append(b"<< /Length %d >>\nstream\n%s\nendstream" % (len(stream), stream))
    kids = b" ".join(b"%d 0 R" % (first_page + 2 * number) for number in range(len(pages)))
    objects[1] = b"<< /Type /Pages /Kids [%s] /Count %d >>" % (kids, len(pages))
    data, offsets = b"%PDF-1.4\n", []
    for number, body in enumerate(objects, start=1):
        offsets.append(len(data))
        data += b"%d 0 obj\n%s\nendobj\n" % (number, body)
    table = b"".join(b"%010d 00000 n \n" % offset for offset in offsets)
    size = len(objects) + 1
    return (
        data
        + b"xref\n0 %d\n0000000000 65535 f \n%strailer\n<< /Size %d /Root 1 0 R /Info 5 0 R >>\nstartxref\n%d\n%%%%EOF"
        % (
            size,
            table,
            size,
            len(data),
        )
    )


def archive(members: dict[str, bytes | str]) -> bytes:
    """A zip archive."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as file:
        for name, data in members.items():
            file.writestr(name, data)
    return out.getvalue()


def replaced(data: bytes, name: str, content: bytes) -> bytes:
    """A zip archive with another content of one member."""
    with zipfile.ZipFile(io.BytesIO(data)) as file:
        return archive({member: content if member == name else file.read(member) for member in file.namelist()})


def epub() -> bytes:
    """An e-book of two chapters, listed in its manifest in another order."""
    chapters = {"one": "<h1>Loomings</h1><p>Call me Ishmael.</p>", "two": "<h1>The Bag</h1><p>A shirt or two.</p>"}
    page = '<?xml version="1.0" encoding="utf-8"?><html xmlns="http://www.w3.org/1999/xhtml"><body>{}</body></html>'
    texts = {f"OEBPS/{name}.xhtml": page.format(text) for name, text in chapters.items()}
    return archive({"META-INF/container.xml": CONTAINER, "OEBPS/content.opf": PACKAGE, **texts})


def docx() -> bytes:
    """A Word document with headings, a list and a table."""
    import docx as library

    document = library.Document()
    document.add_heading("Handbook", 0)
    document.add_paragraph("Welcome.")
    document.add_heading("Install", 1)
    document.add_heading("From source", 2)
    document.add_paragraph("Run make install.")
    document.add_paragraph("first item", style="List Bullet")
    document.add_paragraph("second item", style="List Bullet")
    table = document.add_table(2, 2)
    for place, text in enumerate(["Name", "Value", "port", "8080"]):
        table.cell(place // 2, place % 2).text = text
    out = io.BytesIO()
    document.save(out)
    return out.getvalue()


def pptx() -> bytes:
    """Two slides, the first with notes."""
    import pptx as library

    presentation = library.Presentation()
    for title, text in (("Results", "Revenue grew"), ("Outlook", "More of it")):
        slide = presentation.slides.add_slide(presentation.slide_layouts[1])
        slide.shapes.title.text, slide.placeholders[1].text = title, text
    presentation.slides[0].notes_slide.notes_text_frame.text = "Mention the office"
    out = io.BytesIO()
    presentation.save(out)
    return out.getvalue()


def xlsx() -> bytes:
    """Two sheets."""
    import openpyxl

    workbook = openpyxl.Workbook()
    workbook.active.title = "Prices"
    for row in (["Item", "Price"], ["Tea", 3.0]):
        workbook.active.append(row)
    stock = workbook.create_sheet("Stock")
    stock["B5"], stock["B9"] = "Coffee", 12
    out = io.BytesIO()
    workbook.save(out)
    return out.getvalue()


def write_one_of_each(folder: Path) -> None:
    """One file of each type."""
    folder.mkdir(parents=True, exist_ok=True)
    files = {
        "a.txt": b"Plain text.",
        "a.md": MARKDOWN.encode(),
        "a.rst": RST.encode(),
        "a.html": HTML.encode(),
        "a.csv": b"city;population\nParis;2100000\n",
        "a.ipynb": json.dumps(NOTEBOOK).encode(),
        "a.eml": MAIL,
        "a.pdf": pdf(["The river runs to the sea."]),
        "a.epub": epub(),
        "a.docx": docx(),
        "a.pptx": pptx(),
        "a.xlsx": xlsx(),
    }
    for name, data in files.items():
        (folder / name).write_bytes(data)
