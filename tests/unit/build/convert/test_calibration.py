"""Calibration texts: what ships, what a user brings and what is wrong with it; rendered as the server writes."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tokenizers import Tokenizer, models

from nemotron_build.checkpoint.check import Checkpoint, check_checkpoint
from nemotron_build.convert.calibration import (
    CALIBRATION_SET,
    HELD_OUT_SET,
    Conversation,
    Turn,
    answer,
    calibration_texts,
    held_out_texts,
    read_conversations,
    render,
)
from nemotron_build.errors import BuildError
from nemotron_serving.chat.formats import WRITTEN_FORMATS, ChatRequest, Control
from nemotron_serving.chat.messages import parse_messages
from nemotron_serving.chat.tools import parse_tools
from nemotron_serving.package import Limits, SamplingDefaults, ServingConfig, ThinkingPolicy
from tests.unit.build.tiny import tiny_checkpoint


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    return check_checkpoint(tiny_checkpoint(tmp_path_factory.mktemp("source")))


def test_what_ships_has_all_kinds() -> None:
    ours = read_conversations(CALIBRATION_SET)
    text = CALIBRATION_SET.read_text(encoding="utf-8")
    assert len(ours) >= 100
    assert sum(bool(turn.reasoning_content) for each in ours for turn in each.messages) >= 30
    assert sum(bool(each.tools) for each in ours) >= 8
    for sign in ("```python", "<TOOLCALL>", "Hauptstadt", "Lune", "fiume", "água", "भारत", "¿", "ประเทศไทย"):
        assert sign in text, sign


def test_held_out_texts_are_others(checkpoint: Checkpoint) -> None:
    asked = [
        {each.messages[0].content for each in read_conversations(file)} for file in (CALIBRATION_SET, HELD_OUT_SET)
    ]
    assert not asked[0] & asked[1]
    texts = held_out_texts(checkpoint)
    assert len(set(texts)) == len(texts) >= 16
    assert sum("detailed thinking on" in text for text in texts) == len(texts) // 2


def test_thinking_alternates_and_then_swaps(checkpoint: Checkpoint) -> None:
    number = len(read_conversations(CALIBRATION_SET))
    texts = calibration_texts(checkpoint, None, 10 * number)
    on = ["detailed thinking on" in text for text in texts]
    assert on[:4] == [True, False, True, False]
    assert on[number : number + 4] == [False, True, False, True]
    assert len(texts) == 2 * number == len(set(texts))
    assert calibration_texts(checkpoint, None, 5) == texts[:5]


def test_each_line_may_be_of_another_kind(checkpoint: Checkpoint, tmp_path: Path) -> None:
    file = tmp_path / "mine.jsonl"
    lines = [
        {
            "messages": [
                {"role": "user", "content": "one"},
                {"role": "assistant", "content": "<think>\nt\n</think>\n\nA"},
            ]
        },
        {"prompt": "two", "response": "B"},
        {"text": "three\u2028four"},
        {"prompt": "five", "id": 7},
    ]
    file.write_text("\ufeff" + "\n\n".join(json.dumps(line, ensure_ascii=False) for line in lines), encoding="utf-8")
    one, two, three, five = calibration_texts(checkpoint, file, 4)
    assert one.endswith("\n\n<think>\nt\n</think>\n\nA<|eot_id|>")
    assert two.endswith("\n\n<think>\n</think>\n\nB<|eot_id|>")
    assert "three\u2028four<|eot_id|>" in three
    assert three.endswith("assistant<|end_header_id|>\n\n")
    assert five.endswith("assistant<|end_header_id|>\n\n<think>\n</think>")


def test_a_text_file_has_user_turns_between_blank_lines(checkpoint: Checkpoint, tmp_path: Path) -> None:
    file = tmp_path / "mine.txt"
    file.write_text("\n\nHow are you?\nAnd yours?\n \n\nFine.\n", encoding="utf-8")
    texts = calibration_texts(checkpoint, file, 2)
    assert "\n\nHow are you?\nAnd yours?<|eot_id|>" in texts[0]
    assert "\n\nFine.<|eot_id|>" in texts[1]


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("{", "truncated"),
        ("[]", "Expected `object`"),
        ("{}", "none of messages, prompt and text"),
        ('{"prompt": "a", "text": "b"}', "or several"),
        ('{"messages": [{"role": "tool", "content": "a"}]}', "'tool'"),
        ('{"messages": [{"role": "user", "content": null}]}', "Expected `str`"),
        ('{"messages": [{"role": "system", "content": "a"}]}', "no message has the role user"),
    ],
)
def test_a_broken_line_is_named(checkpoint: Checkpoint, tmp_path: Path, line: str, says: str) -> None:
    file = tmp_path / "mine.jsonl"
    file.write_text(f'{{"text": "good"}}\n\n{line}\n')
    with pytest.raises(BuildError, match=rf"{re.escape(str(file))}, line 3: .*{re.escape(says)}.*Each line is"):
        calibration_texts(checkpoint, file, 4)


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("empty.txt", b" \n\n", "is empty"),
        ("empty.jsonl", b"", "is empty"),
        ("latin.txt", "größer".encode("latin-1"), "is not UTF-8: .* at byte 2"),
        ("mine.csv", b"a", "ends with '.csv', expected .txt or .jsonl"),
        ("absent.txt", None, "cannot be read: No such file"),
    ],
)
def test_a_file_of_no_use_is_refused(
    checkpoint: Checkpoint, tmp_path: Path, name: str, content: bytes | None, says: str
) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(BuildError, match=says):
        calibration_texts(checkpoint, tmp_path / name, 4)


@pytest.mark.parametrize(
    ("control", "begins"),
    [(["<|im_start|>", "<|im_end|>"], "<|im_start|>user\nHi<|im_end|>"), (["<|im_start|>"], "Hi"), (["a"], "Hi")],
)
def test_the_tokenizer_says_which_format_it_is(
    checkpoint: Checkpoint, tmp_path: Path, control: list[str], begins: str
) -> None:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.add_special_tokens(control)
    tokenizer.save(str(tmp_path / "other.json"))
    (tmp_path / "mine.txt").write_text("Hi")
    other = replace(checkpoint, tokenizer=replace(checkpoint.tokenizer, path=tmp_path / "other.json"))
    texts = calibration_texts(other, tmp_path / "mine.txt", 4)
    assert len(texts) == 1  # thinking is not switched in its prompt
    assert texts[0].startswith(begins)


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
    chat_format = WRITTEN_FORMATS[style](config.thinking, config.default_system_prompt)
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
