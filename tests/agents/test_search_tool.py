"""The tools of an agent: a real index and pipeline, Haystack's own Agent; the language model alone is scripted."""

import asyncio
import json
import re

import pytest
from conftest import SENTENCES
from haystack import Document, Pipeline, component
from haystack.components.agents import Agent
from haystack.core.errors import PipelineRuntimeError
from haystack.dataclasses import ChatMessage, ToolCall
from haystack.tools import Tool
from jsonschema import Draft202012Validator

from rerank_plugin import HybridDocumentStore, fetch_tool, search_tool
from rerank_plugin.agents.filters import filters_schema, haystack_filters
from rerank_plugin.errors import InvalidValueError
from rerank_plugin.pipelines import read_pipeline


@pytest.fixture(scope="module")
def index(tmp_path_factory):
    folder = tmp_path_factory.mktemp("agents") / "index"
    store = HybridDocumentStore(folder)
    store.write_documents(
        [
            Document(
                id=f"d{number}",
                content=text,
                meta={
                    "title": f"Sentence {number}",
                    "source": f"book{number % 2}.pdf",
                    "page": number + 1,
                    "lang": "en" if number < 6 else "de",
                    "day": f"2026-05-0{number + 1}",
                },
            )
            for number, text in enumerate(SENTENCES)
        ]
    )
    store.close()
    return folder


@pytest.fixture(scope="module")
def pipeline(index, cross_encoder):
    """The dictionary of the pipeline, with the tiny model."""
    data = read_pipeline("bm25_rerank", index=index)
    data["components"]["ranker"]["init_parameters"]["model"] = str(cross_encoder)
    return data


@pytest.fixture(scope="module")
def tool(pipeline):
    tool = search_tool(pipeline, top_k=3)
    tool.warm_up()
    return tool


@component
class ScriptedChat:
    """A chat model that calls the tools it was told to, and then says what the script makes of their results."""

    def __init__(self, steps: list[list[dict]]):
        self.steps = steps

    def to_dict(self):
        return {"type": "test_search_tool.ScriptedChat", "init_parameters": {"steps": self.steps}}

    @component.output_types(replies=list[ChatMessage])
    def run(self, messages: list[ChatMessage], tools: list[Tool] | None = None, **kwargs) -> dict:
        done = sum(message.is_from("assistant") for message in messages)
        if done < len(self.steps):
            calls = [
                ToolCall(tool_name=c["tool"], arguments=c["arguments"], id=str(i)) for i, c in enumerate(self.steps[done])
            ]
            return {"replies": [ChatMessage.from_assistant(tool_calls=calls)]}
        results = [result.result for message in messages for result in message.tool_call_results]
        first = re.match(r"\[(\d+)\].*\n.*\n(.*)", results[-1])
        answer = f"{first[2]} [{first[1]}]" if first else f"It said: {results[-1]}"
        return {"replies": [ChatMessage.from_assistant(answer)]}


def call(tool, **arguments):
    return {"tool": tool, "arguments": arguments}


def test_an_agent_answers_with_the_tool_and_cites(tool):
    agent = Agent(
        chat_generator=ScriptedChat([[call("search", query="what is the capital of france")]]),
        tools=[tool],
        state_schema={"documents": {"type": list[Document]}},
    )
    result = agent.run(messages=[ChatMessage.from_user("What is the capital of France?")])
    answer = result["last_message"].text
    number = int(re.search(r"\[(\d+)\]$", answer)[1])
    cited = result["documents"][number - 1]
    assert answer == f"{cited.content} [{number}]"
    assert all(document.embedding is None for document in result["documents"])


