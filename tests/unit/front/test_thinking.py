"""The switches and budgets of thinking: each spelling, and which one counts."""

from __future__ import annotations

from typing import Any

import pytest

from nemotron_front.chat import read_chat


def options(**body: Any) -> Any:
    return read_chat({"model": "m", "messages": [{"role": "user", "content": "Hi"}], **body}).options


ON, OFF = {"thinking": True}, {"thinking": False}
SPELLINGS: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({}, {}),
    ({"chat_template_kwargs": {"enable_thinking": True}}, ON),
    ({"chat_template_kwargs": {"enable_thinking": False}}, OFF),
    ({"chat_template_kwargs": {"thinking": True}}, ON),
    ({"enable_thinking": False}, OFF),
    ({"thinking": True}, ON),
    ({"thinking": {"type": "enabled"}}, ON),
    ({"thinking": {"type": "adaptive"}}, ON),
    ({"thinking": {"type": "disabled"}}, OFF),
    ({"thinking": {"type": "auto"}}, {}),
    ({"thinking": {"type": "enabled", "budget_tokens": 2048}}, {**ON, "max_thinking_tokens": 2048}),
    ({"reasoning": {"enabled": True}}, ON),
    ({"reasoning": {"enabled": False}}, OFF),
    ({"reasoning": {"max_tokens": 100}}, {**ON, "max_thinking_tokens": 100}),
    ({"reasoning": {"effort": "none"}}, OFF),
    ({"reasoning_effort": "none"}, OFF),
    ({"reasoning_effort": "minimal"}, {**ON, "max_thinking_tokens": 256}),
    ({"reasoning_effort": "low"}, {**ON, "max_thinking_tokens": 1024}),
    ({"reasoning_effort": "medium"}, {**ON, "max_thinking_tokens": 4096}),
    ({"reasoning_effort": "high"}, ON),
    ({"reasoning_effort": "xhigh"}, ON),
    ({"reasoning_effort": "max"}, ON),
    # A budget alone is a limit, and switches nothing on.
    ({"max_thinking_tokens": 16}, {"max_thinking_tokens": 16}),
    ({"nvext": {"max_thinking_tokens": 16}}, {"max_thinking_tokens": 16}),
    ({"thinking_token_budget": 16}, {"max_thinking_tokens": 16}),
    ({"reasoning_budget": 16}, {"max_thinking_tokens": 16}),
    ({"thinking_budget": 16}, {"max_thinking_tokens": 16}),
    ({"chat_template_kwargs": {"thinking_budget": 16}}, {"max_thinking_tokens": 16}),
    ({"thinking_token_budget": -1}, {}),
    ({"thinking_token_budget": -1, "enable_thinking": True}, {**ON, "max_thinking_tokens": 2**31 - 1}),
    ({"thinking_token_budget": -1, "reasoning_effort": "low"}, {**ON, "max_thinking_tokens": 2**31 - 1}),
    ({"thinking_token_budget": -1, "enable_thinking": True, "max_tokens": 9}, {**ON, "max_tokens": 9}),
    ({"thinking_token_budget": -1, "enable_thinking": False}, OFF),
    ({"thinking_token_budget": 0}, OFF),
    ({"chat_template_kwargs": {"enable_thinking": True}, "thinking_budget": 0}, OFF),
]
PRECEDENCE: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({"chat_template_kwargs": {"enable_thinking": False}, "thinking": {"type": "enabled"}}, OFF),
    ({"thinking": {"type": "disabled"}, "reasoning": {"enabled": True}}, OFF),
    ({"thinking": False, "reasoning_effort": "high"}, OFF),
    ({"reasoning": {"effort": "none"}, "reasoning_effort": "high"}, OFF),
    # A number says more than a word.
    ({"reasoning_effort": "low", "thinking_token_budget": 50}, {**ON, "max_thinking_tokens": 50}),
    ({"reasoning": {"effort": "high", "max_tokens": 50}}, {**ON, "max_thinking_tokens": 50}),
    # Without thinking there is nothing to limit.
    ({"chat_template_kwargs": {"enable_thinking": False}, "thinking_token_budget": 50}, OFF),
    ({"chat_template_kwargs": {"enable_thinking": False}, "reasoning_effort": "low"}, OFF),
    # A word's budget gives way where there is no room for it, a number is as it was asked for.
    ({"reasoning_effort": "low", "max_tokens": 1}, {**ON, "max_tokens": 1}),
    ({"thinking_token_budget": 5, "max_tokens": 8}, {"max_thinking_tokens": 5, "max_tokens": 8}),
]


@pytest.mark.parametrize(("body", "expected"), SPELLINGS + PRECEDENCE, ids=str)
def test_what_is_said_of_thinking_becomes_two_options(body: dict[str, Any], expected: dict[str, Any]) -> None:
    assert options(**body) == expected


def test_the_system_line_is_the_server_s() -> None:
    system = {"role": "system", "content": "detailed thinking on"}
    asked = read_chat({"model": "m", "messages": [system, {"role": "user", "content": "Hi"}]})
    assert asked.messages is not None
    assert asked.messages[0] == system
    assert asked.options == {}
