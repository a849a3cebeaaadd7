"""eval, sweep, calibrate, mine and the service on pipelines with other names, other stores and other rankers."""

import asyncio
import gc
import json

import pytest
import yaml
from conftest import write_cross_encoder
from haystack import Document
from haystack.document_stores.in_memory import InMemoryDocumentStore
from haystack.utils import Secret
from rerank_servers import KEY

from rerank_plugin.evaluation.request import EvalRequest
from rerank_plugin.evaluation.run import run_evaluation
from rerank_plugin.scoring.loading.spec import DEFAULT_MODEL
from rerank_plugin.serving.search_service import SearchBody, SearchService

NAMES = {"bm25_retriever": "seek", "ranker": "order", "collapser": "tidy"}
IN_MEMORY = """
  find:
    type: haystack.components.retrievers.in_memory.bm25_retriever.InMemoryBM25Retriever
    init_parameters:
      top_k: 8
      document_store:
        type: haystack.document_stores.in_memory.document_store.InMemoryDocumentStore
        init_parameters: {index: any-pipeline}
"""
CONNECTIONS = """
connections:
  - {sender: find.documents, receiver: order.documents}
"""


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A tiny model that ranks the relevant passages of the collection above others, so that it can be calibrated."""
    return write_cross_encoder(tmp_path_factory.mktemp("models") / "reranker", seed=5)


@pytest.fixture(scope="module")
def files(repository, model, tmp_path_factory):
    """The packaged two stages with our names, and with others."""
    folder = tmp_path_factory.mktemp("any-pipeline")
    text = (repository / "pipelines" / "bm25_rerank.yaml").read_text().replace(DEFAULT_MODEL, str(model))
    (folder / "ours.yaml").write_text(text)
    data = yaml.safe_load(text)
    ends = [{end: NAMES[socket.split(".")[0]] + ".documents" for end, socket in c.items()} for c in data["connections"]]
    components = {NAMES[name]: part for name, part in data["components"].items()}
    (folder / "renamed.yaml").write_text(yaml.dump({"components": components, "connections": ends}))
    return folder


@pytest.fixture(scope="module")
def in_memory(collection):
    """The collection in a store of this process."""
    rows = map(json.loads, (collection / "corpus.jsonl").read_text().splitlines())
    store = InMemoryDocumentStore(index="any-pipeline")
    store.write_documents([Document(id=row["_id"], content=row["text"]) for row in rows])
    yield store
    store.delete_documents([document.id for document in store.filter_documents()])


@pytest.mark.slow
def test_other_names_give_the_same_figures(rerank, files, collection, tmp_path):
    done = rerank(
        *("eval", collection, "--pipeline", files / "ours.yaml", "--pipeline", files / "renamed.yaml"),
        *("--output", tmp_path / "out", "--json"),
    )
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["remarks"] == {}
    ours, renamed = (result["systems"][name]["measures"] for name in ("ours", "renamed"))
    assert ours == renamed
    page = (tmp_path / "out" / "report.md").read_text()
    assert "second stage" in page
    assert "| renamed | order |" in page


@pytest.mark.slow
def test_other_names_are_swept_calibrated_and_mined(rerank, files, collection, tmp_path):
    renamed = files / "renamed.yaml"
    swept = rerank(
        *("eval", collection, "--sweep", "--pipeline", renamed, "--output", tmp_path / "sweep", "--json"),
        *("--grid", "candidates=4,12", "--grid", "precision=fp32", "--grid", "windows=max"),
    )
    assert swept.returncode == 0, swept.stderr
    fitted = rerank("calibrate", collection, "--pipeline", renamed, "--output", tmp_path / "c.json", "--candidates", 12)
    assert fitted.returncode == 0, fitted.stderr
    assert json.loads((tmp_path / "c.json").read_text())["scale"] > 0
    mined = rerank("mine", collection, "--pipeline", renamed, "--output", tmp_path / "m.jsonl", "--split", "dev")
    assert mined.returncode == 0, mined.stderr
    assert (tmp_path / "m.jsonl").read_text().count("\n") > 4


@pytest.mark.slow
def test_another_store_is_searched_as_it_is_and_mined(rerank, in_memory, collection, tmp_path, model):
    ranker = f"""
  order:
    type: rerank_plugin.components.ranker.CrossEncoderRanker
    init_parameters: {{model: {model}, backend: torch}}
