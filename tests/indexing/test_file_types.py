"""Which files are indexed, and what is said about the others (U5)."""

import json
import sys

import pytest
from sample_files import write_one_of_each

from rerank_plugin import HybridDocumentStore
from rerank_plugin.errors import InputFileError
from rerank_plugin.indexing import index_paths

KEYWORD = "indexing_keyword"
OFFICE = ("docx", "pptx", "openpyxl")


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "files"
    write_one_of_each(folder)
    return folder


def without_office(monkeypatch):
    """As if the extra were not installed."""
    for module in OFFICE:
        monkeypatch.setitem(sys.modules, module, None)


def passages(index):
    store = HybridDocumentStore(index)
    try:
        return store.filter_documents()
    finally:
        store.close()


@pytest.mark.slow
def test_u5_every_passage_knows_source_and_page_or_section(folder, tmp_path):
    report = index_paths([folder], tmp_path / "index", pipeline=KEYWORD)
    assert (report.files, report.failed, report.skipped_types, report.missing_extra) == (12, [], {}, {})
    found = passages(tmp_path / "index")
    assert {document.meta["source"] for document in found} == {str(path) for path in folder.iterdir()}
    without_parts = {"a.txt", "a.csv", "a.eml"}
    for name in {path.name for path in folder.iterdir()} - without_parts:
        of_file = [document.meta for document in found if document.meta["source"].endswith(name)]
        assert any(meta.get("section") or meta.get("page") for meta in of_file), name
    assert index_paths([folder], tmp_path / "index", pipeline=KEYWORD).unchanged == 12


@pytest.mark.slow
def test_u5_broken_files_of_all_types_stop_no_other(folder, tmp_path):
    for path in list(folder.iterdir()):
        (folder / f"broken{path.suffix}").write_bytes(b"\0\xff" + path.read_bytes()[:40])
    (folder / "empty.docx").write_bytes(b"")
    report = index_paths([folder], tmp_path / "index", pipeline=KEYWORD)
    assert report.files == 12
    assert (len(report.failed), report.skipped) == (12, [f"{folder / 'empty.docx'} is empty"])
    assert all(text.count(str(folder)) == 1 and "\n" not in text for text in report.failed)


def test_u5_what_was_skipped_is_counted_by_type(rerank, tmp_path):
    folder = tmp_path / "files"
    folder.mkdir()
    for name in ("a.txt", "b.png", "c.PNG", "d.zip", "Makefile"):
        (folder / name).write_text("text")
    done = rerank("index", folder, "--index", tmp_path / "index", "--pipeline", KEYWORD)
    assert done.returncode == 0
    assert done.stderr.strip().startswith("skipped: 2 .png, 1 ")
    assert done.stderr.endswith(" (types that cannot be indexed)\n")
    assert {"1 without an extension", "1 .zip"} <= set(done.stderr.partition(": ")[2].partition(" (")[0].split(", "))


@pytest.mark.parametrize("names", [[], ["a.png", "b.zip"]])
def test_u5_nothing_to_index_is_a_failure(rerank, tmp_path, names):
    (tmp_path / "files").mkdir()
    for name in names:
        (tmp_path / "files" / name).write_text("x")
    done = rerank("index", tmp_path / "files", "--index", tmp_path / "index", "--pipeline", KEYWORD)
    assert done.returncode == 1
    assert f"error: nothing to index in {tmp_path / 'files'}: no file has a type" in done.stderr


def test_u5_without_the_extra_its_files_are_named(rerank, folder, tmp_path, monkeypatch):
    without_office(monkeypatch)
    done = rerank("index", folder, "--index", tmp_path / "index", "--pipeline", KEYWORD, "--json")
    assert done.returncode == 0
    assert json.loads(done.stdout)["missing_extra"] == {".docx": 1, ".pptx": 1, ".xlsx": 1}
    assert "(pip install 'rerank-plugin[office]' reads them)" in done.stderr
    with pytest.raises(InputFileError, match=r"a\.docx needs the extra 'office': pip install 'rerank-plugin\[office\]'"):
        index_paths([folder / "a.docx"], tmp_path / "index", pipeline=KEYWORD)


@pytest.mark.slow
def test_u5_prune_keeps_files_that_only_lack_the_extra(folder, tmp_path, monkeypatch):
    index_paths([folder], tmp_path / "index", pipeline=KEYWORD)
    before = len(passages(tmp_path / "index"))
    without_office(monkeypatch)
    report = index_paths([folder], tmp_path / "index", pipeline=KEYWORD, prune=True)
    assert (report.pruned, len(passages(tmp_path / "index"))) == (0, before)


def test_u5_an_encoding_that_was_assumed_is_said(rerank, tmp_path):
    folder = tmp_path / "files"
    folder.mkdir()
    (folder / "old.txt").write_bytes("Съешь ещё этих мягких французских булок".encode("koi8-r"))
    (folder / "wide.txt").write_bytes("Sixteen bits".encode("utf-16"))
    done = rerank("index", folder, "--index", tmp_path / "index", "--pipeline", KEYWORD)
    assert done.returncode == 0
    assert done.stderr.strip() == f"assumed: koi8_r as the encoding of {folder / 'old.txt'}"
    assert {document.content for document in passages(tmp_path / "index")} == {
        "Съешь ещё этих мягких французских булок",
        "Sixteen bits",
    }


@pytest.mark.slow
def test_u5_many_files_of_one_encoding_are_counted_and_listed_in_json(rerank, tmp_path):
    folder = tmp_path / "files"
    folder.mkdir()
    for number in range(7):
        (folder / f"{number}.txt").write_bytes(f"Das Café Nummer {number}".encode("latin-1"))
    done = rerank("index", folder, "--index", tmp_path / "index", "--pipeline", KEYWORD, "--json")
    assert "assumed: cp1252 as the encoding of 7 files (--json names them)" in done.stderr
    assert len(json.loads(done.stdout)["assumed_encodings"]["cp1252"]) == 7
