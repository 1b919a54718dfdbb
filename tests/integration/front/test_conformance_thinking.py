"""Switches and budgets of thinking, and what history does with it."""

from __future__ import annotations

from typing import Any

import openai
import pytest

from tests.integration.conftest import Front
from tests.integration.front.asking import NVIDIA_ID, OFF, ON, Got, ask_all, user

THINK = user("[sim:think]")
SYSTEM = {"role": "system", "content": "detailed thinking on"}
TOLD = {"messages": [SYSTEM, *THINK["messages"]]}


def history(**more: Any) -> dict[str, Any]:
    earlier = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello.", **more}]
    return {"messages": [*earlier, {"role": "user", "content": "And now?"}], **OFF, "max_tokens": 1}


BODIES: dict[str, dict[str, Any]] = {
    "on": {**THINK, **ON},
    "off": {**THINK, **OFF},
    "told on": TOLD,
    "told on, switched off": {**TOLD, **OFF},
    "effort none": {**THINK, "reasoning_effort": "none"},
    "effort low": {**THINK, "reasoning_effort": "low"},
    "effort low, one token": {**THINK, "reasoning_effort": "low", "max_tokens": 1},
    "nvext": {**THINK, **ON, "nvext": {"max_thinking_tokens": 16}},
    "vllm": {**THINK, **ON, "thinking_token_budget": 16},
    "anthropic": {**THINK, "thinking": {"type": "enabled", "budget_tokens": 16}},
    "openrouter": {**THINK, "reasoning": {"max_tokens": 16}},
    "budget without thinking": {**THINK, **OFF, "thinking_token_budget": 16},
    "hidden": {**THINK, **ON, "include_reasoning": False},
    "cut": {**THINK, **ON, "max_tokens": 8},
    "history": history(),
    "history with reasoning": history(reasoning="Hm."),
    "history with reasoning_content": history(reasoning_content="Hm."),
    "history with tags": history(content="<think>\nHm.\n</think>\n\nHello."),
}


@pytest.fixture(scope="module")
def asked(front: Front) -> dict[str, Got]:
    return ask_all(front, BODIES)


@pytest.mark.parametrize("name", ["on", "told on", "effort low", "effort low, one token"])
def test_thinking_is_on(asked: dict[str, Got], name: str) -> None:
    thought = asked[name].message.get("reasoning", "")
    assert thought or asked[name].usage["completion_tokens"] == 1


@pytest.mark.parametrize("name", ["off", "told on, switched off", "effort none", "budget without thinking"])
def test_thinking_is_off(asked: dict[str, Got], name: str) -> None:
    assert "reasoning" not in asked[name].message
    assert asked[name].usage["completion_tokens_details"]["reasoning_tokens"] == 0


@pytest.mark.parametrize("name", ["vllm", "anthropic", "openrouter"])
def test_a_budget_is_the_same_by_every_name(asked: dict[str, Got], name: str) -> None:
    message = asked[name].message
    assert message == asked["nvext"].message
    assert message["content"]
    assert asked[name].choice["thinking_budget_reached"] is True
    # A token is a byte here, and the grace one tenth.
    assert asked[name].usage["completion_tokens_details"]["reasoning_tokens"] <= 18


def test_hidden_thinking_is_done_and_counted(asked: dict[str, Got]) -> None:
    assert asked["hidden"].message == {"role": "assistant", "content": asked["on"].message["content"]}
    assert asked["hidden"].usage["completion_tokens"] == asked["on"].usage["completion_tokens"]


def test_a_long_thinking_that_is_cut_off_has_no_answer(asked: dict[str, Got]) -> None:
    assert asked["cut"].message["content"] == ""
    assert asked["cut"].choice["finish_reason"] == "length"


@pytest.mark.parametrize("how", ["reasoning", "reasoning_content", "tags"])
def test_earlier_thinking_is_not_in_the_prompt(asked: dict[str, Got], how: str) -> None:
    assert asked[f"history with {how}"].usage["prompt_tokens"] == asked["history"].usage["prompt_tokens"]


def test_an_answer_is_taken_back_whole(client: openai.OpenAI) -> None:
    ask: Any = {"model": NVIDIA_ID, "max_tokens": 300, "extra_body": ON}
    answer = client.chat.completions.create(messages=THINK["messages"], **ask)
    message = answer.choices[0].message.model_dump()
    assert message["reasoning"]
    assert None in message.values()
    again = client.chat.completions.create(
        messages=[*THINK["messages"], message, {"role": "user", "content": "Thanks."}], **{**ask, "max_tokens": 1}
    )
    assert again.usage is not None
