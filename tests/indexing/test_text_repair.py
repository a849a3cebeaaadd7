import json

import pytest

from rerank_plugin.indexing import index_paths
from rerank_plugin.indexing.text_repair import TextRepair
from rerank_plugin.store import HybridDocumentStore

BROKEN = "He said â€œyesâ€\x9d â€¦ in a cafÃ©."
WHOLE = "He said “yes” … in a café."


@pytest.mark.parametrize(("broken", "whole"), [(BROKEN, WHOLE), ("Ð\x9fÑ\x80Ð¸Ð²ÐµÑ\x82", "Привет"), ("naÃ¯ve", "naïve")])
def test_text_that_was_decoded_wrongly_is_whole_again(broken, whole):
    repair = TextRepair()
    assert repair(broken) == whole
    assert repair.changed == 1


@pytest.mark.parametrize(
    "text", [WHOLE, "Привет, мир!", "ﬁne &amp; dandy\r\n\x1b[1m", "Ａｂ “curly” 'straight'", "e\u0301", ""]
)
def test_whole_text_stays_to_the_letter(text):
    repair = TextRepair()
    assert repair(text) == text
    assert repair.changed == 0


def test_indexing_repairs_where_it_is_asked_to_and_says_how_much(tmp_path):
    corpus, note, index = tmp_path / "corpus.jsonl", tmp_path / "note.md", tmp_path / "index"
    corpus.write_text(json.dumps({"_id": "1", "title": "CafÃ©", "text": BROKEN}) + "\n" + '{"_id": "2", "text": "fine"}')
    note.write_text(f"# Note\n\n{BROKEN}", encoding="utf-8")
    assert index_paths([corpus, note], index, pipeline="indexing_keyword").repaired == 0
    report = index_paths([corpus, note], index, pipeline="indexing_keyword", repair=True)
    assert (report.files, report.repaired) == (2, 3)
    store = HybridDocumentStore(index)
    contents = {document.content.strip() for document in store.filter_documents()}
    assert contents == {WHOLE, "fine", f"# Note\n\n{WHOLE}"} or contents == {WHOLE, "fine", f"Note\n\n{WHOLE}"}
    assert {document.meta["title"] for document in store.filter_documents()} >= {"Café", "Note"}
    assert index_paths([corpus, note], index, pipeline="indexing_keyword", repair=True).unchanged == 2


def test_html_in_another_encoding_is_left_as_it_is(tmp_path):
    page = tmp_path / "page.html"
    page.write_bytes(
        '<html><head><meta charset="windows-1251"></head><body><p>Привет, мир</p></body></html>'.encode("cp1251")
    )
    report = index_paths([page], tmp_path / "index", pipeline="indexing_keyword", repair=True)
    assert (report.repaired, report.failed) == (0, [])
