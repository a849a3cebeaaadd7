import json
import os
import subprocess
import sys
from itertools import count
from pathlib import Path

import pytest
from conftest import SENTENCES
from haystack.components.writers import DocumentWriter
from indexing_rounds import contents

from rerank_plugin import HybridDocumentStore
from rerank_plugin.errors import InputFileError, PipelineConfigError, StoreError
from rerank_plugin.indexing import index_paths
from rerank_plugin.indexing.run import is_up_to_date
from rerank_plugin.pipelines import find_pipeline

KEYWORD = "indexing_keyword"


def texts(index: Path) -> set[str]:
    return {json.loads(row)[0] for row in contents(index).values()}


def write_corpus(path: Path, count: int, *, start: int = 0) -> Path:
    lines = [
        json.dumps({"_id": f"d{i}", "title": f"Title {i}", "text": f"{SENTENCES[i % len(SENTENCES)]} Number {i}."})
        for i in range(start, start + count)
    ]
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


def write_pdf(path: Path, text: str) -> None:
    """The smallest PDF with a line of text."""
    stream = f"BT /F1 12 Tf 72 720 Td ({text}) Tj ET".encode()
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Contents 4 0 R /Resources << /Font << /F1 5 0 R >> >> >>",
        b"<< /Length %d >>\nstream\n%s\nendstream" % (len(stream), stream),
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
    ]
    data, offsets = b"%PDF-1.4\n", []
    for number, body in enumerate(objects, start=1):
        offsets.append(len(data))
        data += b"%d 0 obj\n%s\nendobj\n" % (number, body)
    table = b"".join(b"%010d 00000 n \n" % offset for offset in offsets)
    data += b"xref\n0 6\n0000000000 65535 f \n%strailer\n<< /Size 6 /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF" % (
        table,
        len(data),
    )
    path.write_bytes(data)


@pytest.fixture
def folder(tmp_path) -> Path:
    """One file of each kind."""
    folder = tmp_path / "files"
    (folder / "deeper").mkdir(parents=True)
    (folder / "notes.txt").write_text("The red fox sleeps.", encoding="utf-8")
    (folder / "deeper" / "guide.md").write_text("# The guide\n\nTea and **coffee** are drinks.\n", encoding="utf-8")
    (folder / "page.html").write_text(
        "<html><head><title>The page</title></head><body><article><p>The moon is near the earth, the sun is far away.</p>"
        "</article></body></html>",
        encoding="utf-8",
    )
    write_pdf(folder / "paper.pdf", "The river runs to the sea.")
    write_corpus(folder / "corpus.jsonl", 2)
    (folder / "image.png").write_bytes(b"\x89PNG\0")
    (folder / ".hidden.txt").write_text("hidden")
    return folder


@pytest.mark.slow
def test_indexes_every_kind_of_file(folder, tmp_path):
    report = index_paths([folder], tmp_path / "index", pipeline=KEYWORD)
    assert (report.files, report.passages, report.failed) == (5, 6, [])
    store = HybridDocumentStore(tmp_path / "index")
    by_title = {document.meta["title"]: document for document in store.filter_documents()}
    assert set(by_title) == {"notes", "The guide", "The page", "paper", "Title 0", "Title 1"}
    assert "coffee" in by_title["The guide"].content
    assert "The moon is near the earth" in by_title["The page"].content
    assert by_title["paper"].content.strip() == "The river runs to the sea."
    assert by_title["Title 1"].meta["doc_id"] == "d1"
    assert by_title["notes"].meta["source"] == str(folder / "notes.txt")


def test_a_long_text_is_split_and_no_word_is_lost(tmp_path):
    words = [f"word{i}" for i in range(1000)]
    (tmp_path / "long.txt").write_text(" ".join(words), encoding="utf-8")
    report = index_paths([tmp_path / "long.txt"], tmp_path / "index", pipeline=KEYWORD)
    assert report.passages > 5
    found = {word for text in texts(tmp_path / "index") for word in text.split()}
    assert found == set(words)


