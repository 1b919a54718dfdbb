"""Streams: the rules that real clients rely on."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest

from tests.integration.conftest import Front
from tests.integration.front.asking import OFF, ON, USAGE, WEATHER, Got, ask_all, user

SCRIPTS: dict[str, dict[str, Any]] = {
    "think": {**user("[sim:think]"), **ON},
    "call": {**user("[sim:think-tool]"), **ON, "tools": [WEATHER]},
    "unicode": {**user("[sim:unicode]"), **OFF},
}
BODIES = {
    **SCRIPTS,
    **{f"{name} streamed": {**body, **USAGE} for name, body in SCRIPTS.items()},
    "uncounted": {**SCRIPTS["think"], "stream": True},
    "continuous": {**SCRIPTS["think"], "stream": True, "stream_options": {"continuous_usage_stats": True}},
    "refused": {**user("Hi"), "temperature": 9, "stream": True},
    "refused by the server": {**user(""), "stream": True},
    "probable": {**user("[sim:random]"), **OFF, "max_tokens": 8, "seed": 3, "logprobs": True},
    "probable streamed": {**user("[sim:random]"), **OFF, "max_tokens": 8, "seed": 3, "logprobs": True, "stream": True},
}
NAMES = list(SCRIPTS)


@pytest.fixture(scope="module")
def asked(front: Front) -> dict[str, Got]:
    return ask_all(front, BODIES)


def _arguments(parts: list[dict[str, Any]], index: int) -> str:
    """Of one call in a stream."""
    return "".join(part["function"].get("arguments", "") for part in parts if part["index"] == index)


@pytest.mark.parametrize("name", NAMES)
def test_streamed_is_what_is_not_streamed(asked: dict[str, Got], name: str) -> None:
    whole, streamed = asked[name], asked[f"{name} streamed"]
    for key in ("content", "reasoning", "reasoning_content"):
        assert streamed.joined(key) == whole.message.get(key, "")
    arguments = [call["function"]["arguments"] for call in whole.message.get("tool_calls", ())]
    deltas = [choice["delta"] for chunk in streamed.chunks for choice in chunk["choices"]]
    parts = [part for delta in deltas for part in delta.get("tool_calls", ())]
    assert [_arguments(parts, index) for index in range(len(arguments))] == arguments
    assert bool(parts) == (name == "call")
    assert streamed.chunks[-1]["usage"] == whole.usage
    assert streamed.chunks[-2]["choices"][0]["finish_reason"] == whole.choice["finish_reason"]


@pytest.mark.parametrize("name", NAMES)
def test_the_role_is_in_the_first_chunk_alone(asked: dict[str, Got], name: str) -> None:
    first, *others, _ = asked[f"{name} streamed"].chunks
    assert first["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    assert not any("role" in chunk["choices"][0]["delta"] for chunk in others)


@pytest.mark.parametrize("name", NAMES)
def test_one_chunk_ends_the_choice_and_only_the_counts_follow(asked: dict[str, Got], name: str) -> None:
    *others, end, usage = asked[f"{name} streamed"].chunks
    assert end["choices"][0]["delta"] == {}
    assert end["choices"][0]["finish_reason"]
    assert {chunk["choices"][0]["finish_reason"] for chunk in others} == {None}
    assert {str(chunk["usage"]) for chunk in (*others, end)} == {"None"}
    assert usage["choices"] == []


@pytest.mark.parametrize("name", NAMES)
def test_all_chunks_are_of_one_answer(asked: dict[str, Got], name: str) -> None:
    chunks = asked[f"{name} streamed"].chunks
    assert len({(chunk["id"], chunk["created"], chunk["model"], chunk["object"]) for chunk in chunks}) == 1


@pytest.mark.parametrize("name", NAMES)
def test_a_delta_has_one_kind_of_text_and_whole_characters(asked: dict[str, Got], name: str) -> None:
    for chunk in asked[f"{name} streamed"].chunks[1:-2]:
        delta = chunk["choices"][0]["delta"]
        assert delta.keys() in ({"content"}, {"reasoning", "reasoning_content"}, {"tool_calls"})
        assert "\ufffd" not in str(delta)


def test_counts_come_only_when_asked_for(asked: dict[str, Got]) -> None:
    assert "usage" not in asked["uncounted"].text
    assert asked["uncounted"].chunks[-1]["choices"]


def test_continuous_counts_never_fall_and_end_at_the_total(asked: dict[str, Got]) -> None:
    counts = [chunk["usage"]["completion_tokens"] for chunk in asked["continuous"].chunks if chunk.get("usage")]
    assert all(before <= after for before, after in pairwise(counts))
    assert counts[-1] == asked["think"].usage["completion_tokens"]


@pytest.mark.parametrize("name", ["refused", "refused by the server"])
def test_what_is_refused_has_a_status_of_its_own(asked: dict[str, Got], name: str) -> None:
    assert asked[name].status == 400
    assert asked[name].headers["content-type"] == "application/json"


def test_log_probabilities_are_streamed_with_their_text(asked: dict[str, Got]) -> None:
    whole = asked["probable"].choice["logprobs"]["content"]
    assert len(whole) == 8
    choices = [chunk["choices"][0] for chunk in asked["probable streamed"].chunks]
    assert [entry for choice in choices if "logprobs" in choice for entry in choice["logprobs"]["content"]] == whole
