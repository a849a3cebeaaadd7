"""Document stores in a pipeline YAML: variables of the environment, addresses without secrets, packages that are missing."""

import pytest

from rerank_plugin import load_pipeline
from rerank_plugin.errors import MissingDependencyError, PipelineConfigError
from rerank_plugin.pipelines import pipeline_names, read_pipeline
from rerank_plugin.pipelines.environment import document_stores
from rerank_plugin.pipelines.stores import address_of

STORE = "type: rerank_plugin.store.document_store.HybridDocumentStore"


def write(tmp_path, parameters, prompt="none"):
    path = tmp_path / "mine.yaml"
    path.write_text(
        "components:\n"
        "  x:\n    type: rerank_plugin.components.bm25_retriever.BM25Retriever\n"
        f"    init_parameters:\n      document_store:\n        {STORE}\n        init_parameters: {parameters}\n"
        "  p:\n    type: haystack.components.builders.prompt_builder.PromptBuilder\n"
        f"    init_parameters:\n      template: '{prompt}'\n"
    )
    return path


def test_variables_in_the_parameters_of_a_store_are_filled_in(tmp_path, monkeypatch):
    monkeypatch.setenv("MY_FOLDER", str(tmp_path / "here"))
    monkeypatch.setenv("EMPTY", "")
    path = write(tmp_path, '{path: "${MY_FOLDER}/index-${EMPTY:-1}", language: "${MY_LANGUAGE:-ru}"}', "costs ${MY_FOLDER}")
    pipeline = load_pipeline(path)
    store = pipeline.get_component("x").document_store
    assert (store.path, store.language) == (f"{tmp_path}/here/index-1", "ru")
    assert pipeline.get_component("p").template == "costs ${MY_FOLDER}" or "${MY_FOLDER}" in str(read_pipeline(path))


def test_a_variable_that_is_not_set_is_named(tmp_path):
    with pytest.raises(PipelineConfigError, match=r"mine\.yaml needs the environment variable NOT_SET_ANYWHERE"):
        read_pipeline(write(tmp_path, '{path: "${NOT_SET_ANYWHERE}"}'))


@pytest.mark.parametrize(
    ("parameters", "shown"),
    [
        ({"url": "http://host:6333", "index": "a", "api_key": "SECRET"}, "X (url http://host:6333, index a)"),
        ({"connection_string": "postgresql://me:SECRET@host:5432/db"}, "X (connection_string postgresql://me@host:5432/db)"),
        ({"connection_string": "host=h password='SEC RET' dbname=d"}, "X (connection_string host=h dbname=d)"),
        ({"connection_args": {"uri": "http://h", "token": "SECRET"}}, "X (uri http://h)"),
        ({"hosts": ["http://me:SECRET@a", "http://b"]}, "X (hosts http://me@a, http://b)"),
        ({"connection_string": {"type": "env_var", "env_vars": ["MY_ADDRESS"]}}, "X (connection_string postgresql://u@h/d)"),
        ({"connection_string": {"type": "env_var", "env_vars": ["NOT_SET"]}}, "X (connection_string $NOT_SET)"),
        ({"batch": 5}, "X"),
        ({}, "X"),
    ],
)
def test_an_address_has_no_secrets(parameters, shown, monkeypatch):
    monkeypatch.setenv("MY_ADDRESS", "postgresql://u:SECRET@h/d")
    address = address_of({"type": "a.b.X", "init_parameters": parameters})
    assert str(address) == shown
    assert "SEC" not in address.key


def test_an_address_is_that_of_the_place_and_not_of_the_way_to_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def key(**parameters):
        return address_of({"type": "a.X", "init_parameters": parameters}).key

    assert key(path="data", index="a") == key(path=str(tmp_path / "data"), index="a", api_key="other", timeout=5)
    assert len({key(path="data", index="a"), key(path="data", index="b"), key(path="other", index="a"), key(url="u")}) == 4
    assert key(url="postgres://a:b@c") == key(url="postgres://a:changed@c")


@pytest.mark.parametrize(
    "name", [name for name in pipeline_names() if name.startswith("indexing_") and name != "indexing_keyword"]
)
def test_the_pipelines_of_a_database_name_one_place(name, monkeypatch):
    monkeypatch.setenv("PG_CONN_STR", "postgresql://u:p@h/d")
    database = name.removeprefix("indexing_")
    pipelines = [each for each in pipeline_names() if each.endswith(f"_{database}")]
    assert len(pipelines) >= 2
    places = {address_of(store).key for each in pipelines for store in document_stores(read_pipeline(each))}
    assert len(places) == 1


def test_a_missing_package_is_named_with_its_extra(tmp_path, monkeypatch):
    monkeypatch.setattr("rerank_plugin.pipelines.stores.find_spec", lambda module: None)
    with pytest.raises(
        MissingDependencyError,
        match=r"pipeline dense_rerank_qdrant needs qdrant-haystack: pip install 'rerank-plugin\[qdrant\]'",
    ):
        load_pipeline("dense_rerank_qdrant")


@pytest.mark.parametrize("name", pipeline_names())
def test_stores_are_found_at_any_depth(name, monkeypatch):
    monkeypatch.setenv("PG_CONN_STR", "postgresql://u:p@h/d")
    stores = list(document_stores(read_pipeline(name)))
    assert stores
    assert all(store["type"].endswith("DocumentStore") for store in stores)