@pytest.mark.slow
def test_the_dense_pipeline_stores_embeddings(tmp_path, bi_encoder):
    corpus = write_corpus(tmp_path / "corpus.jsonl", 3)
    index_paths([corpus], tmp_path / "index", embedding_model=str(bi_encoder))
    documents = HybridDocumentStore(tmp_path / "index").filter_documents()
    assert [len(document.embedding) for document in documents] == [32, 32, 32]


def test_a_second_run_skips_what_is_unchanged(folder, tmp_path):
    index_paths([folder], tmp_path / "index", pipeline=KEYWORD)
    before = contents(tmp_path / "index")
    report = index_paths([folder], tmp_path / "index", pipeline=KEYWORD)
    assert (report.files, report.unchanged, report.passages) == (0, 5, 0)
    assert contents(tmp_path / "index") == before


def test_a_changed_file_replaces_its_passages(folder, tmp_path):
    index_paths([folder], tmp_path / "index", pipeline=KEYWORD)
    (folder / "notes.txt").write_text("The blue bird sings.", encoding="utf-8")
    write_corpus(folder / "corpus.jsonl", 2, start=1)
    report = index_paths([folder], tmp_path / "index", pipeline=KEYWORD)
    assert (report.files, report.unchanged) == (2, 3)
    found = texts(tmp_path / "index")
    assert "The blue bird sings." in found
    assert "The red fox sleeps." not in found
    assert {text[-2] for text in found if "Number" in text} == {"1", "2"}


@pytest.mark.slow
def test_another_pipeline_indexes_everything_again(folder, tmp_path, bi_encoder):
    index_paths([folder], tmp_path / "index", pipeline=KEYWORD)
    report = index_paths([folder], tmp_path / "index", embedding_model=str(bi_encoder))
    assert (report.files, report.unchanged) == (5, 0)
    documents = HybridDocumentStore(tmp_path / "index").filter_documents()
    assert len(documents) == 6
    assert all(document.embedding for document in documents)


def test_removed_files_stay_until_prune(folder, tmp_path):
    index_paths([folder], tmp_path / "index", pipeline=KEYWORD)
    (folder / "notes.txt").unlink()
    assert index_paths([folder], tmp_path / "index", pipeline=KEYWORD).pruned == 0
    assert "The red fox sleeps." in texts(tmp_path / "index")
    assert index_paths([folder], tmp_path / "index", pipeline=KEYWORD, prune=True).pruned == 1
    assert "The red fox sleeps." not in texts(tmp_path / "index")
    assert len(texts(tmp_path / "index")) == 5


def test_prune_takes_a_file_that_was_indexed_by_its_own_path_and_nothing_else(folder, tmp_path):
    index_paths([folder / "notes.txt", folder / "page.html"], tmp_path / "index", pipeline=KEYWORD)
    (folder / "notes.txt").unlink()
    (folder / "page.html").unlink()
    assert index_paths([folder / "notes.txt"], tmp_path / "index", pipeline=KEYWORD, prune=True).pruned == 1
    assert len(texts(tmp_path / "index")) == 1


def test_a_path_that_never_was_there_is_an_error_with_prune_too(folder, tmp_path):
    index_paths([folder], tmp_path / "index", pipeline=KEYWORD)
    for prune in (False, True):
        with pytest.raises(InputFileError, match="typo does not exist"):
            index_paths([tmp_path / "typo"], tmp_path / "index", pipeline=KEYWORD, prune=prune)
    assert len(texts(tmp_path / "index")) == 6


@pytest.mark.slow
def test_of_a_beir_folder_only_the_corpus_is_indexed(repository, tmp_path):
    report = index_paths([repository / "sample_corpus"], tmp_path / "index", pipeline=KEYWORD)
    lines = (repository / "sample_corpus" / "documents.jsonl").read_text(encoding="utf-8").splitlines()
    assert (report.files, report.passages) == (1, len(lines))


