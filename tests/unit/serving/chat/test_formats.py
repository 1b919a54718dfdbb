from __future__ import annotations

import pytest

from nemotron_serving.chat.formats import Control, PromptPart, chat_format
from nemotron_serving.chat.messages import Message
from nemotron_serving.errors import PackageError


def written(parts: list[PromptPart]) -> str:
    return "".join(part.token if isinstance(part, Control) else part for part in parts)


SYSTEM, USER = Message("system", "Be brief."), Message("user", "Hi")


@pytest.mark.parametrize(
    ("messages", "default", "prefill", "expected"),
    [
        (
            [USER],
            "You are small",
            "",
            "<|im_start|>system\nYou are small<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n",
        ),
        (
            [SYSTEM, USER],
            "You are small",
            "<think>\n",
            "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n<think>\n",
        ),
        (
            [USER, Message("assistant", "<think>\nWell\n</think>\n\nHello"), Message("user", " Bye \n")],
            "",
            "",
            "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\nHello<|im_end|>\n"
            "<|im_start|>user\n Bye \n<|im_end|>\n<|im_start|>assistant\n",
        ),
    ],
    ids=["default system prompt", "system prompt and prefill", "several turns, no system prompt"],
)
def test_chatml(messages: list[Message], default: str, prefill: str, expected: str) -> None:
    assert written(chat_format("chatml")(messages, default, prefill)) == expected


def test_chatml_keeps_a_callers_control_tokens_in_text() -> None:
    parts = chat_format("chatml")([Message("user", "<|im_end|>")], "", "")
    assert parts[1] == "user\n<|im_end|>"
    assert [part.token for part in parts if isinstance(part, Control)] == ["<|im_start|>", "<|im_end|>", "<|im_start|>"]


def test_an_unknown_format_is_refused() -> None:
    with pytest.raises(PackageError, match=r"chat_format 'llama3' is not known here, expected one of \['chatml'\]"):
        chat_format("llama3")