def test_numbers_go_on_from_call_to_call_and_a_passage_keeps_its_own(tool, index):
    steps = [
        [call("search", query="capital of france", top_k=2), call("search", query="the red fox", top_k=2)],
        [call("fetch", id="d5"), call("search", query="capital of france", top_k=2)],
    ]
    agent = Agent(
        chat_generator=ScriptedChat(steps),
        tools=[tool, fetch_tool(tool)],
        state_schema={"documents": {"type": list[Document]}},
    )
    result = agent.run(messages=[ChatMessage.from_user("?")])
    texts = [r.result for message in result["messages"] for r in message.tool_call_results]
    numbered = [
        dict(zip(re.findall(r"\nid: (\S+)", t), re.findall(r"^\[(\d+)\] ", t, re.MULTILINE), strict=True))
        for t in texts
        if "id:" in t
    ]
    assert numbered[0] == numbered[2], "the same search again"
    everything = {document_id: int(n) for texts in numbered for document_id, n in texts.items()}
    documents = [document.id for document in result["documents"]]
    assert len(documents) == len(set(documents))
    assert all(documents[number - 1] == document_id for document_id, number in everything.items())
    fetched = next(t for t in texts if "id:" not in t)
    assert documents[int(re.match(r"\[(\d+)\]", fetched)[1]) - 1] == "d5"

    without_state = Agent(chat_generator=ScriptedChat(steps), tools=[tool, fetch_tool(tool)]).run(
        messages=[ChatMessage.from_user("?")]
    )
    assert [r.result for m in without_state["messages"] for r in m.tool_call_results] == texts


def test_what_a_model_reads_names_the_place_and_keeps_to_the_budget(pipeline):
    long = search_tool(pipeline, max_characters=400, top_k=8)
    text = long.invoke(query="sea, river, sky, moon, fox, coffee, library")["text"]
    assert re.match(r"\[1\] Sentence \d, book\d.pdf, page \d\nid: d\d\n", text)
    assert len(text) < 700
    assert re.search(r"\(\d further hits have no room here", text)
    assert long.invoke(query="zebra", filters=[{"field": "lang", "operator": "==", "value": "de"}])["documents"] == []


def test_the_schema_has_the_fields_of_the_index(tool):
    schema = tool.parameters["properties"]["filters"]
    Draft202012Validator.check_schema(tool.parameters)
    by_name = {item["properties"]["field"]["const"]: item["properties"] for item in schema["items"]["anyOf"]}
    assert set(by_name) == {"day", "lang", "page", "source", "title"}
    assert by_name["lang"]["value"]["anyOf"][0]["enum"] == ["de", "en"]
    assert ">=" in by_name["page"]["operator"]["enum"]
    assert ">=" in by_name["day"]["operator"]["enum"]
    assert ">=" not in by_name["lang"]["operator"]["enum"]
    assert json.dumps(tool.tool_spec)


@pytest.mark.parametrize(
    ("conditions", "ids"),
    [
        ([{"field": "lang", "operator": "==", "value": "de"}], {"d6", "d7"}),
        (
            [{"field": "page", "operator": ">", "value": 7}, {"field": "lang", "operator": "in", "value": ["de", "en"]}],
            {"d7"},
        ),
        ([{"field": "day", "operator": "<", "value": "2026-05-02"}], {"d0"}),
        ({"field": "meta.page", "operator": "==", "value": 2}, {"d1"}),
    ],
)
def test_filters_reach_the_index(tool, conditions, ids):
    words = "paris berlin fox sky coffee moon library river"
    assert {document.id for document in tool.invoke(query=words, filters=conditions, top_k=8)["documents"]} == ids


@pytest.mark.parametrize(
    ("conditions", "message"),
    [
        ([{"field": "colour", "operator": "==", "value": 1}], r"no field 'colour': choose one of \['day', 'lang'"),
        ([{"field": "lang", "operator": "like", "value": 1}], "unknown operator 'like'"),
        ([{"field": "lang", "operator": "in", "value": "de"}], "needs a list of values"),
        ([{"field": "lang"}], "condition 1 must have field, operator and value"),
        ("lang = de", "must be a list of conditions"),
    ],
)
def test_wrong_filters_are_explained_to_the_model(tool, conditions, message):
    with pytest.raises(InvalidValueError, match=message):
        haystack_filters(conditions, tool._component.opened.fields)
    if isinstance(conditions, list):
        agent = Agent(chat_generator=ScriptedChat([[call("search", query="fox", filters=conditions)]]), tools=[tool])
        assert "filters: condition 1" in agent.run(messages=[ChatMessage.from_user("?")])["last_message"].text


