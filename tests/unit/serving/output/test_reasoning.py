"""The table 'Reading the output', as far as it is about thinking."""

from __future__ import annotations

from typing import NamedTuple

import pytest

from nemotron_serving.output.reasoning import ReasoningSplitter, Start, held_back


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
]


@pytest.mark.parametrize("size", [1, 2, 3, 1000])
@pytest.mark.parametrize("row", TABLE, ids=lambda row: row.situation)
def test_table(row: Row, size: int) -> None:
    splitter = ReasoningSplitter(row.start)
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
    ("start", "output", "thinking"),
    [
        ("thinking", "", True),
        ("thinking", "A\n</think", True),
        ("thinking", "A\n</think>", False),
        ("detect", "", False),
        ("detect", "<think", False),
        ("detect", "<think>", True),
        ("detect", "<think>A</think>", False),
        ("detect", "B<think>", False),
    ],
)
def test_thinking_says_what_comes_next(start: Start, output: str, thinking: bool) -> None:
    splitter = ReasoningSplitter(start)
    splitter.feed(output)
    assert splitter.thinking is thinking


@pytest.mark.parametrize(
    ("text", "length"), [("", 0), ("abc", 0), ("a<", 1), ("a</think", 7), ("</think>", 0), ("<</", 2), ("</</t", 3)]
)
def test_held_back(text: str, length: int) -> None:
    assert held_back(text, "</think>") == length
