"""PDF files: spaces, hyphenation, pages, outline; nothing on the screen (U4)."""

import threading

import pytest
from haystack.dataclasses import ByteStream
from sample_files import pdf

from rerank_plugin.components.converters.file_converter import FileToDocument
from rerank_plugin.components.passage_splitter import PassageSplitter
from rerank_plugin.errors import InputFileError


def convert(data):
    return FileToDocument().run([ByteStream(data, mime_type="application/pdf", meta={"source": "a.pdf"})])["documents"]


def drawn(stream: str) -> bytes:
    """A PDF whose page draws a text by operators of its own."""
    data = pdf(["x"])
    old = b"BT /F1 12 Tf 72 720 Td (x) Tj ET"
    new = f"BT /F1 12 Tf 72 720 Td {stream} ET".encode("latin-1")
    return data.replace(b"<< /Length %d >>\nstream\n%s" % (len(old), old), b"<< /Length %d >>\nstream\n%s" % (len(new), new))


def test_u4_a_gap_is_a_space_although_no_space_stands_there():
    (document,) = convert(drawn("[(unset destro) 10 (y) -270 (arra) 15 (ys)] TJ"))
    assert document.content == "unset destroy arrays"


def test_u4_kerning_is_no_space():
    (document,) = convert(drawn("[(A) 70 (V) 60 (A) -60 (nt garde)] TJ"))
    assert document.content == "AVAnt garde"


@pytest.mark.parametrize(
    ("text", "expected"),
    [("the pro-\ngramming language", "programming"), ("a 512-\nbyte block", "512-"), ("a well-known thing", "well-known")],
)
def test_u4_a_word_that_is_divided_at_the_end_of_a_line_is_whole(text, expected):
    (document,) = convert(pdf([text]))
    assert expected in document.content


def test_u4_every_passage_knows_its_page():
    pages = [f"Page number {n} begins here.\n" + "\n".join(f"Line {i} of it." for i in range(30)) for n in range(1, 8)]
    passages = PassageSplitter(split_length=60).run(convert(pdf(pages)))["documents"]
    assert {passage.meta["page"] for passage in passages} == set(range(1, 8))
    for passage in passages:
        if "Page number" in passage.content and passage.content.startswith("Page number"):
            assert passage.content.startswith(f"Page number {passage.meta['page']} ")
        assert "\f" not in passage.content


def test_u4_headings_of_the_outline_are_sections():
    outline = [("Install", 0), ("Use", 0), ("Somewhere else", 1)]
    documents = convert(
        pdf(["Preface.\n1 Install\nRun make.\n2 Use\nCall it.", "More."], title="The manual", outline=outline)
    )
    assert [(d.meta["title"], d.meta.get("section"), d.meta["page"], d.content) for d in documents] == [
        ("The manual", None, 1, "Preface."),
        ("The manual", "1 Install", 1, "1 Install\n\nRun make."),
        ("The manual", "2 Use", 1, "2 Use\n\nCall it."),
        ("The manual", "Somewhere else", 2, "Somewhere else\n\nMore."),
    ]


@pytest.mark.parametrize("title", ["", "untitled", "report.docx", "Microsoft Word - report.doc"])
def test_a_title_that_a_program_made_up_is_none(title):
    assert convert(pdf(["text"], title=title))[0].meta["title"] == "a"


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"%PDF-1.4\nnothing", "a.pdf is damaged, or not a PDF file"),
        (b"", "a.pdf is damaged, or not a PDF file"),
        (pdf([""]), "a.pdf has no text, only images: run OCR"),
        (pdf(["x"]).replace(b"/Root 1 0 R", b"/Root 1 0 R /Encrypt << /Filter /Standard /V 1 /R 2 /O (" + b"a" * 32
         + b") /U (" + b"b" * 32 + b") /P -4 >> /ID [(abc) (abc)]"), "a.pdf is encrypted: remove its password"),
    ],
)  # fmt: skip
def test_u4_what_cannot_be_read_is_an_error_in_one_line_and_nothing_on_the_screen(data, reason, capfd):
    with pytest.raises(InputFileError, match=reason):
        convert(data)
    assert capfd.readouterr() == ("", "")


def test_dots_of_a_table_of_contents_are_three():
    (document,) = convert(pdf(["Install . . . . . . . . . . . . . . 12\nUse.................13"]))
    assert document.content == "Install ... 12\nUse ... 13"


@pytest.mark.slow
def test_several_threads_may_read_at_once():
    data, results = pdf([f"Page {n}" for n in range(20)]), []
    threads = [threading.Thread(target=lambda: results.append(convert(data)[0].content)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 8
    assert len(set(results)) == 1