def test_filters_of_the_tool_hold_whatever_the_model_asks_for(pipeline):
    german = search_tool(pipeline, filters={"field": "meta.lang", "operator": "==", "value": "de"})
    assert {d.id for d in german.invoke(query="library river the fox")["documents"]} == {"d6", "d7"}
    asked = [{"field": "lang", "operator": "==", "value": "en"}]
    assert german.invoke(query="library river the fox", filters=asked)["documents"] == []


def test_without_the_second_stage_it_is_the_first(tool):
    plain = tool.invoke(query="the capital and the sea", rerank=False)
    assert plain["status"] is None
    assert "first_stage_rank" not in plain["documents"][0].meta
    assert tool.invoke(query="the capital and the sea")["status"]["state"] == "complete"


async def test_a_cancelled_call_stops_the_scoring(tool):
    from rerank_plugin.scoring.limits import ScoringStoppedError, stoppable

    with stoppable(lambda: True), pytest.raises(PipelineRuntimeError) as stopped:
        tool._component.run(query="the capital and the sea of an uncached kind")
    causes = [stopped.value]
    while causes[-1].__cause__ is not None:
        causes.append(causes[-1].__cause__)
    assert any(isinstance(cause, ScoringStoppedError) for cause in causes)
    answer = await asyncio.gather(*(tool._component.run_async(query="the river") for _ in range(3)))
    assert len({each["text"] for each in answer}) == 1


def test_a_long_document_is_fetched_in_parts(pipeline, index):
    tool = fetch_tool(pipeline, max_characters=10)
    first = tool.invoke(id="d2")
    assert first["text"].endswith("\n(characters 0 to 10 of 35; the rest: start=10)")
    assert tool.invoke(id="d2", start=30)["text"].endswith("\n dog.\n(characters 30 to 35 of 35)")
    with pytest.raises(Exception, match="there is no document 'd99': pass an id from the result of a search"):
        tool.invoke(id="d99")


def test_an_agent_with_the_tools_is_saved_in_yaml_and_answers_the_same(tool, pipeline, tmp_path):
    agent = Agent(chat_generator=ScriptedChat([[call("search", query="capital of france")]]), tools=[tool, fetch_tool(tool)])
    whole = Pipeline()
    whole.add_component("agent", agent)
    text = whole.dumps()
    assert "anyOf" not in text, "the schema is made anew"
    from haystack.core.serialization_security import allow_deserialization_module

    allow_deserialization_module("test_search_tool")
    loaded = Pipeline.loads(text)
    question = {"agent": {"messages": [ChatMessage.from_user("?")]}}
    assert loaded.run(question)["agent"]["last_message"].text == whole.run(question)["agent"]["last_message"].text
    assert loaded.get_component("agent").tools[0].parameters == tool.parameters


def test_a_pipeline_in_python_and_another_store_do_as_well():
    from haystack.components.retrievers.in_memory import InMemoryBM25Retriever
    from haystack.document_stores.in_memory import InMemoryDocumentStore

    store = InMemoryDocumentStore()
    store.write_documents([Document(id=str(n), content=text, meta={"n": n}) for n, text in enumerate(SENTENCES)])
    own = Pipeline()
    own.add_component("bm25_retriever", InMemoryBM25Retriever(store))
    tool = search_tool(own, name="find", description="Finds sentences.")
    assert tool.invoke(query="red fox")["documents"][0].id == "2"
    assert fetch_tool(tool).invoke(id="2")["text"].startswith("[1] 2\nThe red fox")


def test_a_schema_of_many_fields_says_what_it_leaves_out():
    from rerank_plugin.agents.filters import Field

    schema = filters_schema([Field(f"f{number:02}", "int") for number in range(25)])
    assert len(schema["items"]["anyOf"]) == 21
    assert "Further fields: f20, f21, f22, f23, f24." in schema["description"]
    assert "anyOf" not in filters_schema([])["items"]
