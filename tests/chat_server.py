"""A small server with OpenAI's chat protocol, which answers with given pieces of text."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

PIECES = ["Limescale makes the kettle loud [1].", " It is blue", " [2]. Nobody knows more [99]. ", "This names nothing."]


@contextmanager
def chat_server(pieces=PIECES) -> Iterator[tuple[str, list[dict]]]:
    """Run the server; return its base address, and the requests that it has had, with their keys."""
    requests: list[dict] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
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

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/v1", requests
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
