"""Chat completions over plain HTTP, many at once: what depends on nothing else takes no time of its own."""

from __future__ import annotations

import json
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from tests.integration.conftest import Front

PATH = "/v1/chat/completions"
NVIDIA_ID = "nvidia/llama-3.1-nemotron-nano-8b-v1"
ON = {"chat_template_kwargs": {"enable_thinking": True}}
OFF = {"chat_template_kwargs": {"enable_thinking": False}}
USAGE = {"stream": True, "stream_options": {"include_usage": True}}
WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather in a city.",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string", "maxLength": 12}},
            "required": ["city"],
            "additionalProperties": False,
        },
    },
}


@dataclass(frozen=True)
class Got:
    """What came back for a request."""

    status: int
    headers: Mapping[str, str]
    text: str

    @property
    def json(self) -> Any:
        return json.loads(self.text)

    @property
    def choice(self) -> dict[str, Any]:
        """The first one of a whole answer."""
        assert self.status == 200, self.text
        found: dict[str, Any] = self.json["choices"][0]
        return found

    @property
    def message(self) -> dict[str, Any]:
        found: dict[str, Any] = self.choice["message"]
        return found

    @property
    def usage(self) -> dict[str, Any]:
        assert self.status == 200, self.text
        found: dict[str, Any] = self.json["usage"]
        return found

    @property
    def error(self) -> dict[str, Any]:
        found: dict[str, Any] = self.json["error"]
        return found

    @property
    def chunks(self) -> list[dict[str, Any]]:
        """Those of a stream, which has come to its end."""
        assert self.status == 200, self.text
        *events, done, nothing = self.text.split("\n\n")
        assert (done, nothing) == ("data: [DONE]", "")
        return [json.loads(event.removeprefix("data: ")) for event in events if not event.startswith(":")]

    def joined(self, key: str) -> str:
        """A text of a stream's only choice."""
        choices = [choice for chunk in self.chunks for choice in chunk["choices"]]
        return "".join(choice["delta"].get(key, "") for choice in choices)


def user(text: str) -> dict[str, Any]:
    """A conversation of one message."""
    return {"messages": [{"role": "user", "content": text}]}


def ask_all(front: Front, bodies: Mapping[str, Mapping[str, Any]]) -> dict[str, Got]:
    """Send each of these at the same time."""
    with ThreadPoolExecutor(len(bodies)) as pool:
        answers = pool.map(lambda body: Got(*front.post(PATH, dict(body))), bodies.values())
        return dict(zip(bodies, answers, strict=True))
