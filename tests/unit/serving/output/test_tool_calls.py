from __future__ import annotations

from typing import Any, NamedTuple

import pytest

from nemotron_serving.output.tool_calls import ToolCallReader
from tests.unit.serving.output.reading import plain

OPEN, CLOSE = "<TOOLCALL>", "</TOOLCALL>"
F = '{"name": "f", "arguments": {"a": 1}}'
CALL = ("f", {"a": 1})


class Row(NamedTuple):
    situation: str
    answer: str
    content: str
    calls: list[tuple[str, Any]]


TABLE = [
    Row("no block", "Just text.", "Just text.", []),
    Row("only white space", " \n", " \n", []),
    Row("nothing", "", "", []),
    Row("a block", f"{OPEN}[{F}]{CLOSE}", "", [CALL]),
    Row("a block with white space around", f"\n {OPEN}[{F}]{CLOSE}\n", "", [CALL]),
    Row("text before and after", f"Wait. \n{OPEN}[{F}]{CLOSE}\n So.\n", "Wait. \n\n So.\n", [CALL]),
    Row("several blocks", f"{OPEN}[{F}]{CLOSE}\n{OPEN}{F}{CLOSE}", "", [CALL, CALL]),
    Row("text between blocks", f"{OPEN}[{F}]{CLOSE} and {OPEN}{F}{CLOSE}", " and ", [CALL, CALL]),
    Row("no closing tag", f"A{OPEN}[{F}]", "A", [CALL]),
    Row("no closing tag and no ]", f"A{OPEN}[{F}", "A", [CALL]),
    Row("cut off inside the closing tag", f"A{OPEN}[{F}]</TOOLC", "A", [CALL]),
    Row("no closing tag before the next block", f"{OPEN}[{F}]{OPEN}[{F}]{CLOSE}B", "B", [CALL, CALL]),
    Row("cut off inside a call", f'A{OPEN}[{{"name": "f", "arg', "A", []),
    Row("cut off inside the opening tag", "A<TOOLC", "A<TOOLC", []),
    Row("an empty block", f"A{OPEN}{CLOSE}B", "AB", []),
    Row("an empty list", f"A{OPEN}[]{CLOSE}B", "AB", []),
    Row("garbage", f"A{OPEN}what now?{CLOSE}B", "AB", []),
    Row("an unknown tool", f'{OPEN}[{{"name": "g", "arguments": {{}}}}]{CLOSE}', "", []),
    Row("a closing tag alone", f"A{CLOSE}B", "AB", []),
    Row("two closing tags", f"{OPEN}[{F}]{CLOSE}{CLOSE}\nB", "\nB", [CALL]),
    Row("tags in other letters are text", "<toolcall>[]</toolcall>", "<toolcall>[]</toolcall>", []),
    Row("a tag that the content around a block would make", f"A<TOOL{OPEN}[{F}]{CLOSE}CALL>B", "A<TOOLB", [CALL]),
    Row("the same, after an end that is another beginning", f"<TOOL<{OPEN}{CLOSE}CALL>B", "<TOOL<CALL>B", []),
    Row("the same, of three parts", f"<TO{OPEN}{CLOSE}OL{CLOSE} {CLOSE}CALL>CALL>B", "<TOOLB", []),
]


@pytest.mark.parametrize("size", [1, 2, 3, 1000])
@pytest.mark.parametrize("row", TABLE, ids=lambda row: row.situation)
def test_table(row: Row, size: int) -> None:
    reader = ToolCallReader(["f"], OPEN, CLOSE)
    cuts = range(0, len(row.answer), size)
    runs = [run for at in cuts for run in reader.feed(row.answer[at : at + size])] + reader.flush()
    assert "".join(run.text for run in runs) == row.answer
    assert "".join(run.text for run in runs if not run.markup) == row.content
    assert plain(call for run in runs for call in run.calls) == tuple(row.calls)


def test_what_is_certain_is_given_out_at_once() -> None:
    reader = ToolCallReader(["f"], OPEN, CLOSE)
    assert [run.text for run in reader.feed("So, 1 <")] == ["So, 1 "]
    assert [run.text for run in reader.feed(" 2\n")] == ["< 2\n"]
    assert [run.text for run in reader.feed(OPEN)] == [OPEN]
    assert [run.text for run in reader.feed(f"[{F}]</")] == [f"[{F}]</"]
    assert [run.calls != () for run in reader.feed("TOOLCALL>")] == [True]


def test_other_tags() -> None:
    reader = ToolCallReader(["f"], "<tool_call>", "</tool_call>")
    runs = reader.feed(f"<tool_call>\n{F}\n</tool_call>\n<TOOLCALL>") + reader.flush()
    assert plain(call for run in runs for call in run.calls) == (CALL,)
    assert "".join(run.text for run in runs if not run.markup) == "\n<TOOLCALL>"
