"""Requests that can never be answered."""

from __future__ import annotations

from typing import Any

import openai
import pytest

from tests.integration.conftest import Front
from tests.integration.front.asking import NVIDIA_ID, OFF, Got, ask_all, user

HARMLESS = {
    "user": "u",
    "metadata": {"a": "b"},
    "store": True,
    "service_tier": "auto",
    "prompt_cache_key": "k",
    "verbosity": "low",
}
IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}
LONG = user("a" * 200_000)
BODIES: dict[str, dict[str, Any]] = {
    **{name: {**user("Hi"), **OFF, "max_tokens": 1, name: value} for name, value in HARMLESS.items()},
    "hot": {**user("Hi"), "temperature": "hot"},
    "foo": {**user("Hi"), "foo": 1},
    "image": {"messages": [{"role": "user", "content": [{"type": "text", "text": "a"}, IMAGE]}]},
    "long": LONG,
    "long streamed": {**LONG, "stream": True},
    "too many": {**user("Hi"), "max_completion_tokens": 10_000_000},
    "guided": {**user("Hi"), "guided_choice": ["a"]},
    "last is the assistant's": {"messages": [{"role": "assistant", "content": "Hi"}]},
}
REFUSED = [
    ("hot", "temperature", "invalid_value"),
    ("foo", "foo", "unknown_parameter"),
    ("image", "messages[0].content[1]", "unsupported_parameter"),
    ("long", "messages", "context_length_exceeded"),
    ("long streamed", "messages", "context_length_exceeded"),
    ("too many", "max_completion_tokens", "context_length_exceeded"),
    ("guided", "guided_choice", "invalid_value"),  # the simulated engine has no grammars
    ("last is the assistant's", "messages", "invalid_value"),
]


@pytest.fixture(scope="module")
def asked(front: Front) -> dict[str, Got]:
    return ask_all(front, BODIES)


@pytest.mark.parametrize("name", HARMLESS)
def test_what_cannot_change_the_answer_is_taken(asked: dict[str, Got], name: str) -> None:
    assert asked[name].status == 200


@pytest.mark.parametrize(("name", "param", "code"), REFUSED)
def test_what_is_refused_says_why(asked: dict[str, Got], name: str, param: str, code: str) -> None:
    assert asked[name].status == 400
    error = asked[name].error
    assert error.keys() == {"message", "type", "param", "code"}
    assert (error["type"], error["param"], error["code"]) == ("invalid_request_error", param, code)
    assert ("maximum context length is" in error["message"]) is (code == "context_length_exceeded")


def test_openai_s_client_knows_the_field(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(model=NVIDIA_ID, messages=[{"role": "user", "content": "Hi"}], temperature=3)
    assert (caught.value.param, caught.value.code) == ("temperature", "invalid_value")
