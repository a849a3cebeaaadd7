"""A small server with OpenAI's chat protocol, which answers with given pieces of text."""

import json
from collections.abc import Iterator
from contextlib import contextmanager

from http_server import QuietHandler, served

PIECES = ["Limescale makes the kettle loud [1].", " It is blue", " [2]. Nobody knows more [99]. ", "This names nothing."]


@contextmanager
def chat_server(pieces=PIECES) -> Iterator[tuple[str, list[dict]]]:
    """Run the server; return its base address, and the requests that it has had, with their keys."""
    requests: list[dict] = []

    class Handler(QuietHandler):
        def do_POST(self):  # noqa: N802 - the name of the standard library
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            requests.append({**body, "key": self.headers.get("authorization")})
            self.send_response(200)
            self.send_header("content-type", "text/event-stream")
            self.end_headers()
            for piece in pieces:
                self.event({"delta": {"role": "assistant", "content": piece}, "finish_reason": None})
            self.event({"delta": {}, "finish_reason": "stop"})
            self.wfile.write(b"data: [DONE]\n\n")

        def event(self, choice):
            chunk = {"id": "1", "object": "chat.completion.chunk", "created": 1, "model": "small"}
            chunk["choices"] = [{"index": 0, **choice}]
            self.wfile.write(b"data: " + json.dumps(chunk).encode() + b"\n\n")
            self.wfile.flush()

    with served(Handler) as address:
        yield f"{address}/v1", requests
