import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import yaml
from conftest import SENTENCES
from haystack import Document, Pipeline

from rerank_plugin import HybridDocumentStore, load_pipeline
from rerank_plugin.errors import ModelError, PipelineConfigError
from rerank_plugin.pipelines import pipeline_names
from rerank_plugin.search import Searcher

SEARCHING = ["bm25", "bm25_rerank", "dense", "dense_rerank", "hybrid", "hybrid_rerank"]
INDEXING = ["indexing", "indexing_keyword"]
# tests/stores runs these on the databases.
DATABASES = ("elasticsearch", "milvus", "opensearch", "pgvector", "qdrant")


@pytest.fixture(scope="session")
def index(tmp_path_factory, bi_encoder) -> Path:
    """An index of a few sentences with embeddings of the tiny bi-encoder."""
    folder = tmp_path_factory.mktemp("pipelines") / "index"
    pipeline = load_pipeline("indexing", index=folder, embedding_model=str(bi_encoder))
    documents = [Document(content=text, meta={"title": f"title {i}", "n": i}) for i, text in enumerate(SENTENCES)]
    pipeline.run({"router": {"sources": []}, "passages": {"documents": documents}})
    return folder


def test_every_file_is_known_here(repository):
    own = [name for name in pipeline_names() if not name.endswith(DATABASES)]
    assert own == sorted([*SEARCHING, *INDEXING, "rag_rerank"])
    for database in DATABASES:
        names = [name for name in pipeline_names() if name.endswith(f"_{database}")]
        assert f"indexing_{database}" in names
        assert any("_rerank_" in name for name in names)
    assert pipeline_names() == sorted(path.stem for path in (repository / "pipelines").glob("*.yaml"))


@pytest.mark.slow
@pytest.mark.parametrize("name", SEARCHING)
def test_finds_the_document(name, index, bi_encoder):
    searcher = Searcher(load_pipeline(name, index=index, embedding_model=str(bi_encoder)))
    searcher.warm_up()
    # The tiny bi-encoder has random weights, but equal texts have equal vectors.
    result = searcher.search(SENTENCES[2], top_k=8)
    assert result.hits[0].document.content == SENTENCES[2]
    assert result.hits[0].document.meta["n"] == 2
    assert set(result.milliseconds) == set(yaml.safe_load((find(name)).read_text())["components"])


def find(name: str) -> Path:
    return Path(__file__).parent.parent / "pipelines" / f"{name}.yaml"


@pytest.mark.slow
@pytest.mark.parametrize("name", [*SEARCHING, *INDEXING, "rag_rerank"])
def test_loads_with_plain_haystack_as_documented(name, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    pipeline = Pipeline.loads(find(name).read_text(), allowed_modules=["rerank_plugin"])
    assert {name for name, _ in pipeline.walk()} == set(yaml.safe_load(find(name).read_text())["components"])


@pytest.mark.parametrize("name", [name for name in pipeline_names() if "rerank" in name])
def test_the_first_stage_fetches_more_than_the_user_sees_and_says_so(name):
    text = find(name).read_text()
    components = yaml.safe_load(text)["components"]
    ranked = components["ranker"]["init_parameters"]["top_k"]
    returned = components["collapser"]["init_parameters"]["top_k"]
    fetched = [part["init_parameters"]["top_k"] for key, part in components.items() if "retriever" in key]
    assert all(number == 100 for number in fetched)
    assert ranked == 100
    assert returned <= 10
    assert "candidates: far more than the user sees" in text


@pytest.mark.parametrize("name", pipeline_names())
def test_the_comments_say_what_to_change(name):
    assert "# Change: " in find(name).read_text()


class ChatServer(BaseHTTPRequestHandler):
    """Implements the part of OpenAI's chat protocol that a generator needs, and records the requests."""

    requests: list[dict] = []  # noqa: RUF012 - shared by the handler's instances on purpose

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.requests.append({"path": self.path, "key": self.headers["Authorization"], "body": body})
        reply = {
            "id": "1",
            "object": "chat.completion",
            "created": 0,
            "model": body["model"],
            "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "Paris [1]."}}],
            "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
        }
        data = json.dumps(reply).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *args):
        pass


