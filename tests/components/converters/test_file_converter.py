"""Every type of file: titles, sections, pages, code and tables; broken and hostile files are one-line errors (U4, U5)."""

import json
import subprocess
import sys

import pytest
from haystack.core.serialization import component_from_dict, component_to_dict
from haystack.dataclasses import ByteStream
from sample_files import HTML, MAIL, MARKDOWN, NOTEBOOK, RST, archive, docx, epub, pptx, replaced, write_one_of_each, xlsx

from rerank_plugin.components.converters.file_converter import FileToDocument
from rerank_plugin.components.converters.types import FILE_TYPES
from rerank_plugin.errors import InputFileError, InvalidValueError

W = b'<?xml version="1.0"?><w:document xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main"><w:body>'
S = b'<?xml version="1.0"?><worksheet xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"><sheetData>'
LAUGHS = (
    b'<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a0 "aaaaaaaaaaaaaaaaaaaa">'
    + b"".join(b'<!ENTITY a%d "%s">' % (k, (b"&a%d;" % (k - 1)) * 10) for k in range(1, 10))
    + b"]>"
)


def convert(name, data):
    data = data.encode() if isinstance(data, str) else data
    return FileToDocument().run([ByteStream(data, meta={"source": name})])["documents"]


def outcome(name, data):
    """The error's message and no Documents, or no message and the Documents."""
    try:
        return "", convert(name, data)
    except InputFileError as error:
        return str(error), []


def shown(documents):
    """Section and page, and the text, of each Document."""
    return [(d.meta.get("section", d.meta.get("page")), d.content) for d in documents]


def test_markdown_keeps_headings_code_and_tables():
    documents = convert("a.md", MARKDOWN.replace("---\ntitle: Front\n---\n", ""))
    assert {d.meta["title"] for d in documents} == {"The guide"}
    assert shown(documents) == [
        (None, "The guide\n\nIntro with bold, code and a link."),
        ("Install", "Install\n\n- one\n- two"),
        ("Install > From source", "From source\n\n| a | b |\n|---|---|\n| 1 | 2 |\n\n```sh\nmake\n\nmake install\n```"),
        ("Empty", "Empty"),
        ("Next", "Next\n\na picture"),
    ]


def test_the_title_of_front_matter_comes_first_and_the_rest_is_no_text():
    documents = convert("a.md", MARKDOWN)
    assert {d.meta["title"] for d in documents} == {"Front"}
    assert documents[2].meta["section"] == "The guide > Install > From source"
    assert "title:" not in documents[0].content
    assert "a: [" in convert("a.md", "---\na: [\n---\n\ntext")[0].content


def test_html_keeps_headings_code_and_tables_without_navigation():
    documents = convert("a.html", HTML)
    assert {d.meta["title"] for d in documents} == {"The page"}
    assert shown(documents) == [
        (None, "The page\n\nMoon text."),
        ("Code", "Code\n\n```python\nx = 1\n\ny = 2\n```\n\n| a | b |\n| --- | --- |\n| 1 | 2 |"),
    ]


@pytest.mark.parametrize("text", ["<div>" * 1500 + "inside", "<table>" * 300 + "<tr><td>inside", "<p>inside" + "<b>" * 1500])
def test_deep_html_loses_no_text(text):
    assert "inside" in convert("a.html", text)[0].content


def test_rst_reads_directives_and_roles_that_only_sphinx_knows():
    documents = convert("a.rst", RST)
    assert {d.meta["title"] for d in documents} == {"The manual"}
    assert shown(documents) == [
        (None, "The manual\n\nIntro text with a link and code."),
        ("Install", "Install\n\n```sh\npip install rerank\n```\n\nMind the gap.\n\nsearch(query)\n\nSearch for the query."),
        ("Install > Options", "Options\n\n| Name | Value |\n| --- | --- |\n| port | 8080 |\n\n- one\n- two"),
    ]


def test_rst_that_docutils_would_be_too_slow_for_is_kept_as_written_and_reported(caplog):
    (document,) = convert("a.rst", "Title\n=====\n\n" + "`x " * 3_000)
    assert document.content == "Title\n\n" + "`x " * 2_999 + "`x"
    (record,) = caplog.records
    assert (record.levelname, record.getMessage().partition(",")[0]) == ("WARNING", "a.rst: 1 paragraph is too long")


def test_rst_is_recognised_by_the_name_that_sphinx_gives_its_sources():
    (document,) = convert("intro.RST.txt", "Section\n-------\n\n*Text*.\n")
    assert (document.meta["title"], document.content) == ("Section", "Section\n\nText.")
    assert convert("intro.rst.txt", "Text.")[0].meta["title"] == "intro"
    assert convert("v1.2.txt", "*Text*.")[0].meta["title"] == "v1.2"


