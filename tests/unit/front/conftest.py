"""A front in this process before a script in place of servers: no sockets, some milliseconds a test."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import httpx2
import openai
import pytest
from starlette.testclient import TestClient

from nemotron_client import AsyncClient
from nemotron_client.testing import AsyncMockTransport
from nemotron_front.app import make_app
from nemotron_front.options import FrontOptions
from tests.unit.front import folded

MODEL = {
    "name": "nano",
    "package": "nano-fp8",
    "engine": "simulated",
    "device": "cpu",
    "precision": "fp8",
    "chat_format": "nemotron",
    "thinking": "false",
    "max_tokens": "256",
    "max_seq_len": "4096",
    "max_batch_size": "8",
    "max_waiting": "8",
}
"""What the server says of the model it serves, as in `ModelInfo`."""


class DescribedTransport(AsyncMockTransport):
    """A script that also says which model it plays."""

    def __init__(self, replies: Any, model: Mapping[str, str]) -> None:
        super().__init__(replies)
        self.model = dict(model)

    async def metadata(self, headers: Mapping[str, str], timeout_s: float) -> dict[str, Any]:
        return {**await super().metadata(headers, timeout_s), "parameters": self.model}


class InProcess:
    """A running front. Its event loop lives in a thread of its own.

    Attributes:
        app: The application.
        transport: What it sends its requests to.
        http: Asks it.
    """

    def __init__(self, replies: Any, model: Mapping[str, str], options: Mapping[str, Any]) -> None:
        self.transport = DescribedTransport(replies, model)
        client = AsyncClient(transport=self.transport, max_retries=0)
        self.app = make_app(FrontOptions(urls=(self.transport.url,), **options), client)
        self.http = TestClient(self.app, base_url="http://127.0.0.1", raise_server_exceptions=True)

    @classmethod
    def alone(cls, replies: Any = ()) -> InProcess:
        """One that is not running, for a test that makes many: `with front.http`."""
        return cls(replies, MODEL, {})

    def post(self, path: str, body: Any, **headers: str) -> httpx2.Response:
        """POST JSON, or bytes as they are."""
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        return self.http.post(path, content=content, headers=headers)

    def get(self, path: str, **headers: str) -> httpx2.Response:
        return self.http.get(path, headers=headers)

    def stream(self, path: str, body: Mapping[str, Any]) -> list[tuple[str, Any]]:
        """The events of a stream, see `folded`."""
        response = self.post(path, {**body, "stream": True})
        assert response.status_code == 200, response.text
        assert response.headers["content-type"] == "text/event-stream; charset=utf-8"
        return folded.events_of(response.text)

    def openai(self) -> openai.OpenAI:
        """OpenAI's own client for it. Close it."""
        return openai.OpenAI(base_url="http://127.0.0.1/v1", api_key="none", http_client=self.http, max_retries=0)


FrontOf = Callable[..., InProcess]


@pytest.fixture
def front_of() -> Iterator[FrontOf]:
    """Makes fronts: of a script, with `model` in place of `MODEL`, and FrontOptions. They end with the test."""
    made: list[InProcess] = []

    def make(replies: Any = (), model: Mapping[str, str] = MODEL, **options: Any) -> InProcess:
        front = InProcess(replies, model, options)
        front.http.__enter__()
        made.append(front)
        return front

    yield make
    for front in made:
        front.http.__exit__()