@pytest.mark.parametrize(
    ("name", "data", "reason"),
    [
        ("binary.txt", b"abc\0def", "binary file"),
        ("no.pdf", b"not a pdf", "not a PDF file"),
        ("damaged.pdf", b"%PDF-1.4\nnothing", "is damaged, or not a PDF file"),
        ("damaged.xlsx", b"PK", "is damaged, or not an Excel workbook"),
        ("blank.txt", b" \n", "has no readable text"),
        ("bad.jsonl", b'{"_id": "1", "text": "x"}\n{"_id": "2"', "bad.jsonl, line 2: not valid JSON"),
    ],
)
def test_a_bad_file_is_reported_and_the_others_are_indexed(folder, tmp_path, name, data, reason):
    (folder / name).write_bytes(data)
    report = index_paths([folder], tmp_path / "index", pipeline=KEYWORD)
    assert report.files == 5
    assert len(report.failed) == 1
    assert reason in report.failed[0]
    assert str(folder / name) in report.failed[0]
    assert "\n" not in report.failed[0]
    assert len(texts(tmp_path / "index")) == 6


def test_an_empty_file_of_a_folder_is_skipped_and_named(folder, tmp_path):
    (folder / "empty.txt").touch()
    report = index_paths([folder], tmp_path / "index", pipeline=KEYWORD)
    assert (report.files, report.failed, report.skipped) == (5, [], [f"{folder / 'empty.txt'} is empty"])
    assert is_up_to_date([folder], tmp_path / "index", pipeline=KEYWORD)
    (folder / "notes.txt").write_bytes(b"")
    assert len(index_paths([folder], tmp_path / "index", pipeline=KEYWORD).skipped) == 2
    assert "The red fox sleeps." in texts(tmp_path / "index")  # as those of a deleted file
    assert index_paths([folder], tmp_path / "index", pipeline=KEYWORD, prune=True).pruned == 1
    assert "The red fox sleeps." not in texts(tmp_path / "index")
    report = index_paths([folder / "empty.txt"], tmp_path / "index", pipeline=KEYWORD)
    assert "has no readable text" in report.failed[0]


def test_a_file_that_went_bad_keeps_its_old_passages(folder, tmp_path):
    index_paths([folder], tmp_path / "index", pipeline=KEYWORD)
    (folder / "notes.txt").write_bytes(b"\0")
    for _ in range(2):
        assert len(index_paths([folder], tmp_path / "index", pipeline=KEYWORD).failed) == 1
    assert "The red fox sleeps." in texts(tmp_path / "index")
    (folder / "notes.txt").write_text("Well again.", encoding="utf-8")
    index_paths([folder], tmp_path / "index", pipeline=KEYWORD)
    assert "The red fox sleeps." not in texts(tmp_path / "index")


def test_an_unreadable_file_is_reported(folder, tmp_path):
    # A broken link: even root cannot read it, unlike a file without permissions.
    (folder / "broken.txt").symlink_to(folder / "gone.txt")
    report = index_paths([folder], tmp_path / "index", pipeline=KEYWORD)
    assert report.files == 5
    assert "broken.txt cannot be read: No such file" in report.failed[0]


def test_l11_links_out_of_the_folder_bring_nothing_in_and_named_ones_go_with_prune(folder, tmp_path):
    (tmp_path / "secret.txt").write_text("A secret.")
    link = folder / "link.txt"
    link.symlink_to(tmp_path / "secret.txt")
    report = index_paths([folder], tmp_path / "index", pipeline=KEYWORD)
    assert (report.files, len(report.skipped)) == (5, 1)
    assert "A secret." not in texts(tmp_path / "index")
    assert index_paths([link], tmp_path / "index", pipeline=KEYWORD).files == 1
    assert "A secret." in texts(tmp_path / "index")
    link.unlink()  # its target still exists
    assert index_paths([link], tmp_path / "index", pipeline=KEYWORD, prune=True).pruned == 1
    assert "A secret." not in texts(tmp_path / "index")


