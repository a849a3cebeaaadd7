import pytest

from rerank_plugin.collections.beir import BeirDataset, is_beir_folder, read_documents
from rerank_plugin.errors import InputFileError


def write(folder, *, corpus="", queries="", qrels=""):
    (folder / "qrels").mkdir()
    (folder / "corpus.jsonl").write_text(corpus, encoding="utf-8")
    (folder / "queries.jsonl").write_text(queries, encoding="utf-8")
    (folder / "qrels" / "test.tsv").write_text(qrels, encoding="utf-8")
    return BeirDataset(folder)


def test_reads_documents_queries_and_judgements(tmp_path):
    dataset = write(
        tmp_path,
        corpus='{"_id": "d1", "title": "Fox", "text": "A red fox.", "metadata": {"lang": "en"}}\n\n{"_id": 2, "text": "Sky."}\n',
        queries='{"_id": "q1", "text": "fox"}\n{"_id": "q2", "text": "not judged"}\n',
        qrels="query-id\tcorpus-id\tscore\nq1\td1\t2\nq1\t2\t0\n",
    )
    first, second = dataset.documents()
    assert (first.id, first.full_text, first.metadata) == ("d1", "Fox\nA red fox.", {"lang": "en"})
    assert (second.id, second.full_text) == ("2", "Sky.")
    assert list(dataset.queries()) == ["q1", "q2"]
    assert list(dataset.queries("test")) == ["q1"]
    assert dataset.qrels("test") == {"q1": {"d1": 2, "2": 0}}
    assert is_beir_folder(tmp_path)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ('{"_id": "d2", "text": ', "not valid JSON"),
        ("[1, 2]", "expected a JSON object, got list"),
        ('{"text": "no id"}', "needs '_id'"),
        ('{"_id": "", "text": "empty id"}', "needs '_id'"),
        ('{"_id": "d2"}', "has no 'text'"),
        ('{"_id": "d2", "text": 5}', "'text' must be a string, got 5"),
        ('{"_id": "d2", "text": "x", "metadata": "y"}', "'metadata' must be an object"),
        ('{"_id": "d1", "text": "again"}', "'d1' occurs twice"),
    ],
)
def test_a_malformed_line_names_file_and_line(tmp_path, line, reason):
    path = tmp_path / "corpus.jsonl"
    path.write_text('{"_id": "d1", "text": "fine"}\n' + line + "\n", encoding="utf-8")
    with pytest.raises(InputFileError) as error:
        list(read_documents(path))
    assert f"{path}, line 2: " in str(error.value)
    assert reason in str(error.value)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(InputFileError, match=r"nothing\.jsonl does not exist"):
        list(read_documents(tmp_path / "nothing.jsonl"))


def test_a_file_that_is_not_utf8_is_named(tmp_path):
    path = tmp_path / "corpus.jsonl"
    path.write_bytes(b'{"_id": "d1", "text": "caf\xe9"}')
    with pytest.raises(InputFileError, match="not UTF-8"):
        list(read_documents(path))


def test_an_unknown_split_lists_what_exists(tmp_path):
    dataset = write(tmp_path, qrels="query-id\tcorpus-id\tscore\n")
    with pytest.raises(InputFileError, match=r"no split 'dev': choose one of \['test'\]"):
        dataset.qrels("dev")


@pytest.mark.parametrize("line", ["q1\td1", "q1 d1", "q1\td1\thigh", "q1\td1\t1\textra"])
def test_a_malformed_judgement_names_file_and_line(tmp_path, line):
    dataset = write(tmp_path, qrels=f"query-id\tcorpus-id\tscore\nq1\td1\t1\n{line}\n")
    with pytest.raises(InputFileError, match=r"test\.tsv, line 3"):
        dataset.qrels("test")


def test_a_folder_without_a_corpus_is_named(tmp_path):
    with pytest.raises(InputFileError, match="not a BEIR collection"):
        list(BeirDataset(tmp_path).documents())


def test_the_sample_corpus_keeps_its_promises(repository):
    dataset = BeirDataset(repository / "sample_corpus")
    documents = {document.id: document for document in dataset.documents()}
    queries, qrels = dataset.queries(), dataset.qrels("test")
    languages = [document.metadata["lang"] for document in documents.values()]
    assert languages.count("en") >= 150
    assert languages.count("ru") >= 80
    assert all(40 <= len(document.text.split()) <= 120 for document in documents.values())
    asked = [query.metadata["lang"] for query in queries.values()]
    assert asked.count("en") >= 60
    assert asked.count("ru") >= 30
    assert set(qrels) == set(queries)
    assert all(grade in (1, 2) and id_ in documents for grades in qrels.values() for id_, grade in grades.items())
    assert all(2 in grades.values() for grades in qrels.values())