def test_rst_reads_no_other_file(tmp_path):
    (tmp_path / "other.txt").write_text("hidden words")
    text = f"Text.\n\n.. include:: {tmp_path}/other.txt\n\n.. csv-table::\n   :file: {tmp_path}/other.txt\n"
    assert [document.content for document in convert("a.rst", text)] == ["Text."]


def test_rst_leaves_docutils_as_it_was():
    from docutils.parsers.rst import directives, roles

    before = dict(directives._directives), dict(roles._roles)
    convert("a.rst", ".. unknown-thing:: x\n\n:unknown-role:`y`\n")
    assert (directives._directives, roles._roles) == before


@pytest.mark.parametrize(
    "text", ["city;population\nParis;21\n", "city,population\nParis,21\n", "city\tpopulation\nParis\t21\n"]
)
def test_csv_is_a_table(text):
    assert shown(convert("a.csv", text)) == [(None, "| city | population |\n| --- | --- |\n| Paris | 21 |")]


def test_a_notebook_has_text_code_and_output():
    documents = convert("a.ipynb", json.dumps(NOTEBOOK))
    assert shown(documents) == [
        (None, "Analysis\n\nLook at the data.\n\n```python\nprint(1)\n```\n\n```\n1\n```"),
        ("Result", "Result\n\nThe mean is five."),
    ]
    assert documents[0].meta["title"] == "Analysis"


def test_a_message_has_subject_sender_and_text():
    (document,) = convert("a.eml", MAIL)
    assert document.meta["title"] == "Café meeting"
    assert document.content.startswith("From: Ann <ann@example.org>\nTo: bob@example.org\nDate: ")
    assert document.content.endswith("Let us meet at the café.")


def test_an_html_message_is_read_and_its_attachments_are_named():
    boundary = (
        b'Content-Type: multipart/mixed; boundary="x"\n\n--x\nContent-Type: text/html\n\n<p>The <b>text</b></p>\n--x\n'
    )
    part = b'Content-Type: application/pdf\nContent-Disposition: attachment; filename="plan.pdf"\n\nx\n--x--\n'
    (document,) = convert("a.eml", b"From: a@b.c\nSubject: S\n" + boundary + part)
    assert document.content == "From: a@b.c\n\nThe text\n\nAttachments: plan.pdf"


def test_a_book_is_read_in_the_order_of_its_spine():
    documents = convert("a.epub", epub())
    assert {d.meta["title"] for d in documents} == {"The Whale"}
    assert shown(documents) == [("Loomings", "Loomings\n\nCall me Ishmael."), ("The Bag", "The Bag\n\nA shirt or two.")]


@pytest.mark.slow
def test_a_word_document_keeps_headings_lists_and_tables():
    documents = convert("a.docx", docx())
    assert {d.meta["title"] for d in documents} == {"Handbook"}
    table = "| Name | Value |\n| --- | --- |\n| port | 8080 |"
    assert shown(documents) == [
        (None, "Handbook\n\nWelcome."),
        ("Install > From source", f"From source\n\nRun make install.\n\n- first item\n- second item\n\n{table}"),
    ]


@pytest.mark.slow
def test_a_slide_is_a_section_and_its_number_the_page():
    documents = convert("a.pptx", pptx())
    assert [(d.meta["section"], d.meta["page"], d.content) for d in documents] == [
        ("Results", 1, "Results\n\nRevenue grew\n\nMention the office"),
        ("Outlook", 2, "Outlook\n\nMore of it"),
    ]


@pytest.mark.slow
def test_a_sheet_is_a_section_with_one_table():
    assert shown(convert("book.xlsx", xlsx())) == [
        ("Prices", "Prices\n\n| Item | Price |\n| --- | --- |\n| Tea | 3 |"),
        ("Stock", "Stock\n\n| Coffee |\n| --- |\n| 12 |"),
    ]


def test_a_text_with_form_feeds_has_pages():
    documents = convert("rfc.txt", "one\n\ntwo\fthree\n")
    assert [(d.content, d.meta["page"]) for d in documents] == [("one\n\ntwo\n\n\fthree", 1)]
    assert "page" not in convert("a.txt", "one")[0].meta


def test_paths_are_read_too(tmp_path):
    (tmp_path / "notes.md").write_text("## Part\n\ntext")
    (document,) = FileToDocument(types=["markdown"]).run([tmp_path / "notes.md"], meta={"lang": "en"})["documents"]
    assert (document.meta["title"], document.meta["section"], document.meta["lang"]) == ("notes", "Part", "en")


