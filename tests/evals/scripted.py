"""An endpoint of OpenAI's API that plays a script and remembers what it was asked."""

from __future__ import annotations

import json
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

MODEL = "nemotron/nano"
PACKAGE = "scripted-package"


@dataclass
class Answer:
    """What is answered: text, thinking, calls; or a status that is an error."""

    content: str = ""
    reasoning: str = ""
    finish_reason: str = "stop"
    tokens: int = 7
    status: int = 200
    calls: list[tuple[str, str]] = field(default_factory=list)


Script = Callable[[dict[str, Any]], Answer]


class Server(ThreadingHTTPServer):
    """A server that says nothing of callers who have gone."""

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


class Scripted:
    """The endpoint: its URL, and the bodies of all questions but those that look whether it is there."""

    def __init__(self, script: Script, *, usage: bool, models: tuple[str, ...]) -> None:
        self.script, self.usage, self.models = script, usage, models
        self.root: str | None = None
        self.asked: list[dict[str, Any]] = []
        self.keys: set[str | None] = set()
        self.held, self.go_on = threading.Event(), threading.Event()
        endpoint = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_: object) -> None:
                """Say nothing."""

            def do_GET(self) -> None:
                data = [{"id": name, "object": "model", "root": endpoint.root} for name in endpoint.models]
                self._send(200, json.dumps({"object": "list", "data": data}).encode(), "application/json")

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["content-length"])) or b"null")
                if body is None:  # who asked has gone
                    return
                endpoint.keys.add(self.headers["authorization"])
                answer = endpoint.answer(body)
                if answer.status != 200:
                    error = {"error": {"message": answer.content, "type": "error", "code": answer.status}}
                    self._send(answer.status, json.dumps(error).encode(), "application/json")
                else:
                    self._send(200, "".join(endpoint.events(answer)).encode(), "text/event-stream")

            def _send(self, status: int, body: bytes, kind: str) -> None:
                self.send_response(status)
                self.send_header("content-type", kind)
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

        self.server = Server(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/v1"

    def answer(self, body: dict[str, Any]) -> Answer:
        if body["max_tokens"] == 1:
            return Answer("Hi")
        self.asked.append(body)
        return self.script(body)

    def events(self, answer: Answer) -> Iterator[str]:
        head = {
            "id": "1",
            "object": "chat.completion.chunk",
            "created": 1,
            "model": MODEL,
            "system_fingerprint": PACKAGE,
        }
        delta: dict[str, Any] = {"role": "assistant", "content": answer.content}
        if answer.reasoning:
            delta["reasoning_content"] = answer.reasoning
        if answer.calls:
            delta["tool_calls"] = [
                {"index": at, "id": f"c{at}", "type": "function", "function": {"name": name, "arguments": text}}
                for at, (name, text) in enumerate(answer.calls)
            ]
        chunks: list[dict[str, Any]] = [
            {"choices": [{"index": 0, "delta": delta, "finish_reason": None}]},
            {"choices": [{"index": 0, "delta": {}, "finish_reason": answer.finish_reason}]},
        ]
        if self.usage:
            total = answer.tokens + 3
            usage = {"prompt_tokens": 3, "completion_tokens": answer.tokens, "total_tokens": total}
            chunks.append({"choices": [], "usage": usage})
        for chunk in chunks:
            yield f"data: {json.dumps({**head, **chunk})}\n\n"
        yield "data: [DONE]\n\n"

    def times(self) -> Counter[tuple[str, str, int]]:
        """How often each question was asked, by thinking, text and seed."""
        return Counter((toggle(body), user(body), body["seed"]) for body in self.asked)


@contextmanager
def scripted(script: Script, *, usage: bool = True, models: tuple[str, ...] = (MODEL,)) -> Iterator[Scripted]:
    """Serve a script until the block ends."""
    endpoint = Scripted(script, usage=usage, models=models)
    thread = threading.Thread(target=endpoint.server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield endpoint
    finally:
        endpoint.go_on.set()
        endpoint.server.shutdown()
        endpoint.server.server_close()
        thread.join()


def user(body: dict[str, Any]) -> str:
    """The last text of the user."""
    return str(next(one["content"] for one in reversed(body["messages"]) if one["role"] == "user"))


def toggle(body: dict[str, Any]) -> str:
    """What the system's text says."""
    return str(body["messages"][0]["content"])
