"""What callers say about thinking, in all the ways that servers have for it, as two options of ours.

Which way counts where there are several is the order of the rows in `fields`. Where no field says it, a system message
does, such as `detailed thinking on`, and else the package: the server reads those.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nemotron_client._contract import RANGES

EFFORTS: Mapping[str, Mapping[str, Any]] = {
    "none": {"thinking": False},
    "minimal": {"thinking": True, "max_thinking_tokens": 256},
    "low": {"thinking": True, "max_thinking_tokens": 1024},
    "medium": {"thinking": True, "max_thinking_tokens": 4096},
    "high": {"thinking": True},
    "xhigh": {"thinking": True},
    "max": {"thinking": True},
}
"""Effort → what it is here: thinking or not, and for how many tokens."""

TYPES: Mapping[str, Mapping[str, Any]] = {
    "enabled": {"thinking": True},
    "adaptive": {"thinking": True},
    "disabled": {"thinking": False},
    "auto": {},
}
"""`thinking.type` → what it is here."""

UNLIMITED = RANGES["max_thinking_tokens"][1]
"""A budget that leaves the thinking all that `max_tokens` leaves it."""

_LEAST_MAX_TOKENS = 32  # for a budget, its closing tag and an answer, whatever the tokenizer


def of_effort(_: str, effort: str) -> Mapping[str, Any]:
    """The options that a word for the effort is."""
    return EFFORTS[effort]


def of_type(_: str, kind: str) -> Mapping[str, Any]:
    """The options that Anthropic's kind of thinking is."""
    return TYPES[kind]


def of_budget(_: str, tokens: int) -> Mapping[str, Any]:
    """The options that a budget is: a limit, which switches nothing on. -1 is none, whatever the package has."""
    return {"max_thinking_tokens": tokens if tokens >= 0 else UNLIMITED}


def of_budget_and_switch(_: str, tokens: int) -> Mapping[str, Any]:
    """The options that a budget is which asks for thinking."""
    return {"thinking": True, **of_budget("", tokens)}


def settle(options: dict[str, Any], named: Mapping[str, str]) -> None:
    """Have switch and budget agree, in place.

    Without thinking there is nothing that a budget limits; a budget of 0 is no thinking. One that limits nothing counts
    only for thinking that the request itself switches on. It, and the budget of an effort, which nobody asked for by
    number, give way where `max_tokens` has no room for a budget.

    Args:
        options: Of the server.
        named: Which field each of them came from.
    """
    budget = options.get("max_thinking_tokens")
    if budget is None:
        return
    if budget == 0:
        options["thinking"] = False
    thinking, limits = options.get("thinking"), budget != UNLIMITED
    gives_way = not limits or named["max_thinking_tokens"].endswith("effort")
    no_room = gives_way and options.get("max_tokens", UNLIMITED) < _LEAST_MAX_TOKENS
    if thinking is False or no_room or not (limits or thinking):
        del options["max_thinking_tokens"]