@pytest.mark.slow
@pytest.mark.parametrize("kind", FILE_TYPES, ids=lambda kind: kind.name)
def test_u5_a_broken_file_is_an_error_in_one_line(kind, tmp_path):
    write_one_of_each(tmp_path)
    path = tmp_path / f"a{kind.suffixes[0]}"
    data = path.read_bytes()
    for broken in (
        data[: len(data) // 2],
        b"\0" + data[10:],
        data[:60] + bytes(200) + data[60:],
        b"PK\x03\x04",
        b"\xff" * 50,
        b"",
    ):
        message, documents = outcome(path.name, broken)
        assert not message or message.startswith(path.name)
        assert "\n" not in message
        assert all(document.content.strip() for document in documents)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "data", "reason"),
    [
        (
            "a.docx",
            lambda: replaced(docx(), "word/document.xml", W + b"<w:p/>" * 50_000_000),
            "unpacks to more than 256 MiB",
        ),
        ("a.docx", lambda: replaced(docx(), "word/document.xml", LAUGHS + W[21:] + b"<w:p>&a9;</w:p>"), "is damaged"),
        ("a.xlsx", lambda: replaced(xlsx(), "xl/worksheets/sheet1.xml", LAUGHS + S[21:] + b"<row>&a9;</row>"), "is damaged"),
        ("a.docx", lambda: b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600), "is encrypted, or in a format of old Office"),
        ("a.docx", lambda: archive({"a": "b"}), "is damaged, or not a Word document"),
        ("a.epub", lambda: archive({"META-INF/rights.xml": "", "META-INF/container.xml": ""}), "is protected"),
        ("a.ipynb", lambda: b'{"cells":' + b"[" * 100_000, "is not a Jupyter notebook"),
        (
            "a.eml",
            lambda: b"From: a\n" + b"Content-Type: multipart/mixed; boundary=x\n\n--x\n" * 600,
            "parts that have parts",
        ),
        ("a.eml", lambda: b"Hello there", "is not an e-mail message"),
        ("a.rst", lambda: b"".join(b" " * k + b"a\n\n" for k in range(400)), "is nested too deeply"),
        ("a.md", lambda: b">" * 200 + b"text", "is nested too deeply"),
        ("a.png", lambda: b"", "has a type that is not converted"),
    ],
)
def test_u5_a_hostile_file_is_refused_at_once(name, data, reason):
    with pytest.raises(InputFileError, match=reason):
        convert(name, data())


@pytest.mark.slow
def test_u5_an_archive_that_lies_about_its_size_is_refused():
    data = bytearray(replaced(docx(), "word/document.xml", W + b"<w:p/>" * 2_000_000))
    place = data.rfind(b"word/document.xml") - 46  # its entry in the directory at the end
    data[place + 24 : place + 28] = (1000).to_bytes(4, "little")
    with pytest.raises(InputFileError, match="is damaged"):
        convert("a.docx", bytes(data))


@pytest.mark.slow
def test_u5_a_sheet_that_claims_a_billion_cells_costs_nothing():
    row = b'<row r="1048576"><c r="XFD1048576"><v>7</v></c></row></sheetData></worksheet>'
    documents = convert("a.xlsx", replaced(xlsx(), "xl/worksheets/sheet1.xml", S + row))
    assert documents[0].content == "Prices\n\n| 7 |\n| --- |"


@pytest.mark.parametrize("types", [[], "pdf", ["pdf", "word"], [5]])
def test_types_that_are_unknown_are_refused(types):
    with pytest.raises(InvalidValueError, match="type"):
        FileToDocument(types=types)


def test_the_component_survives_serialization():
    data = component_to_dict(FileToDocument(types=["pdf"]), "converter")
    assert component_from_dict(FileToDocument, data, "converter").types == ["pdf"]


@pytest.mark.slow
def test_u5_what_other_libraries_say_goes_to_the_log(recwarn, capfd, caplog):
    styles = b'<styleSheet xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"/>'
    with caplog.at_level("INFO"):
        convert("a.xlsx", replaced(xlsx(), "xl/styles.xml", styles))
    assert (list(recwarn), capfd.readouterr().err) == ([], "")
    assert "a.xlsx: Workbook contains no stylesheet" in caplog.text


@pytest.mark.slow
def test_no_reader_is_imported_before_a_file_of_its_type_is():
    code = (
        "import sys; from rerank_plugin.components.converters.file_converter import FileToDocument; FileToDocument()\n"
        "print({'pypdfium2', 'docx', 'pptx', 'openpyxl', 'docutils'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
