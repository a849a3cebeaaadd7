"""`rerank index` into databases of other packages: what holds for an index of ours holds for them."""

import json
from contextlib import closing

import pytest
from conftest import SENTENCES

from rerank_plugin.errors import BusyError, PipelineConfigError
from rerank_plugin.indexing import index_paths
from rerank_plugin.indexing.pipeline import IndexingPipeline
from rerank_plugin.pipelines import load_pipeline
from rerank_plugin.search import Searcher
from rerank_plugin.store.indexing_lock import indexing_lock

pytestmark = pytest.mark.slow


@pytest.fixture
def files(tmp_path):
    folder = tmp_path / "files"
    folder.mkdir()
    for number, text in enumerate(SENTENCES[:4]):
        (folder / f"{number}.md").write_text(f"# Title {number}\n\n{text}\n", encoding="utf-8")
    rows = [{"_id": f"d{i}", "title": f"Row {i}", "text": text} for i, text in enumerate(SENTENCES[4:])]
    (folder / "corpus.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    return folder


def stored(pipeline, folder=None):
    """What the database holds: by id the text, the file, and the vector."""
    with closing(IndexingPipeline(pipeline, index=folder)) as indexing:
        documents = indexing.target.store.read()
    assert len({document.id for document in documents}) == len(documents)
    return {
        document.id: (document.content, document.meta["source"], [round(value, 4) for value in document.embedding])
        for document in documents
    }


def summary(report):
    return report.files, report.unchanged, report.passages, report.failed


def test_files_are_indexed_skipped_replaced_and_pruned(database, files, bi_encoder):
    pipeline = database.pipeline(database.indexing, model=bi_encoder)
    assert summary(index_paths([files], None, pipeline=pipeline)) == (5, 0, 8, [])
    first = stored(pipeline)
    assert len(first) == 8
    assert summary(index_paths([files], None, pipeline=pipeline)) == (0, 5, 0, [])
    assert stored(pipeline) == first

    (files / "1.md").write_text("# Title 1\n\nThe old library is by the river.\n\n# More\n\nTea.\n", encoding="utf-8")
    assert summary(index_paths([files], None, pipeline=pipeline)) == (1, 4, 2, [])
    second = stored(pipeline)
    changed = [text for text, source, _ in second.values() if source.endswith("1.md")]
    assert len(second) == 9
    assert len(changed) == 2
    assert not any(SENTENCES[1] in text for text in changed)
    assert {key: value for key, value in first.items() if not value[1].endswith("1.md")}.items() <= second.items()

    (files / "2.md").unlink()
    lines = (files / "corpus.jsonl").read_text(encoding="utf-8").splitlines()
    (files / "corpus.jsonl").write_text("\n".join(lines[1:]), encoding="utf-8")
    report = index_paths([files], None, pipeline=pipeline, prune=True)
    assert (report.pruned, report.files, report.passages, report.failed) == (1, 1, 3, [])
    third = stored(pipeline)
    assert len(third) == 7
    assert not any(source.endswith("2.md") for _, source, _ in third.values())
    assert str(database.name) in report.target.lower() or report.target


def test_what_was_deleted_from_the_database_is_indexed_again(database, files, bi_encoder):
    pipeline = database.pipeline(database.indexing, model=bi_encoder)
    index_paths([files], None, pipeline=pipeline)
    before = stored(pipeline)
    lost = next(key for key, (_, source, _) in before.items() if source.endswith("0.md"))
    with closing(IndexingPipeline(pipeline, index=None)) as indexing:
        indexing.target.store.delete_ids([lost])
    assert summary(index_paths([files], None, pipeline=pipeline)) == (1, 4, 1, [])
    assert stored(pipeline) == before


def test_the_record_may_be_lost_or_stand_elsewhere(database, files, bi_encoder, tmp_path):
    pipeline = database.pipeline(database.indexing, model=bi_encoder)
    index_paths([files], tmp_path / "records", pipeline=pipeline)
    before = stored(pipeline)
    (manifest,) = (tmp_path / "records").rglob("manifest.sqlite")
    assert summary(index_paths([files], tmp_path / "records", pipeline=pipeline))[:2] == (0, 5)
    manifest.unlink()
    assert summary(index_paths([files], tmp_path / "records", pipeline=pipeline)) == (5, 0, 8, [])
    assert stored(pipeline) == before


def test_a_search_finds_and_ranks_what_was_indexed(database, files, bi_encoder, cross_encoder):
    def small(data):
        data["components"]["ranker"]["init_parameters"]["model"] = str(cross_encoder)

    index_paths([files], None, pipeline=database.pipeline(database.indexing, model=bi_encoder))
    pipeline = load_pipeline(database.pipeline(database.searching, model=bi_encoder, change=small))
    searcher = Searcher(pipeline)
    searcher.warm_up()
    result = searcher.search(SENTENCES[6], top_k=8)
    assert SENTENCES[6] in {hit.document.content for hit in result.hits}
    assert len(result.hits) == len({hit.document.id for hit in result.hits}) >= 7
    assert all(hit.first_stage_rank for hit in result.hits)
    pipeline.close()


def test_one_run_at_a_time(new_database, files, bi_encoder):
    database = new_database("qdrant")
    pipeline = database.pipeline(database.indexing, model=bi_encoder)
    with closing(IndexingPipeline(pipeline, index=None)) as indexing:
        folder, name = indexing.target.manifest.folder, str(indexing.target)
    with indexing_lock(folder, wait=0), pytest.raises(BusyError, match=r"QdrantDocumentStore \(path .* is being indexed"):
        index_paths([files], None, pipeline=pipeline, wait=0)
    assert name.startswith("QdrantDocumentStore (path ")


def test_a_writer_that_does_not_overwrite_is_refused(new_database, files, bi_encoder):
    def fail(data):
        data["components"]["writer"]["init_parameters"]["policy"] = "FAIL"

    database = new_database("qdrant")
    pipeline = database.pipeline(database.indexing, model=bi_encoder, change=fail)
    with pytest.raises(PipelineConfigError, match=r"policy FAIL.*set `policy: OVERWRITE`"):
        index_paths([files], None, pipeline=pipeline)


def test_the_command_line_names_the_database(rerank, new_database, files, bi_encoder):
    database = new_database("qdrant")
    pipeline = database.pipeline(database.indexing, model=bi_encoder)
    done = rerank("index", files, "--pipeline", pipeline)
    assert done.returncode == 0, done.stderr
    assert "8 passages of 5 files written to QdrantDocumentStore (path " in done.stdout
    rows = json.loads(rerank("doctor", "--pipeline", pipeline, "--json").stdout)["database"]
    assert rows["documents"] == {"value": 8, "advice": None}
    assert rows["complete files"]["value"] == 5
    assert rows["files indexed in part"]["value"] == 0
