"""Passages that occur several times are stored once, and know their other places (U6)."""

import json
import random
import shutil
import sqlite3
from contextlib import closing, suppress
from dataclasses import replace
from itertools import count
from pathlib import Path

import pytest
from conftest import WORDS
from haystack import Document, component
from haystack.core.serialization import allow_deserialization_module
from haystack.document_stores.types import DuplicatePolicy
from indexing_rounds import contents

from rerank_plugin import HybridDocumentStore
from rerank_plugin.errors import StoreError
from rerank_plugin.indexing import IndexReport, index_paths
from rerank_plugin.pipelines import find_pipeline
from rerank_plugin.store.sqlite.indexed_files import IndexedFile

KEYWORD = "indexing_keyword"
OVERWRITE = DuplicatePolicy.OVERWRITE


def paragraph(seed: int) -> str:
    """About a hundred words: two of them do not fit in one passage."""
    return f"unique{seed} {' '.join(random.Random(seed).choices(WORDS, k=99))}."


def write(path: Path, *paragraphs: int) -> Path:
    """Write a text file; its title is its name, so that equal names in different folders share their passages."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{paragraph(number)}\n\n" for number in paragraphs), encoding="utf-8")
    return path


def documents(index: Path) -> list[Document]:
    with HybridDocumentStore(index) as store:
        return store.filter_documents()


def holding(index: Path, number: int) -> list[Document]:
    return [document for document in documents(index) if f"unique{number} " in document.content]


@pytest.fixture
def files(tmp_path) -> Path:
    """Three versions of a guide: all of them have the first paragraph, two the second."""
    write(tmp_path / "files" / "v1" / "guide.txt", 1, 2)
    write(tmp_path / "files" / "v2" / "guide.txt", 1, 2, 3)
    write(tmp_path / "files" / "v3" / "guide.txt", 1)
    return tmp_path / "files"


def index(files: Path, **options) -> IndexReport:
    return index_paths([files], files.parent / "index", **{"pipeline": KEYWORD, **options})


def sources(document: Document) -> list[str]:
    """The versions that a passage occurs in, in the order in which it names them."""
    places = [document.meta, *document.meta.get("also_in", [])]
    return [Path(place["source"]).parent.name for place in places]


def test_u6_an_exact_duplicate_is_stored_once_and_lists_its_other_places(files, tmp_path):
    report = index(files)
    assert (report.files, report.passages, report.merged) == (3, 6, 3)
    (shared,) = holding(tmp_path / "index", 1)
    assert shared.meta["source"] == str(files / "v1" / "guide.txt")
    assert shared.meta["also_in"] == [{"source": str(files / name / "guide.txt")} for name in ("v2", "v3")]
    assert [sources(document) for document in documents(tmp_path / "index")] == [["v1", "v2", "v3"], ["v1", "v2"], ["v2"]]
    (single,) = holding(tmp_path / "index", 3)
    assert "also_in" not in single.meta
    assert index(files).unchanged == 3


@pytest.mark.slow
def test_u6_the_command_says_how_many_duplicates_there_were(rerank, files, tmp_path):
    for expected in (
        "6 passages of 3 files written to {}, 3 of them are duplicates, stored once; 0 files unchanged\n",
        "0 passages of 0 files written to {}; 3 files unchanged\n",
    ):
        done = rerank("index", files, "--index", tmp_path / "index", "--pipeline", KEYWORD)
        assert done.stdout == expected.format(tmp_path / "index")
    for folder in ("v1", "v2"):
        (files / folder / "note.txt").write_text("A note.")
    notes = [files / folder / "note.txt" for folder in ("v1", "v2")]
    done = rerank("index", *notes, "--index", tmp_path / "other", "--pipeline", KEYWORD)
    assert done.stdout == f"2 passages of 2 files written to {tmp_path / 'other'}, " + (
        "1 of them is a duplicate, stored once; 0 files unchanged\n"
    )


def test_u6_a_search_finds_a_duplicate_once(files, tmp_path):
    index(files)
    with HybridDocumentStore(tmp_path / "index") as store:
        assert [sources(hit) for hit in store.bm25_retrieval("unique1")] == [["v1", "v2", "v3"]]
        first = {"field": "meta.source", "operator": "==", "value": str(files / "v1" / "guide.txt")}
        second = {**first, "value": str(files / "v2" / "guide.txt")}
        assert len(store.bm25_retrieval("unique1", filters=first)) == 1
        assert store.bm25_retrieval("unique1", filters=second) == []


def test_u6_the_same_text_under_another_title_is_another_passage(files, tmp_path):
    write(files / "v1" / "other.txt", 1)
    index(files)
    assert {document.meta["title"] for document in holding(tmp_path / "index", 1)} == {"guide", "other"}


def test_u6_a_paragraph_that_a_file_repeats_is_stored_once(tmp_path):
    source = write(tmp_path / "files" / "guide.txt", 1, 2, 1, 1)
    report = index(tmp_path / "files")
    assert (report.passages, report.merged, report.failed) == (4, 2, [])
    (shared,) = holding(tmp_path / "index", 1)
    assert (shared.meta["split_id"], shared.meta["also_in"]) == (0, [{"source": str(source)}] * 2)
    assert index(tmp_path / "files").unchanged == 1


def test_u6_the_first_place_does_not_depend_on_what_was_indexed_first(files, tmp_path):
    for name in ("v3", "v1", "v2"):
        index_paths([files / name], tmp_path / "index", pipeline=KEYWORD)
    index_paths([files], tmp_path / "at once", pipeline=KEYWORD)
    assert contents(tmp_path / "index") == contents(tmp_path / "at once")


def test_u6_a_passage_moves_to_its_next_place_until_no_file_has_it(files, tmp_path):
    index(files)
    for expected in (["v2", "v3"], ["v3"]):
        files.joinpath(f"v{int(expected[0][1]) - 1}", "guide.txt").unlink()
        assert index(files, prune=True).pruned == 1
        (shared,) = holding(tmp_path / "index", 1)
        assert sources(shared) == expected
        assert index(files).unchanged == len(expected)
    write(files / "v3" / "guide.txt", 4)
    index(files)
    assert holding(tmp_path / "index", 1) == []
    assert len(documents(tmp_path / "index")) == 1


def test_u6_all_files_go_at_once(files, tmp_path):
    index(files)
    for path in files.rglob("*.txt"):
        path.unlink()
    assert index(files, prune=True).pruned == 3
    assert documents(tmp_path / "index") == []
    with closing(sqlite3.connect(tmp_path / "index" / "documents.sqlite")) as connection:
        for table in ("passage_places", "passage_keys", "indexed_files"):
            assert connection.execute(f"SELECT count(*) FROM {table}").fetchone() == (0,)


def test_u6_a_changed_file_leaves_what_others_share(files, tmp_path):
    index(files)
    write(files / "v1" / "guide.txt", 5)
    assert index(files).unchanged == 2
    assert {tuple(sources(document)) for document in documents(tmp_path / "index")} == {("v1",), ("v2", "v3"), ("v2",)}
    write(files / "v1" / "guide.txt", 1)
    index(files)
    assert [sources(document) for document in holding(tmp_path / "index", 1)] == [["v1", "v2", "v3"]]


def test_u6_page_and_section_of_a_place_are_listed_in_order(tmp_path):
    """Written as a pipeline with pages and sections would."""
    places = [
        ("b.pdf", {"page": 3}),
        ("a.md", {"section": "Use > Run"}),
        ("b.pdf", {"page": 12}),
        ("a.md", {"section": "Use"}),
    ]
    numbers = count()
    with HybridDocumentStore(tmp_path / "index") as store:
        store.indexed_files.begin([IndexedFile(name, "f", 1) for name in ("a.md", "b.pdf")])
        store.write_documents(
            [
                Document(
                    id=f"{next(numbers)}",
                    content="The same.",
                    meta={"source": source, "source_fingerprint": "f", "title": "T", **place},
                )
                for source, place in places
            ]
        )
        finished = store.indexed_files.finish({"a.md": 2, "b.pdf": 2}, merge=True)
        assert (finished.passages, finished.merged) == ({"a.md": 2, "b.pdf": 2}, 3)
        (document,) = store.filter_documents()
    assert (document.meta["source"], document.meta["section"], "page" in document.meta) == ("a.md", "Use", False)
    assert document.meta["also_in"] == [
        {"source": "a.md", "section": "Use > Run"},
        {"source": "b.pdf", "page": 3},
        {"source": "b.pdf", "page": 12},
    ]


@pytest.mark.slow
def test_u6_documents_of_a_corpus_are_not_merged(files, tmp_path):
    """Judgements name them by their ids."""
    lines = [json.dumps({"_id": f"d{number}", "title": "guide", "text": paragraph(1)}) for number in range(3)]
    (files / "corpus.jsonl").write_text("\n".join(lines))
    for prune in (False, True):
        report = index(files, prune=prune)
        assert report.failed == []
        found = holding(tmp_path / "index", 1)
        assert sorted(document.meta.get("doc_id", "") for document in found) == ["", "d0", "d1", "d2"]
        assert [sources(document) for document in found if "doc_id" not in document.meta] == [["v1", "v2", "v3"]]
    (files / "corpus.jsonl").unlink()
    assert index(files, prune=True).pruned == 1
    assert len(holding(tmp_path / "index", 1)) == 1


@pytest.mark.slow
def test_u6_a_duplicate_is_not_embedded_again_and_keeps_its_vector(files, tmp_path, bi_encoder):
    index(files, pipeline="indexing", embedding_model=str(bi_encoder))
    (shared,) = holding(tmp_path / "index", 1)
    assert len(documents(tmp_path / "index")) == 3
    (files / "v1" / "guide.txt").unlink()
    index(files, pipeline="indexing", embedding_model=str(bi_encoder), prune=True)
    (left,) = holding(tmp_path / "index", 1)
    assert (sources(left), left.embedding) == (["v2", "v3"], shared.embedding)
    with HybridDocumentStore(tmp_path / "index") as store:
        assert [sources(hit) for hit in store.embedding_retrieval(shared.embedding, top_k=1)] == [["v2", "v3"]]
        assert store.recall() == 1.0


@pytest.mark.slow
def test_u6_passages_with_and_without_vectors_are_not_merged(files, tmp_path, bi_encoder):
    index_paths([files / "v1"], tmp_path / "index", pipeline=KEYWORD)
    index_paths([files / "v2", files / "v3"], tmp_path / "index", embedding_model=str(bi_encoder))
    found = holding(tmp_path / "index", 1)
    assert {(document.embedding is not None, *sources(document)) for document in found} == {
        (False, "v1"),
        (True, "v2", "v3"),
    }


@pytest.mark.slow
@pytest.mark.parametrize("loss", ["the passage", "everything of one file", "meta", "another text"])
def test_u6_what_others_do_to_a_shared_passage_is_noticed_and_mended(files, tmp_path, loss):
    index(files)
    before = contents(tmp_path / "index")
    (shared,) = holding(tmp_path / "index", 1)
    with HybridDocumentStore(tmp_path / "index") as store:
        if loss == "the passage":
            store.delete_documents([shared.id])
        elif loss == "everything of one file":
            store.delete_by_filter({"field": "meta.source", "operator": "==", "value": shared.meta["source"]})
        elif loss == "meta":
            store.write_documents([Document(id=shared.id, content=shared.content, meta={"title": "guide"})], OVERWRITE)
        else:
            store.write_documents([Document(id=shared.id, content="Mine.")], OVERWRITE)
    report = index(files)
    assert report.unchanged < 3
    assert report.failed == []
    after = contents(tmp_path / "index")
    if loss in ("the passage", "everything of one file"):
        assert after == before
    else:  # with the id of the first place, which the run that reads its file again takes back
        assert {row for row in after.values() if "unique" in row} == set(before.values())
    assert index(files).unchanged == 3


@component
class NumberedIds:
    """Gives passages the ids that they have in every version of their file."""

    @component.output_types(documents=list[Document])
    def run(self, documents: list[Document]) -> dict[str, list[Document]]:
        """Return the documents under other ids."""
        return {"documents": [replace(each, id=f"{each.meta['source']}#{each.meta['split_id']}") for each in documents]}


@pytest.mark.slow
def test_u6_a_component_that_gives_passages_fixed_ids_does_not_overwrite_what_others_share(files, tmp_path):
    """The passages of a changed file then have the ids of its older ones, which other files share."""
    text = find_pipeline(KEYWORD).read_text(encoding="utf-8")
    text = text.replace("components:\n", f"components:\n  numbered:\n    type: {__name__}.NumberedIds\n", 1)
    text = text.replace(
        "receiver: passages.documents",
        "receiver: numbered.documents\n  - sender: numbered.documents\n    receiver: passages.documents",
    )
    pipeline = tmp_path / "numbered.yaml"
    pipeline.write_text(text, encoding="utf-8")
    allow_deserialization_module(__name__)
    index(files, pipeline=pipeline)
    write(files / "v1" / "guide.txt", 4, 2)
    report = index(files, pipeline=pipeline)
    assert (report.unchanged, report.failed) == (2, [])
    assert [sources(document) for document in holding(tmp_path / "index", 1)] == [["v2", "v3"]]
    assert [sources(document) for document in holding(tmp_path / "index", 2)] == [["v1", "v2"]]
    assert index(files, pipeline=pipeline).unchanged == 3


def test_u6_embedding_again_by_hand_keeps_shared_passages(files, tmp_path):
    """As one adds vectors to an index: all documents are read, given embeddings, and overwritten."""
    index(files)
    with HybridDocumentStore(tmp_path / "index") as store:
        store.write_documents([replace(document, embedding=[1.0, 0.5]) for document in store.filter_documents()], OVERWRITE)
        assert [sources(document) for document in store.filter_documents()] == [["v1", "v2", "v3"], ["v1", "v2"], ["v2"]]
    assert index(files).unchanged == 3


def test_u6_a_document_that_is_made_anew_under_the_same_id_lists_its_places(files, tmp_path):
    index(files)
    (shared,) = holding(tmp_path / "index", 1)
    meta = {name: value for name, value in shared.meta.items() if name != "also_in"}
    with HybridDocumentStore(tmp_path / "index") as store:
        store.write_documents([replace(shared, meta={**meta, "checked": True})], OVERWRITE)
    (after,) = holding(tmp_path / "index", 1)
    assert after.meta == {**shared.meta, "checked": True}


def test_u6_a_file_that_went_bad_keeps_its_place(files, tmp_path):
    index(files)
    before = contents(tmp_path / "index")
    (files / "v1" / "guide.txt").write_bytes(b"\0")
    assert len(index(files).failed) == 1
    assert contents(tmp_path / "index") == before


@pytest.mark.slow
def test_u6_an_index_of_format_3_merges_what_is_read_again(files, tmp_path):
    """All files are: the version of the reader, which is part of the fingerprints, is another one."""
    index(files)
    expected = contents(tmp_path / "index")
    older = tmp_path / "older.yaml"
    older.write_text(f"# As an older version.\n{find_pipeline(KEYWORD).read_text(encoding='utf-8')}", encoding="utf-8")
    index(files, pipeline=older)
    with closing(sqlite3.connect(tmp_path / "index" / "documents.sqlite")) as connection:
        connection.executescript(
            "DROP TABLE judgements; DROP TABLE query_sets; DROP TABLE judged_queries;"
            "DROP TABLE passage_places; DROP TABLE passage_keys; UPDATE settings SET value = 3 WHERE name = 'format'"
        )
    (tmp_path / "index" / "documents.ledger").unlink()
    index(files)
    assert contents(tmp_path / "index") == expected


@pytest.mark.slow
@pytest.mark.parametrize(
    "damage", ["UPDATE passage_places SET meta = replace(meta, 'guide', 'guild')", "DELETE FROM documents"]
)
def test_u6_damaged_places_are_found(files, tmp_path, damage):
    index(files)
    with closing(sqlite3.connect(tmp_path / "index" / "documents.sqlite")) as connection:
        connection.execute(damage)
        connection.commit()
    with pytest.raises(StoreError, match=r"is corrupt|but no document"):
        documents(tmp_path / "index")


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2))
def test_u6_after_any_history_the_store_holds_exactly_what_a_fresh_one_holds(tmp_path, seed):
    """Files are written, changed, moved and deleted; runs take all of them or some, and may be interrupted."""

    class InterruptionError(Exception):
        pass

    def interrupt(done: int, total: int) -> None:
        if chance.random() < 0.3:
            raise InterruptionError

    chance = random.Random(seed)
    files, store = tmp_path / "files", tmp_path / "index"
    names = [files / folder / name for folder in "abcd" for name in ("guide.txt", "notes.md")]
    write(files / "always.txt", 9)
    for _ in range(8):
        for path in chance.sample(names, k=chance.randint(1, 4)):
            kind = chance.random()
            if kind < 0.6:
                write(path, *chance.choices(range(4), k=chance.randint(1, 4)))
            elif kind < 0.8:
                path.unlink(missing_ok=True)
            elif path.exists():
                other = chance.choice(names)
                other.parent.mkdir(parents=True, exist_ok=True)
                path.replace(other)
        part = chance.choice([files, *(path.parent for path in names if path.parent.exists())])
        with suppress(InterruptionError):
            index_paths([part], store, pipeline=KEYWORD, prune=chance.random() < 0.5, progress=interrupt)
        if chance.random() < 0.5:
            report = index_paths([files], store, pipeline=KEYWORD, prune=True)
            assert report.failed == []
            index_paths([files], tmp_path / "fresh", pipeline=KEYWORD)
            assert contents(store) == contents(tmp_path / "fresh")
            again = index_paths([files], store, pipeline=KEYWORD, prune=True)
            assert (again.files, again.pruned) == (0, 0)
            shutil.rmtree(tmp_path / "fresh")
