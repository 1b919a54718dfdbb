"""The table 'Reading the output', as far as it is about thinking."""

from __future__ import annotations

from typing import NamedTuple

import pytest

from nemotron_serving.output.reasoning import ReasoningSplitter, Start


class Row(NamedTuple):
    situation: str
    start: Start
    output: str
    reasoning: str
    content: str


TABLE = [
    Row("a block of its own", "detect", "<think>\nA\n</think>\n\nB", "A", "B"),
    Row("a block that the prompt opened", "thinking", "A\n</think>\n\nB", "A", "B"),
    Row("a block that the prompt opened, newline included", "thinking", "\n\nA\n</think>B", "A", "B"),
    Row("an empty block", "detect", "<think></think>B", "", "B"),
    Row("an empty block on two lines", "detect", "<think>\n</think>\n\nB", "", "B"),
    Row("an empty block that the prompt opened", "thinking", "</think>\n\nB", "", "B"),
    Row("white space before the block", "detect", " \n\t<think>A</think>B", "A", "B"),
    Row("no block at all", "detect", "B, no thinking", "", "B, no thinking"),
    Row("no block, leading white space is kept", "detect", "  \n B", "", "  \n B"),
    Row("cut off inside thinking", "thinking", "A, and then", "A, and then", ""),
    Row("cut off inside thinking, in a block of its own", "detect", "<think>\nA, and", "A, and", ""),
    Row("cut off inside the closing tag", "thinking", "A\n</thin", "A\n</thin", ""),
    Row("cut off after a newline", "thinking", "A\n\n", "A", ""),
    Row("cut off before any thinking", "thinking", "\n\n", "", ""),
    Row("cut off right after the thinking", "thinking", "A</think>\n", "A", ""),
    Row("cut off inside the opening tag", "detect", "<thin", "", "<thin"),
    Row("only white space", "detect", " \n", "", " \n"),
    Row("nothing", "detect", "", "", ""),
    Row("only the first block counts", "detect", "<think>A</think>B<think>C</think>D", "A", "B<think>C</think>D"),
    Row("an opener inside thinking is text", "thinking", "A <think> B</think>C", "A <think> B", "C"),
    Row("a later closing tag is text", "thinking", "A</think>B</think>C", "A", "B</think>C"),
    Row("a block after text is text", "detect", "B <think>A</think>", "", "B <think>A</think>"),
    Row(
        "another tag inside thinking",
        "thinking",
        "if a </b> or </thinking> </think>B",
        "if a </b> or </thinking> ",
        "B",
    ),
    Row("tags without a newline around", "thinking", "so.</think>B", "so.", "B"),
    Row("newlines inside thinking are kept", "thinking", "A\n\nA\n\n\n</think>\n\n\nB\n\n", "A\n\nA", "B\n\n"),
    Row("spaces around the answer are kept", "thinking", "A </think> B ", "A ", " B "),
    Row("a tag in other letters is text", "detect", "<Think>A</Think>B", "", "<Think>A</Think>B"),
    # Thinking is on, and the model opens the block.
    Row("expected, and there", "expected", "<think>\nA\n</think>\n\nB", "A", "B"),
    Row("expected, and there after white space", "expected", "\n <think>A</think>B", "A", "B"),
    Row("expected, and empty", "expected", "<think></think>B", "", "B"),
    Row("no opener", "expected", "\nA\n\nA\n</think>\n\nB", "A\n\nA", "B"),
    Row("no opener and no thinking", "expected", "</think>B", "", "B"),
    Row("no opener, and one later", "expected", "A<think>B</think>C", "A<think>B", "C"),
    Row("no block though expected", "expected", "B, no thinking", "", "B, no thinking"),
    Row("no block though expected, white space is kept", "expected", "\n B\n", "", "\n B\n"),
    Row("expected, only white space", "expected", " \n", "", " \n"),
    Row("expected, cut off inside the opener", "expected", "<thin", "", "<thin"),
    Row("expected, cut off inside the closing tag", "expected", "A</thin", "", "A</thin"),
    Row("expected, cut off inside thinking", "expected", "<think>\nA\n", "A", ""),
    Row("expected, only the first block counts", "expected", "A</think>B</think>C", "A", "B</think>C"),
    # Thinking is off.
    Row("no block", "answer", "B", "", "B"),
    Row("an empty block in front is dropped", "answer", "<think>\n</think>\n\nB", "", "B"),
    Row("an empty block in front on one line is dropped", "answer", "<think></think>B", "", "B"),
    Row("an empty block with white space is dropped", "answer", "\n<think> \n\t</think>\n B", "", " B"),
    Row("only the first empty block is dropped", "answer", "<think></think><think></think>B", "", "<think></think>B"),
    Row("a block with text is content", "answer", "<think>A</think>\nB", "", "<think>A</think>\nB"),
    Row("a block that is not in front is content", "answer", "B<think></think>", "", "B<think></think>"),
    Row("a closing tag is content", "answer", "A</think>B", "", "A</think>B"),
    Row("off, cut off inside the opener", "answer", " <thin", "", " <thin"),
    Row("off, cut off inside the block", "answer", "<think>\n", "", "<think>\n"),
    Row("off, cut off inside the closing tag", "answer", "<think>\n</thin", "", "<think>\n</thin"),
    Row("off, only white space", "answer", " \n", "", " \n"),
    Row("a block that the prompt closed", "closed", "\n\nB\n", "", "B\n"),
    Row("a block that the prompt closed, and another", "closed", "<think>A</think>B", "", "<think>A</think>B"),
    # With tools, whose tag begins the answer.
    Row("a tool call inside thinking", "thinking", "A\n<tool>B</think>C", "A", "<tool>B</think>C"),
    Row("a tool call inside a block of its own", "detect", "<think>A\n\n<tool>B", "A", "<tool>B"),
    Row("a tool call before any thinking", "thinking", "\n<tool>B", "", "<tool>B"),
    Row("a tool call right after thinking", "thinking", "A</think>\n<tool>B", "A", "<tool>B"),
    Row("a tool call where thinking is expected", "expected", "A <tool>B</think>C", "", "A <tool>B</think>C"),
    Row("a tool call after thinking without opener", "expected", "A</think><tool>B", "A", "<tool>B"),
    Row("a tool call with thinking off", "answer", "<think>\n</think>\n<tool>B", "", "<tool>B"),
]


