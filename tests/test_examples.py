"""Every example runs and gives the right answer."""

import json
import re
import runpy
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parent.parent / "examples"
TESTED = {
    "own_documents": ["bins.txt: Paper is collected every second Monday, glass on the first Friday of the month."],
    "another_store": ["Berlin has 3.7 million inhabitants. (rank 2 before)"],
    "swap_the_stock_ranker": [],
    "rag_with_citations": [],
    "evaluate_and_choose": ["take bm25_rerank"],
    "train_on_own_judgements": [
        "before: The calendar shows the wrong time zone for some users after they have travelled.",
        "after: Open the settings, choose Region, and select your city; meetings move to the local hour.",
    ],
    "choose_a_threshold": [
        "how do I descale a coffee machine: ['Descaling a coffee machine']",
        "who won the football match yesterday: []",
    ],
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """The current folder of all examples: those that index the sample corpus share its index."""
    return tmp_path_factory.mktemp("examples")


@pytest.fixture
def example(folder, monkeypatch, capsys):
    def run(name: str) -> list[str]:
        monkeypatch.chdir(folder)
        runpy.run_path(str(EXAMPLES / f"{name}.py"), run_name="__main__")
        return [line for line in capsys.readouterr().out.splitlines() if line]

    return run


def test_every_example_is_tested_and_shown_in_the_docs(repository):
    names = {path.stem for path in EXAMPLES.glob("*.py")}
    assert names == set(TESTED)
    assert len(names) >= 6
    page = (repository / "docs" / "examples.md").read_text(encoding="utf-8")
    assert set(re.findall(r'--8<-- "examples/(\w+)\.py"', page)) == names


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name, answer in TESTED.items() if answer])
@pytest.mark.filterwarnings("default")  # of the libraries that load models
def test_u1_the_answer_is_right(name, example):
    printed = example(name)
    assert [line for line in TESTED[name] if line not in printed] == []


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
def test_both_rankers_give_the_same_order(example):
    printed = example("swap_the_stock_ranker")
    before, after = printed[1 : printed.index("after")], printed[printed.index("after") + 1 :]
    assert before[0].strip() == "Berlin has 3.7 million inhabitants."
    assert after == before
    assert len(after) == 3


class ExtractiveModel(BaseHTTPRequestHandler):
    """A server that speaks OpenAI's chat protocol; its answer is the sentence of the passages that shares most words."""

    def do_POST(self) -> None:
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        content = request["messages"][-1]["content"]
        prompt = content if isinstance(content, str) else "".join(part["text"] for part in content)
        passages, _, question = prompt.rpartition("Question: ")
        wanted = {"slow", "noisy", "slowly", "machine"} | set(re.findall(r"\w+", question.lower()))
        sentences = [
            (len(wanted & set(re.findall(r"\w+", sentence.lower()))), -int(number), sentence)
            for number, text in re.findall(r"^\[(\d+)\] (.*?)(?=^\[\d+\]|\Z)", passages, flags=re.MULTILINE | re.DOTALL)
            for sentence in re.findall(r"[^.\n]+\.", text)
        ]
        _, number, sentence = max(sentences)
        message = {"role": "assistant", "content": f"{sentence.strip()} [{-number}]"}
        choices = [{"index": 0, "message": message, "finish_reason": "stop"}]
        usage = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
        answer = {"id": "1", "object": "chat.completion", "created": 0, "model": request["model"], "choices": choices}
        body = json.dumps(answer | {"usage": usage}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def language_model(monkeypatch) -> Iterator[None]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), ExtractiveModel)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    monkeypatch.setenv("OPENAI_BASE_URL", f"http://127.0.0.1:{server.server_port}/v1")
    yield
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
def test_the_answer_cites_the_passage_that_it_comes_from(example, language_model):
    answer, *sources = example("rag_with_citations")
    assert "heats slowly, gets noisy" in answer
    assert [source.partition("] ")[2] for source in sources] == ["Descaling a coffee machine"]
