"""Calibration texts: what ships, what a user brings, and what is wrong with it."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
from tokenizers import Tokenizer, models

from nemotron_build.checkpoint.check import Checkpoint, check_checkpoint
from nemotron_build.convert.calibration import (
    CALIBRATION_SET,
    HELD_OUT_SET,
    calibration_texts,
    held_out_texts,
    read_conversations,
)
from nemotron_build.errors import BuildError
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
