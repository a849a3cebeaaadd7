"""Malformed requests to a server: mutated shapes, huge numbers, deep JSON, broken encodings. None may be the server's fault."""

import json
import random
from typing import Any

import httpx
from rerank_servers import KEY

from rerank_plugin.serving.dialects.routes import ROUTES
from rerank_plugin.serving.info_endpoints import TOKENIZE_EXAMPLE

PATHS = {**{path: [dict(d.example) for d in dialects] for path, dialects in ROUTES.items()}, "/tokenize": [TOKENIZE_EXAMPLE]}
SERVER_ERROR = 500

ODD_TEXTS = [
    "",
    " ",
    "\x00",
    "a\x00b",
    "\u202e",
    "😀" * 50,
    "é" * 3000,
    "x" * 9000,
    "NaN",
    "null",
    "-1",
    "[]",
    "\r\n\r\nGET / HTTP/1.1",
]
ODD_VALUES: list[Any] = [
    *ODD_TEXTS,
    *[None, True, False, 0, -1, 1, 2**31, 2**63, -(2**64), 10**400, 1e308, -1e308, 0.5, 1e-320],
    *[[], {}, [[]], [{}], [None], {"text": None}, {"text": []}, {"": ""}, ["a", 5], ["a", ["b"]], {"a": {"b": {"c": 1}}}],
    *[["a"] * 60, [{"text": "a"}] * 3, [{"image": "x"}], list(range(9))],
]
KEYS = sorted(
    {key for examples in PATHS.values() for example in examples for key in example}
    | set("top_k truncation raw_scores rank_fields input property texts max_tokens_per_doc truncate_prompt_tokens".split())
    | set("return_documents max_chunks_per_doc time_budget_ms priority relevant_spans parameters task_settings".split())
)


def request_of(chance: random.Random) -> tuple[str, str, bytes, dict[str, str]]:
    """Return method, path, body and headers of a request that may be wrong in several ways."""
    path = chance.choice([*PATHS, "/search", "/documents/x", "/nothing"])
    body = dict(chance.choice(PATHS.get(path, [{"query": "fox"}])))
    for _ in range(chance.randint(0, 3)):
        _mutate(body, chance)
    # Duplicates, lone surrogates, and numbers that are none are valid for Python's own writer.
    text = json.dumps(body, ensure_ascii=chance.random() < 0.5)
    raw = _broken(text, chance) if chance.random() < 0.4 else text.encode("utf-8", "surrogatepass")
    headers = {"Authorization": f"Bearer {KEY}", "Content-Type": chance.choice(["application/json", "text/plain", "x", ""])}
    if chance.random() < 0.1:
        headers |= chance.choice(
            [{"Content-Encoding": "gzip"}, {"X-Request-Id": "é" * 100}, {"Expect": "nonsense"}, {"Cookie": "x" * 3000}]
        )
    method = "POST" if chance.random() < 0.95 else chance.choice(["GET", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS"])
    return method, path, raw, headers


def _mutate(body: dict[str, Any], chance: random.Random) -> None:
    kind = chance.random()
    if kind < 0.2 and body:
        del body[chance.choice(list(body))]
    elif kind < 0.7:
        body[chance.choice(KEYS)] = chance.choice(ODD_VALUES)
    elif kind < 0.8:
        body[chance.choice(KEYS)] = chance.choice(["\ud800", ["\udfff"], float("nan"), float("inf")])
    elif body:
        key = chance.choice(list(body))
        body[key] = [body[key]] if chance.random() < 0.5 else {key: body[key]}


def _broken(text: str, chance: random.Random) -> bytes:
    kind = chance.randrange(9)
    if kind == 0:
        return text[: chance.randint(0, len(text))].encode("utf-8", "surrogatepass")
    if kind == 1:
        depth = chance.choice([50, 500, 5_000, 50_000])
        return ('{"query": ' + "[" * depth + "]" * depth + "}").encode()
    if kind == 2:
        depth = chance.choice([50, 500, 5_000])
        return ('{"documents": ["a"], "query": "fox", "x": ' + '{"a":' * depth + "1" + "}" * depth + "}").encode()
    if kind == 3:
        return text.encode(chance.choice(["utf-16", "utf-32", "utf-7"]), "replace")
    if kind == 4:
        return text.encode("utf-8", "surrogatepass").replace(
            b"a", chance.choice([b"\xff", b"\xc3", b"\xed\xa0\x80", b"\x00"])
        )
    if kind == 5:
        return b'{"query": "fox", "documents": ["a"], "top_n": ' + b"9" * chance.choice([30, 400, 5_000]) + b"}"
    if kind == 6:
        return chance.choice([b"", b" ", b"null", b"5", b'"text"', b"[]", b"[{}]", b"{}", b"\xef\xbb\xbf{}"])
    if kind == 7:
        return text.encode("utf-8", "surrogatepass") + chance.choice([b"}", b"{}", b"\x00", b" x"])
    return bytes(chance.randrange(256) for _ in range(chance.randint(1, 200)))


def faults_of(client: httpx.Client, seed: int) -> list[str]:
    """Send a request, and return what is wrong with the answer."""
    method, path, body, headers = request_of(random.Random(f"malformed {seed}"))
    encoded = [(name.encode(), value.encode()) for name, value in headers.items()]
    try:
        answer = client.request(method, path, content=body, headers=encoded)
    except httpx.HTTPError as error:
        return [f"no answer: {type(error).__name__}: {error}"]
    faults = []
    if answer.status_code >= SERVER_ERROR or answer.status_code == 424:
        faults.append(f"{method} {path} {body[:300]!r}: {answer.status_code} {answer.text[:300]}")
    if "Traceback" in answer.text or 'File "' in answer.text:
        faults.append(f"a traceback: {answer.text[:300]}")
    if method != "HEAD":
        try:
            answer.json()
        except ValueError:
            # What is not HTTP at all is answered by uvicorn, which has one line of text for it.
            if answer.status_code != 400:
                faults.append(f"{method} {path} {answer.status_code}: not JSON: {answer.text[:300]!r}")
    return faults
