"""What calibration renders is what the server sends to the model."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from nemotron_build.convert.calibration import CALIBRATION_SET, HELD_OUT_SET, read_conversations
from nemotron_build.convert.conversation import Conversation, Turn, answer, render
from nemotron_serving.chat.base import ChatFormat, ChatRequest
from nemotron_serving.chat.chatml import ChatMlFormat
from nemotron_serving.chat.controls import Control
from nemotron_serving.chat.messages import parse_messages
from nemotron_serving.chat.nemotron import NemotronFormat
from nemotron_serving.chat.tools import parse_tools
from nemotron_serving.package import Limits, SamplingDefaults, ServingConfig, ThinkingPolicy

OURS = read_conversations(CALIBRATION_SET) + read_conversations(HELD_OUT_SET)
OFF = "<think>\n</think>"


def _config(style: str) -> ServingConfig:
    nemotron = style == "nemotron"
    return ServingConfig(
        model_name="test",
        chat_format=style,
        default_system_prompt="",
        stop_token_ids=(1,),
        max_tokens=16,
        sampling_on=SamplingDefaults(temperature=0.6),
        sampling_off=SamplingDefaults(temperature=0.0),
        thinking=ThinkingPolicy(
            default=False,
            system_on="detailed thinking on" if nemotron else "",
            system_off="detailed thinking off" if nemotron else "",
            prefill_on="",
            prefill_off=OFF if nemotron else "",
            max_thinking_tokens=64,
            min_answer_tokens=8,
        ),
        limits=Limits(
            max_seq_len=4096, max_prompt_bytes=65536, max_batch_size=1, max_waiting=0, default_timeout_ms=1000
        ),
    )


def _served(conversation: Conversation, style: str, *, thinking: bool) -> str:
    config = _config(style)
    chat_format: ChatFormat = NemotronFormat(config) if style == "nemotron" else ChatMlFormat(config)
    messages: list[dict[str, Any]] = [
        {"role": turn.role, "content": turn.content}
        | ({"reasoning_content": turn.reasoning_content} if turn.reasoning_content else {})
        for turn in conversation.messages
    ]
    tools = [{"type": "function", "function": tool} for tool in conversation.tools]
    prefill = config.thinking.prefill_on if thinking else config.thinking.prefill_off
    request = ChatRequest(
        parse_messages(json.dumps(messages)), parse_tools(json.dumps(tools)) if tools else (), thinking, prefill
    )
    return "".join(part.token if isinstance(part, Control) else part for part in chat_format.render(request))


@pytest.mark.parametrize("thinking", [True, False])
def test_ours_read_as_the_server_writes_them(thinking: bool) -> None:
    for conversation in OURS:
        last = conversation.messages[-1]
        assert last.role == "assistant"
        asked = msgspec.structs.replace(conversation, messages=conversation.messages[:-1])
        prompt = _served(asked, "nemotron", thinking=thinking)
        assert render(asked, "nemotron", thinking=thinking) == prompt
        whole = render(conversation, "nemotron", thinking=thinking)
        assert whole.startswith(prompt)
        assert whole.endswith(f"{last.content}<|eot_id|>")


def test_chatml_reads_as_the_server_writes_it() -> None:
    for conversation in [each for each in OURS if not each.tools]:
        asked = msgspec.structs.replace(conversation, messages=conversation.messages[:-1])
        prompt = _served(asked, "chatml", thinking=False)
        assert render(asked, "chatml", thinking=False) == prompt
        content = conversation.messages[-1].content
        assert render(conversation, "chatml", thinking=True) == f"{prompt}{content}<|im_end|>\n"


SUM = Conversation([Turn("user", "1 + 1?"), Turn("assistant", "2.", "One and one.")])
ASKED = "<|eot_id|><|start_header_id|>user<|end_header_id|>\n\n1 + 1?<|eot_id|>"
ASSISTANT = "<|start_header_id|>assistant<|end_header_id|>\n\n"


@pytest.mark.parametrize(
    ("thinking", "turn"),
    [(True, "<think>\nOne and one.\n</think>\n\n2.<|eot_id|>"), (False, f"{OFF}\n\n2.<|eot_id|>")],
)
def test_thinking_is_shown_where_it_is_on(thinking: bool, turn: str) -> None:
    assert render(SUM, "nemotron", thinking=thinking).endswith(ASKED + ASSISTANT + turn)


def test_an_answer_without_thinking_has_no_block_where_it_is_on() -> None:
    conversation = Conversation([Turn("user", "1 + 1?"), Turn("assistant", "2.")])
    assert render(conversation, "nemotron", thinking=True).endswith(f"{ASSISTANT}2.<|eot_id|>")


def test_thinking_of_earlier_turns_is_left_out() -> None:
    conversation = Conversation([*SUM.messages, Turn("user", "Sure?")])
    assert "One and one." not in render(conversation, "nemotron", thinking=True)


def test_plain_is_the_text_alone() -> None:
    assert render(SUM, None, thinking=True) == "1 + 1?\n\n2."


@pytest.mark.parametrize(
    ("text", "turn"),
    [
        ("2.", Turn("assistant", "2.")),
        ("<think>\nOne and one.\n</think>\n\n2.", Turn("assistant", "2.", "One and one.")),
        ("One and one.</think>2.", Turn("assistant", "2.", "One and one.")),
        ("<think></think>2.", Turn("assistant", "2.")),
    ],
)
def test_raw_output_is_parted(text: str, turn: Turn) -> None:
    assert answer(text) == turn