"""
    path = tmp_path / "elsewhere.yaml"
    path.write_text(f"components:{IN_MEMORY}{ranker}{CONNECTIONS}")
    done = rerank("eval", collection, "--pipeline", path, "--output", tmp_path / "out", "--json")
    assert done.returncode == 0, done.stderr
    fitted = rerank("calibrate", collection, "--pipeline", path, "--output", tmp_path / "c.json", "--candidates", 12)
    assert fitted.returncode == 0, fitted.stderr
    mined = rerank("mine", collection, "--pipeline", path, "--output", tmp_path / "m.jsonl", "--split", "dev")
    assert mined.returncode == 0, mined.stderr
    shown = rerank("search", "capital of france", "--pipeline", path, "--top-k", 2)
    assert shown.returncode == 0, shown.stderr
    assert "Paris is the capital of France" in shown.stdout


@pytest.mark.slow
def test_a_two_stage_retriever_is_taken_apart(in_memory, collection, tmp_path, cross_encoder):
    ranker = {"type": "rerank_plugin.components.ranker.CrossEncoderRanker"}
    ranker["init_parameters"] = {"model": str(cross_encoder), "backend": "torch"}
    retriever = yaml.safe_load(IN_MEMORY)["find"]
    both = {"type": "rerank_plugin.components.two_stage.TwoStageRetriever"}
    both["init_parameters"] = {"retriever": retriever, "ranker": ranker}
    connections = yaml.safe_load(CONNECTIONS)["connections"]
    (tmp_path / "one.yaml").write_text(yaml.dump({"components": {"search": both}}))
    (tmp_path / "two.yaml").write_text(
        yaml.dump({"components": {"find": retriever, "order": ranker}, "connections": connections})
    )
    files = [str(tmp_path / f"{name}.yaml") for name in ("one", "two")]
    result = run_evaluation(EvalRequest(str(collection), pipelines=files, candidates=12))
    assert (result.failures, result.remarks) == ([], {})
    assert result.evaluations["one"].per_query == result.evaluations["two"].per_query
    assert {row.stage for row in result.latencies if row.system == "one"} == {"first stage", "second stage", "together"}


@pytest.mark.slow
def test_what_cannot_be_fitted_says_what_it_is(rerank, in_memory, collection, tmp_path):
    path = tmp_path / "llm.yaml"
    llm = """
  order:
    type: haystack.components.rankers.llm_ranker.LLMRanker
    init_parameters:
      chat_generator: {type: haystack.components.generators.chat.mock.MockChatGenerator, init_parameters: {}}
"""
    path.write_text(f"components:{IN_MEMORY}{llm}{CONNECTIONS}")
    message = "pipeline llm has no CrossEncoderRanker as second stage (its ranker is LLMRanker): nothing can be"
    for command in (["calibrate"], ["eval", "--sweep"]):
        done = rerank(*command, collection, "--pipeline", path, "--output", tmp_path / "x")
        assert done.returncode == 1
        assert message in " ".join(done.stderr.split())


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::ResourceWarning")  # Haystack's CohereRanker does not close its client
def test_a_hosted_ranker_is_a_second_stage_too(in_memory, collection, tmp_path, url, monkeypatch):
    pytest.importorskip("haystack_integrations.components.rankers.cohere")
    monkeypatch.setenv("ANY_KEY", KEY)
    path = tmp_path / "cohere.yaml"
    cohere = f"""
  order:
    type: haystack_integrations.components.rankers.cohere.ranker.CohereRanker
    init_parameters:
      model: rerank-v3.5
      api_base_url: {url}
      api_key: {Secret.from_env_var("ANY_KEY").to_dict()}
"""
    path.write_text(f"components:{IN_MEMORY}{cohere}{CONNECTIONS}")
    result = run_evaluation(EvalRequest(str(collection), pipelines=[str(path)], candidates=12))
    assert result.failures == []
    assert {row.stage for row in result.latencies} == {"first stage", "second stage", "together"}
    assert all(answer.pairs == len(answer.documents) for answer in result.outcomes["cohere"])
    gc.collect()  # the client goes here, not in another test


@pytest.mark.slow
def test_the_service_takes_any_pipeline(in_memory, files, cross_encoder, tmp_path):
    path = tmp_path / "served.yaml"
    ranker = f"""
  order:
    type: rerank_plugin.components.ranker.CrossEncoderRanker
    init_parameters: {{model: {cross_encoder}, backend: torch}}
"""
    path.write_text(f"components:{IN_MEMORY}{ranker}{CONNECTIONS}")
    service = SearchService(tmp_path / "no-index", [str(path)], max_waiting=4)
    service.warm_up()
    found = asyncio.run(service.search(SearchBody(query="capital of france", top_k=3)))
    assert set(found["milliseconds"]) == {"find", "order"}
    plain = asyncio.run(service.search(SearchBody(query="capital of france", top_k=3, rerank=False)))
    assert set(plain["milliseconds"]) == {"find"}
    document = asyncio.run(service.document(found["hits"][0]["id"]))
    assert document["content"] == found["hits"][0]["content"]
    service.close()