@pytest.mark.slow
def test_rag_sends_the_best_passages_to_the_server_of_the_environment(index, monkeypatch):
    server = ThreadingHTTPServer(("127.0.0.1", 0), ChatServer)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("OPENAI_API_KEY", "secret")
    monkeypatch.setenv("OPENAI_BASE_URL", f"http://127.0.0.1:{server.server_port}/v1")
    pipeline = load_pipeline("rag_rerank", index=index)
    query = "What is the capital of France, and what about books, coffee and the sea?"
    result = pipeline.run({name: {"query": query} for name in ("bm25_retriever", "ranker", "prompt_builder")})
    pipeline.close()
    server.shutdown()
    server.server_close()
    assert result["llm"]["replies"][0].text == "Paris [1]."
    request = ChatServer.requests[-1]
    assert (request["path"], request["key"]) == ("/v1/chat/completions", "Bearer secret")
    prompt = request["body"]["messages"][-1]["content"]
    assert query in prompt
    assert SENTENCES[0] in prompt
    assert prompt.count("[") == 5


def test_index_replaces_the_path_of_every_store(tmp_path):
    pipeline = load_pipeline("hybrid", index=tmp_path / "other")
    stores = [pipeline.get_component(name).document_store for name in ("bm25_retriever", "embedding_retriever")]
    assert all(isinstance(store, HybridDocumentStore) for store in stores)
    assert {store.to_dict()["init_parameters"]["path"] for store in stores} == {str(tmp_path / "other")}


def test_the_embedding_model_comes_from_the_package_where_it_is_installed(bi_encoder):
    model = load_pipeline("dense").get_component("text_embedder").model
    assert Path(model).is_dir()
    other = load_pipeline("dense", embedding_model=str(bi_encoder)).get_component("text_embedder")
    assert (other.model, other.local_files_only) == (str(bi_encoder), False)


def test_u2_a_hub_model_that_is_not_on_this_machine_is_an_error_before_anything_is_loaded():
    with pytest.raises(ModelError, match=r"needs the embedding model owner/name.*HF_HUB_OFFLINE is set.*FOLDER"):
        load_pipeline("dense", embedding_model="owner/name")


def test_an_unknown_name_lists_what_exists():
    with pytest.raises(PipelineConfigError, match=r"unknown pipeline 'bm26': choose one of \['bm25', 'bm25_rerank'"):
        load_pipeline("bm26")


RANKER = "components:\n  ranker:\n    type: rerank_plugin.components.ranker.CrossEncoderRanker\n    init_parameters: {}\nconnections: []\n"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (RANKER.format("{topk: 5}"), "unexpected keyword argument 'topk'"),
        (RANKER.format("{top_k: 0}"), "top_k must be a whole number of at least 1, got 0"),
        ("components:\n  x:\n    type: haystack.NoSuchThing\n", "haystack.NoSuchThing"),
        ("components:\n  x:\n    type: os.Anything\n", "not on the trusted-module allowlist"),
        (
            "components:\n  x:\n    type: haystack.components.rankers.transformers_similarity.TransformersSimilarityRanker\n",
            "written for Haystack 2: change the type haystack.components.rankers.transformers_similarity.TransformersSimilarity"
            "Ranker to haystack_integrations.components.rankers.sentence_transformers.",
        ),
        ("components: [1\n", "line 2, column 1: not valid YAML"),
        ("just text", "not a pipeline: it has no 'components'"),
        ("components:\n  x: 3\n", "component 'x' must have a 'type', got 3"),
    ],
)
def test_a_faulty_file_is_named_with_the_reason_on_one_line(tmp_path, text, reason):
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    with pytest.raises(PipelineConfigError) as error:
        load_pipeline(path)
    assert str(path) in str(error.value)
    assert reason in str(error.value)
    assert "\n" not in str(error.value)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(PipelineConfigError, match=r"none\.yaml does not exist"):
        load_pipeline(tmp_path / "none.yaml")


def test_a_pipeline_without_a_retriever_cannot_search(tmp_path, cross_encoder):
    path = tmp_path / "mine.yaml"
    path.write_text(RANKER.format("{}"))
    with pytest.raises(PipelineConfigError, match=r"none of its components .* retrieves documents"):
        Searcher(load_pipeline(path))