def test_l11_a_link_that_was_indexed_from_within_the_folder_goes_with_prune(folder, tmp_path):
    (folder / "data").write_text("Text without an ending.")
    (folder / "data.txt").symlink_to(folder / "data")
    assert index_paths([folder], tmp_path / "index", pipeline=KEYWORD).files == 6
    (folder / "data").unlink()  # the link is broken now
    report = index_paths([folder], tmp_path / "index", pipeline=KEYWORD, prune=True)
    assert (report.pruned, len(report.failed)) == (1, 1)
    assert "Text without an ending." not in texts(tmp_path / "index")


def test_l14_another_language_is_an_error_although_no_file_has_changed(folder, tmp_path):
    index_paths([folder], tmp_path / "index", pipeline=KEYWORD, language="en")
    before = contents(tmp_path / "index")
    with pytest.raises(StoreError, match="was built with language='en', but language='ru' was requested"):
        index_paths([folder], tmp_path / "index", pipeline=KEYWORD, language="ru")
    assert contents(tmp_path / "index") == before
    assert index_paths([folder], tmp_path / "index", pipeline=KEYWORD, language="en").unchanged == 5


def test_t4_a_named_pipe_in_the_folder_is_passed_over(folder, tmp_path):
    os.mkfifo(folder / "pipe.txt")
    os.mkfifo(folder / "pipe.jsonl")
    report = index_paths([folder], tmp_path / "index", pipeline=KEYWORD)
    assert (report.files, report.failed, len(report.skipped)) == (5, [], 2)
    assert "is a named pipe; only regular files are indexed" in report.skipped[0]


def test_the_command_names_what_it_passed_over_and_is_no_failure(rerank, folder, tmp_path):
    os.mkfifo(folder / "pipe.txt")
    done = rerank("index", folder, "--index", tmp_path / "index", "--pipeline", KEYWORD)
    assert done.returncode == 0
    assert f"skipped: {folder / 'pipe.txt'} is a named pipe; only regular files are indexed" in done.stderr


@pytest.mark.slow
def test_a_file_that_is_too_large_is_reported_and_the_others_are_indexed(folder, tmp_path):
    with (folder / "huge.txt").open("wb") as file:
        file.truncate((128 << 20) + 1)  # sparse: takes no disk space
    report = index_paths([folder], tmp_path / "index", pipeline=KEYWORD)
    assert (report.files, len(report.failed)) == (5, 1)
    assert "huge.txt is larger than 128 MiB: split it" in report.failed[0]


