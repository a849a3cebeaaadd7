"""What is too large, too slow or too much is cut off, and the next request is answered."""

import json
import socket
import threading
from contextlib import ExitStack
from urllib.parse import urlsplit

import httpx
import pytest
from rerank_servers import HASTY, KEY, LIMITS, FullEngine, running

from rerank_plugin.errors import OverloadedError
from rerank_plugin.serving.body import LARGEST_BODIES_HELD
from rerank_plugin.serving.problems import problem_of
from rerank_plugin.serving.settings import ServerSettings

HEAD = f"POST /rerank HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {KEY}\r\n"


@pytest.fixture(scope="module")
def hasty_url():
    """Address of a server that waits for no client."""
    with running({"tiny": FullEngine()}, settings=ServerSettings(port=0, limits=HASTY)) as address:
        yield address


def answer_to(url, *parts, wait=10):
    """Send bytes as they are, and return everything that comes back until the server closes the connection."""
    address = urlsplit(url)
    with socket.create_connection((address.hostname, address.port), timeout=wait) as connection:
        for part in parts:
            connection.sendall(part.encode() if isinstance(part, str) else part)
        received = b""
        while more := connection.recv(65_536):
            received += more
    return received.decode("latin-1")


def test_a_body_is_not_read_beyond_the_limit_whether_or_not_it_says_its_length(url, http):
    # In one piece: the connection is closed at once, and what came after that would take the answer with it.
    declared = answer_to(url, HEAD + f"Content-Length: {10**15}\r\n\r\n{{")
    assert declared.startswith("HTTP/1.1 413")
    assert "larger than 200000 bytes" in declared
    chunk = f"{100_000:x}\r\n{'x' * 100_000}\r\n"
    chunked = answer_to(url, HEAD + "Transfer-Encoding: chunked\r\n\r\n", chunk, chunk, chunk, "0\r\n\r\n")
    assert chunked.startswith("HTTP/1.1 413")
    assert http.post("/rerank", json={"query": "fox", "texts": ["a"]}).status_code == 200


@pytest.mark.slow
def test_a_body_that_does_not_come_is_cut_off(hasty_url):
    answer = answer_to(hasty_url, HEAD + "Content-Length: 100\r\n\r\n", '{"query": ')
    assert answer.startswith("HTTP/1.1 408")
    assert "within 0.6 seconds" in answer


@pytest.mark.slow
@pytest.mark.parametrize("beginning", ["", "POST /rer", HEAD])
def test_a_head_that_does_not_come_is_cut_off(hasty_url, beginning):
    assert not answer_to(hasty_url, beginning)


