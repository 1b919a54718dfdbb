"""The OpenAPI document: it tells of every path, and its bodies are those that are taken."""

from __future__ import annotations

from typing import Any

import pytest
from jsonschema import Draft202012Validator

from nemotron_client.testing import ScriptedReply
from tests.unit.front.conftest import FrontOf, InProcess

HI = [{"role": "user", "content": "Hi"}]
TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
BODIES: dict[str, list[dict[str, Any]]] = {
    "/v1/chat/completions": [
        {"messages": HI},
        {"messages": HI, "temperature": 1, "stop": "x", "n": None, "tools": [], "echo": False, "user": {"id": 3}},
        {"messages": HI, "tools": [TOOL], "tool_choice": "none", "thinking": {"type": "enabled", "budget_tokens": 9}},
        {"messages": HI, "thinking": False, "chat_template_kwargs": {"enable_thinking": True}, "seed": -1},
        {"messages": HI, "stream": True, "stream_options": {"include_usage": True}, "nvext": {"top_k": 5}},
    ],
    "/v1/completions": [{"prompt": "x"}, {"prompt": ["x", "y"], "logprobs": 0, "suffix": "", "max_tokens": 5.0}],
    "/v1/responses": [{"input": "x"}, {"input": HI, "text": {"format": {"type": "text"}}, "store": False, "top_k": 3}],
    "/v1/messages": [{"messages": HI}, {"messages": HI, "max_tokens": 5, "thinking": {"type": "disabled"}}],
    "/tokenize": [{"prompt": "x"}, {"messages": HI, "tools": [TOOL]}],
    "/v1/messages/count_tokens": [{"messages": HI, "system": "x"}],
}
REFUSED: dict[str, list[dict[str, Any]]] = {
    "/v1/chat/completions": [
        {"messages": HI, "foo": 1},
        {"messages": HI, "temperature": "hot"},
        {"messages": HI, "temperature": 9},
        {"messages": HI, "echo": True},
        {"messages": HI, "functions": [TOOL]},
        {"messages": HI, "reasoning_effort": "huge"},
        {"messages": HI, "thinking": {"type": "perhaps"}},
        {"messages": HI, "nvext": {"foo": 1}},
    ],
    "/v1/completions": [{"prompt": 3}, {"prompt": "x", "suffix": "y"}, {"prompt": "x", "logprobs": True}],
    "/v1/responses": [{"input": 3}, {"input": "x", "max_tokens": 5}, {"input": "x", "background": True}],
    "/v1/messages": [{"messages": "x"}, {"messages": HI, "n": 2}],
    "/detokenize": [{"tokens": "x"}],
}


def document(front: InProcess) -> dict[str, Any]:
    found: dict[str, Any] = front.get("/openapi.json").json()
    return found


def validator(told: dict[str, Any], path: str) -> Draft202012Validator:
    schema = told["paths"][path]["post"]["requestBody"]["content"]["application/json"]["schema"]
    Draft202012Validator.check_schema(schema)
    return Draft202012Validator(schema)


def test_it_tells_of_every_path(front_of: FrontOf) -> None:
    told = document(front_of())
    assert told["openapi"].startswith("3.1")
    assert told["info"].keys() == {"title", "version"}
    for path, operations in told["paths"].items():
        assert path.startswith("/")
        for operation in operations.values():
            assert operation["responses"]["200"]["description"]
            parameters = [parameter["name"] for parameter in operation.get("parameters", ())]
            assert [f"{{{name}}}" in path for name in parameters] == [True] * path.count("{")
    for path in ("/v1/models", "/v1/models/{name}", "/health", "/openapi.json", *BODIES):
        assert path in told["paths"]


@pytest.mark.parametrize("path", BODIES)
def test_what_fits_is_taken(front_of: FrontOf, path: str) -> None:
    front = front_of(ScriptedReply("Hi", times=None))
    for body in BODIES[path]:
        assert list(validator(document(front), path).iter_errors(body)) == []
        assert front.post(path, body).status_code == 200, body


@pytest.mark.parametrize("path", REFUSED)
def test_what_does_not_fit_is_refused(front_of: FrontOf, path: str) -> None:
    front = front_of(ScriptedReply("Hi", times=None))
    for body in REFUSED[path]:
        assert not validator(document(front), path).is_valid(body), body
        assert front.post(path, body).status_code == 400, body


def test_errors_are_as_they_are_told(front_of: FrontOf) -> None:
    front = front_of()
    schema = document(front)["components"]["schemas"]["Error"]
    Draft202012Validator(schema).validate(front.get("/v1/nothing").json())