@pytest.mark.slow
def test_an_unchanged_run_loads_no_model_and_no_converter(folder, tmp_path):
    """torch is not in the list: `import haystack` alone loads it."""
    index_paths([folder], tmp_path / "index", pipeline=KEYWORD)
    code = (
        "import sys; from pathlib import Path; from rerank_plugin.indexing import index_paths\n"
        "report = index_paths([Path(sys.argv[1])], Path(sys.argv[2]), pipeline='indexing_keyword')\n"
        "print(report.unchanged, {'sentence_transformers', 'pypdfium2', 'markdown_it', 'tantivy', 'faiss'} & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(folder), str(tmp_path / "index")], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "5 set()"


def test_a_file_that_a_converter_cannot_take_does_not_stop_the_others(folder, tmp_path):
    yaml = tmp_path / "pipeline.yaml"
    types = "types: # all; or some of them, such as "
    yaml.write_text(find_pipeline(KEYWORD).read_text().replace(types, "types: [text, markdown, pdf] # "))
    report = index_paths([folder], tmp_path / "index", pipeline=yaml)
    assert report.files == 4
    assert len(report.failed) == 1
    assert "page.html" in report.failed[0]


def test_a_file_that_vanishes_between_listing_and_reading_is_reported(folder, tmp_path):
    corpus = folder / "corpus.jsonl"

    def vanish(done: int, total: int) -> None:
        corpus.unlink(missing_ok=True)
        (folder / "notes.txt").unlink(missing_ok=True)

    report = index_paths([folder], tmp_path / "index", pipeline=KEYWORD, progress=vanish)
    assert report.files == 3
    assert sorted(failure.rpartition("/")[2] for failure in report.failed) == [
        "corpus.jsonl cannot be read: No such file or directory",
        "notes.txt cannot be read: No such file or directory",
    ]


def test_a_corpus_that_changes_while_it_is_read_is_begun_anew(folder, tmp_path):
    edits = []

    def edit(done: int, total: int) -> None:
        if not edits:  # between the two passes
            edits.append(write_corpus(folder / "corpus.jsonl", 5, start=1))

    report = index_paths([folder], tmp_path / "index", pipeline=KEYWORD, progress=edit)
    assert (report.files, report.failed) == (5, [])
    assert {text[-2] for text in texts(tmp_path / "index") if "Number" in text} == set("12345")
    assert index_paths([folder], tmp_path / "index", pipeline=KEYWORD).unchanged == 5


def test_a_corpus_that_keeps_changing_is_reported_and_indexed_by_the_next_run(folder, tmp_path):
    counts = count(3)
    report = index_paths(
        [folder / "corpus.jsonl"],
        tmp_path / "index",
        pipeline=KEYWORD,
        progress=lambda done, total: write_corpus(folder / "corpus.jsonl", next(counts)),
    )
    assert report.failed == [f"{folder / 'corpus.jsonl'} keeps changing while it is read: index it when nobody writes to it"]
    write_corpus(folder / "corpus.jsonl", 2, start=7)
    assert index_paths([folder / "corpus.jsonl"], tmp_path / "index", pipeline=KEYWORD).files == 1
    assert {text[-2] for text in texts(tmp_path / "index")} == {"7", "8"}


def test_a_corpus_is_malformed_after_it_was_checked(folder, tmp_path):
    def spoil(done: int, total: int) -> None:
        (folder / "corpus.jsonl").write_text('{"_id": "1", "text": "fine"}\n{"_id": ')

    report = index_paths([folder], tmp_path / "index", pipeline=KEYWORD, progress=spoil)
    assert report.files == 4
    assert "corpus.jsonl, line 2: not valid JSON" in report.failed[0]


def test_a_link_to_a_folder_above_does_not_lead_round_in_circles(folder, tmp_path):
    (folder / "deeper" / "up").symlink_to(folder)
    assert index_paths([folder], tmp_path / "index", pipeline=KEYWORD).files == 5


def test_a_type_that_cannot_be_indexed_is_an_error_when_it_is_named(folder, tmp_path):
    with pytest.raises(InputFileError, match=r"image\.png has a type that cannot be indexed: pass one of \.txt"):
        index_paths([folder / "image.png"], tmp_path / "index", pipeline=KEYWORD)


def test_a_search_pipeline_cannot_index(folder, tmp_path):
    with pytest.raises(PipelineConfigError, match="cannot index: it has no component named router"):
        index_paths([folder], tmp_path / "index", pipeline="bm25")


def test_progress_ends_at_its_total(folder, tmp_path):
    seen = []
    index_paths([folder], tmp_path / "index", pipeline=KEYWORD, progress=lambda done, total: seen.append((done, total)))
    assert seen[0][0] == 0
    assert seen[-1] == (6, 6)


@pytest.mark.parametrize("name", ["corpus.jsonl", "notes.txt"])
def test_a_model_that_cannot_be_loaded_is_not_blamed_on_the_file(folder, tmp_path, monkeypatch, name):
    def fail(self):
        raise OSError("We couldn't connect to the Hub")

    monkeypatch.setattr(DocumentWriter, "warm_up", fail, raising=False)
    with pytest.raises(PipelineConfigError, match=r"a component of .* cannot be loaded \(OSError: We couldn't connect"):
        index_paths([folder / name], tmp_path / "index", pipeline=KEYWORD)
    monkeypatch.undo()
    assert index_paths([folder / name], tmp_path / "index", pipeline=KEYWORD).files == 1