@pytest.mark.slow
def test_the_second_head_of_a_connection_has_the_same_limit(hasty_url):
    address = urlsplit(hasty_url)
    with socket.create_connection((address.hostname, address.port), timeout=3) as connection:
        connection.sendall(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
        received = b""
        while not received.endswith(b"}"):
            received += connection.recv(65_536)
        connection.sendall(b"POST /rer")
        assert connection.recv(1) == b""  # sooner than uvicorn closes idle connections, which is after five seconds


@pytest.mark.slow
def test_a_head_that_comes_byte_by_byte_is_cut_off(hasty_url):
    address = urlsplit(hasty_url)
    stop = threading.Event()
    with socket.create_connection((address.hostname, address.port), timeout=10) as connection:

        def drip():
            connection.sendall(HEAD.encode() + b"X-Slow: ")
            while not stop.wait(0.05):
                try:
                    connection.sendall(b"x")
                except OSError:
                    return

        thread = threading.Thread(target=drip)
        thread.start()
        try:
            assert connection.recv(1) == b""
        except ConnectionResetError:
            pass
        finally:
            stop.set()
            thread.join()


def test_too_many_documents(http):
    answer = http.post("/rerank", json={"query": "fox", "texts": ["a"] * (LIMITS.documents + 1)})
    assert answer.status_code == 422
    assert answer.json()["error"] == (
        "there are 51 documents, and this server takes 50 at once: send them in several requests"
    )


@pytest.mark.parametrize(("texts", "message"), [(["fox " * 2001], "text 0 has 2001 tokens"), (["fox " * 1900] * 6, "11400")])
def test_too_many_tokens(http, texts, message):
    answer = http.post("/v1/rerank", json={"query": "fox", "documents": texts})
    assert answer.status_code == 400
    assert message in answer.json()["detail"]


def test_nothing_to_rank_and_nothing_asked(http):
    assert http.post("/rerank", json={"query": "fox", "texts": []}).json()["error_type"] == "Empty"
    assert http.post("/v2/rerank", json={"query": "fox", "documents": []}).status_code == 400
    assert "query" in http.post("/v2/rerank", json={"query": "  ", "documents": ["a"]}).json()["message"]


def test_tokenize_has_limits_of_its_own(http):
    for inputs in ("x" * 2001, ["x"] * 51):
        answer = http.post("/tokenize", json={"inputs": inputs})
        assert (answer.status_code, answer.json()["error_type"]) == (422, "Validation")
    assert http.post("/tokenize", json={"inputs": []}).status_code == 400


def held_bytes(http):
    (line,) = [line for line in http.get("/metrics").text.splitlines() if line.startswith("rerank_held_body_bytes ")]
    return float(line.split()[1])


def test_what_all_requests_hold_is_bounded(url, http):
    """Clients that send all of a large body but its end, at the same time."""
    address = urlsplit(url)
    size = LIMITS.body_bytes
    with ExitStack() as stack:
        for _ in range(LARGEST_BODIES_HELD):
            connection = stack.enter_context(socket.create_connection((address.hostname, address.port), timeout=10))
            connection.sendall(f"{HEAD}Content-Length: {size}\r\n\r\n".encode() + b" " * (size - 1))
        body = {"query": "fox", "texts": ["fox"], "more": "x" * 60_000}
        while held_bytes(http) < LARGEST_BODIES_HELD * (size - 1):
            pass
        answer = http.post("/rerank", json=body)
        assert answer.status_code == 429
        assert answer.headers["retry-after"] == "1"
    while http.post("/rerank", json=body).status_code == 429:  # until it is noticed that they have left
        pass


def rejected(url):
    metrics = httpx.get(f"{url}/metrics", headers={"Api-Key": KEY}).text.splitlines()
    (line,) = [line for line in metrics if line.startswith("rerank_rejected_total ")]
    return float(line.split()[1])


def test_an_overload_says_when_to_come_back(full_url):
    before = rejected(full_url)
    for path, body in (
        ("/rerank", {"query": "fox", "texts": ["a"]}),
        ("/v2/rerank", {"query": "fox", "documents": ["a"]}),
        ("/score", {"text_1": "a", "text_2": "b"}),
        ("/tokenize", {"inputs": "a"}),
    ):
        answer = httpx.post(full_url + path, json=body, headers={"Api-Key": KEY})
        assert (answer.status_code, answer.headers["retry-after"]) == (429, "1")
    assert rejected(full_url) == before + 4


def test_the_time_to_wait_is_in_the_header():
    assert problem_of(OverloadedError("3 requests are waiting already", retry_after=2.1)).headers == {"retry-after": "3"}


def test_the_page_of_another_origin_may_not_call_the_server(url):
    ask = {"Origin": "https://evil.example", "Access-Control-Request-Method": "POST"}
    assert "access-control-allow-origin" not in httpx.options(f"{url}/rerank", headers=ask).headers
    answer = httpx.options(f"{url}/rerank", headers=ask | {"Origin": "https://app.example.org"})
    assert answer.headers["access-control-allow-origin"] == "https://app.example.org"


def test_what_there_is_not(http):
    assert http.get("/nothing").status_code == 404
    assert http.get("/rerank").headers["allow"] == "POST"
    assert http.post("/search", content=json.dumps({"query": "fox"})).status_code == 404