@pytest.mark.parametrize("size", [1, 2, 3, 1000])
@pytest.mark.parametrize("row", TABLE, ids=lambda row: row.situation)
def test_table(row: Row, size: int) -> None:
    splitter = ReasoningSplitter(row.start, "<tool>")
    cuts = range(0, len(row.output), size)
    pieces = [piece for at in cuts for piece in splitter.feed(row.output[at : at + size])] + splitter.flush()
    assert "".join(piece.raw for piece in pieces) == row.output
    assert "".join(piece.reasoning for piece in pieces) == row.reasoning
    assert "".join(piece.content for piece in pieces) == row.content


def test_text_is_given_out_as_soon_as_it_is_certain() -> None:
    splitter = ReasoningSplitter("thinking")
    assert [piece.reasoning for piece in splitter.feed("So, a <")] == ["So, a "]
    assert [piece.reasoning for piece in splitter.feed(" b")] == ["< b"]
    splitter.feed("</think>")
    assert [piece.content for piece in splitter.feed("B <thi")] == ["B <thi"]


@pytest.mark.parametrize(
    ("start", "output", "state"),
    [
        ("thinking", "", "thinking"),
        ("thinking", "A\n</think", "thinking"),
        ("thinking", "A\n</think>", "answer"),
        ("thinking", "A<tool>", "answer"),
        ("detect", "", "undecided"),
        ("detect", "\n<think", "undecided"),
        ("detect", "<think>", "thinking"),
        ("detect", "<think>A</think>", "answer"),
        ("detect", "B<think>", "answer"),
        ("expected", "", "undecided"),
        ("expected", "<think", "undecided"),
        ("expected", "<think>", "thinking"),
        ("expected", "A\n</think", "undecided"),
        ("expected", "A\n</think>", "answer"),
        ("expected", "A\n<tool>", "answer"),
        ("answer", "", "undecided"),
        ("answer", "<think>\n", "undecided"),
        ("answer", "<think>\n</think>", "answer"),
        ("answer", "<think>A", "answer"),
        ("answer", "B", "answer"),
        ("closed", "", "answer"),
    ],
)
def test_the_state_says_what_comes_next(start: Start, output: str, state: str) -> None:
    splitter = ReasoningSplitter(start, "<tool>")
    splitter.feed(output)
    assert splitter.thinking is (state == "thinking")
    assert splitter.undecided is (state == "undecided")


@pytest.mark.parametrize(
    ("tokens", "after"),
    [
        (["<think>", "A", "</think>"], ""),
        (["<think>", "A", "</think>\n\n"], "\n\n"),
        (["<think>A</", "think>\n\nB"], "\n\nB"),
        (["A", "</think", ">\n"], "\n"),
        (["<think>", "A", "<to", "ol>{"], "<tool>{"),
    ],
)
def test_what_follows_the_thinking_in_its_last_token(tokens: list[str], after: str) -> None:
    splitter = ReasoningSplitter("expected", "<tool>")
    for token in tokens:
        assert splitter.after_thinking == ""
        splitter.feed(token)
    assert splitter.after_thinking == after


def test_a_tool_tag_that_does_not_end_thinking_is_thinking() -> None:
    splitter = ReasoningSplitter("thinking", "<tool>", tool_ends_thinking=False)
    pieces = splitter.feed("A<tool>B</think>C")
    assert ["".join(parts) for parts in zip(*pieces, strict=True)] == ["A<tool>B</think>C", "A<tool>B", "C"]
