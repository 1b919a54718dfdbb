from __future__ import annotations

import json
import time
from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nemotron_serving.output.assembler import OutputRules
from nemotron_serving.output.tool_calls import Run, ToolCallReader
from tests.unit.serving.output.reading import TOOLS, plain, read_whole

OPEN, CLOSE = TOOLS.open_tag, TOOLS.close_tag
F = '{"name": "f", "arguments": {"a": 1}}'
G = '{"name": "g", "arguments": {}}'
CALL = ("f", {"a": 1})
TAGGED = f"f{CLOSE}"  # the name of a tool


class Row(NamedTuple):
    situation: str
    answer: str
    content: str
    calls: list[tuple[str, Any]]


def block(argument: str, name: str = "f") -> str:
    return OPEN + json.dumps([{"name": name, "arguments": {"a": argument}}]) + CLOSE


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
    Row("cut off inside a call", f'A{OPEN}[{{"name": "f", "arg', 'A{"name": "f", "arg', []),
    Row("cut off inside the opening tag", "A<TOOLC", "A<TOOLC", []),
    Row("an empty block", f"A{OPEN}{CLOSE}B", "AB", []),
    Row("an empty list", f"A{OPEN}[]{CLOSE}B", "AB", []),
    Row("garbage", f"A{OPEN}what now?{CLOSE}B", "Awhat now?B", []),
    Row("an unknown tool", f"{OPEN}[{G}]{CLOSE}\n", G, []),
    Row("two unknown tools", f"A {OPEN}[{G}, {G}]{CLOSE}", f"A {G}\n{G}", []),
    Row("an unknown tool among others", f"{OPEN}[{F}, {G}, {F}]{CLOSE}", G, [CALL, CALL]),
    Row("a call and prose", f"{OPEN}[{F}] It is sunny.\n{CLOSE}", "It is sunny.", [CALL]),
    Row("brackets too many", f"{OPEN}[{F}}}]{CLOSE}", "", [CALL]),
    Row(
        "a wrong escape",
        f'{OPEN}[{{"name": "f", "arguments": {{"a": "C:\\U"}}}}]{CLOSE}',
        '{"name": "f", "arguments": {"a": "C:\\U"}}]',
        [],
    ),
    Row("a tag that an unreadable call would make", f"<TOOL{OPEN}CALL>a{CLOSE}B", "<TOOLaB", []),
    Row("the same, after it", f"A{OPEN}a <TOOL{CLOSE}CALL>B", "Aa <TOOLB", []),
    Row("the same, of many parts", f"<TOOL{OPEN}CALL>CALL>CALL></TOOL{OPEN}CALL>{CLOSE}B", "<TOOL</TOOLB", []),
    Row("a closing tag alone", f"A{CLOSE}B", "AB", []),
    Row("two closing tags", f"{OPEN}[{F}]{CLOSE}{CLOSE}\nB", "\nB", [CALL]),
    Row("tags in other letters are text", "<toolcall>[]</toolcall>", "<toolcall>[]</toolcall>", []),
    Row("a tag that the content around a block would make", f"A<TOOL{OPEN}[{F}]{CLOSE}CALL>B", "A<TOOLB", [CALL]),
    Row("the same, after an end that is another beginning", f"<TOOL<{OPEN}{CLOSE}CALL>B", "<TOOL<CALL>B", []),
    Row("the same, of three parts", f"<TO{OPEN}{CLOSE}OL{CLOSE} {CLOSE}CALL>CALL>B", "<TOOLB", []),
    # Tags inside strings
    Row("a closing tag in a string", f"A{block(f'x{CLOSE}y')}B", "AB", [("f", {"a": f"x{CLOSE}y"})]),
    Row("an opening tag in a string", f"{block(f'x{OPEN}y')}B", "B", [("f", {"a": f"x{OPEN}y"})]),
    Row("several tags in a string", f"{block(f'{OPEN}{CLOSE}{CLOSE}')}B", "B", [("f", {"a": f"{OPEN}{CLOSE}{CLOSE}"})]),
    Row("a tag after an escaped quote", f"""{block(f'x"{CLOSE}y')}B""", "B", [("f", {"a": f'x"{CLOSE}y'})]),
    Row("an escaped backslash ends a string", block("x\\") + "B", "B", [("f", {"a": "x\\"})]),
    Row("a tag in the name of a tool", f"{block('x', TAGGED)}B", "B", [(TAGGED, {"a": "x"})]),
    Row(
        "a tag in the name of an unknown tool",
        f"{block('x', f'g{CLOSE}')}B",
        '{"name": "g", "arguments": {"a": "x"}}B',
        [],
    ),
    Row(
        "a tag in a tag in such a name",
        f"{block('x', f'g<TOOL{CLOSE}CALL>')}B",
        '{"name": "g<TOOL", "arguments": {"a": "x"}}B',
        [],
    ),
    Row("a tag in Python's string", f'{OPEN}[f(a="x{CLOSE}y")]{CLOSE}B', "B", [("f", {"a": f"x{CLOSE}y"})]),
    Row(
        "two blocks, the first with a tag",
        f"{block(CLOSE)}A{block('x')}B",
        "AB",
        [("f", {"a": CLOSE}), ("f", {"a": "x"})],
    ),
    Row("two blocks, both with a tag", f"{block(CLOSE)}\n{block(OPEN)}", "", [("f", {"a": CLOSE}), ("f", {"a": OPEN})]),
    Row("a backslash outside a string escapes nothing", f'{OPEN}{F}\\"{CLOSE}"{CLOSE}B', '\\""B', [CALL]),
    # The output ends in such a block.
    Row(
        "a string without end",
        f'A{OPEN}[{F}, {{"name": "f}}]{CLOSE} So, "yes".\n',
        'A{"name": "f}] So, "yes".\n',
        [CALL],
    ),
    Row(
        "a string without end before a block",
        f'{OPEN}[{{"name": "f}}]{CLOSE}A{OPEN}{F}{CLOSE}B',
        '{"name": "f}]AB',
        [CALL],
    ),
    Row("a string without end, ended by a block", f'{OPEN}[{{"name": "f}}]{OPEN}{F}{CLOSE}B', '{"name": "f}]B', [CALL]),
    Row("a string without end before white space", f'{OPEN}{F}"{CLOSE}\n', "", [CALL]),
    Row("a backslash before the tag", f'{OPEN}{F}"\\{CLOSE}B', "B", [CALL]),
    Row("a quote in Python's string", f"{OPEN}[f(a='5\"')]{CLOSE}B", "B", [("f", {"a": '5"'})]),
    Row("after that, strings count no more", f'{OPEN}{F}"{CLOSE}A{OPEN}{F}\\"{CLOSE}B', "AB", [CALL, CALL]),
    Row("after that, a block without quotes", f'{OPEN}{F}"{CLOSE}A{OPEN}f(a=1){CLOSE}B', "AB", [CALL, CALL]),
    Row("after that, what the end begins is not the beginning", f'{OPEN}{F}"{OPEN}LCALL>{F}<TOO', f"LCALL>{F}", [CALL]),
    Row("after that, a part of a tag", f'{OPEN}{F}"{CLOSE}A<TOOL', "A<TOOL", [CALL]),
    Row("a tag in a string, and no closing tag", f'{OPEN}[{F}, {{"name": "{CLOSE}"}}]', '{"name": ""}]', [CALL]),
]


def read(answer: str, size: int) -> list[Run]:
    """The runs of an answer that comes in pieces of this size."""
    reader = ToolCallReader([*TOOLS.names, TAGGED], OPEN, CLOSE)
    return [run for at in range(0, len(answer), size) for run in reader.feed(answer[at : at + size])] + reader.flush()


def content_of(runs: list[Run]) -> str:
    return "".join(run.unread_text if run.markup else run.text for run in runs)


def calls_of(runs: list[Run]) -> tuple[tuple[str, Any], ...]:
    return plain(call for run in runs for call in run.calls)


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
@pytest.mark.parametrize("row", TABLE, ids=lambda row: row.situation)
def test_table(row: Row, size: int) -> None:
    runs = read(row.answer, size)
    assert "".join(run.text for run in runs) == row.answer
    assert content_of(runs) == row.content
    assert calls_of(runs) == tuple(row.calls)


FRAGMENTS = [
    *(OPEN, CLOSE, OPEN, CLOSE, "<TOOL", "</TOOL", "CALL>", "<"),
    *('"', '"', "\\", '\\"', "a", " ", "\n", F, '[{"name": "f", "arguments": {"a": "', '"}}]', "f(a='", "')"),
]


@given(answer=st.lists(st.sampled_from(FRAGMENTS), max_size=24).map("".join), size=st.integers(1, 12))
def test_any_cut_gives_what_the_whole_answer_gives(answer: str, size: int) -> None:
    runs = read(answer, size)
    whole = read_whole(answer, OutputRules("answer", (), TOOLS))
    assert "".join(run.text for run in runs) == answer
    assert (content_of(runs), calls_of(runs)) == (whole.content, whole.calls)


@given(
    arguments=st.lists(st.lists(st.sampled_from([OPEN, CLOSE, '"', "\\", "a", "\n"]), max_size=8).map("".join)),
    size=st.integers(1, 40),
)
def test_any_text_can_be_an_argument(arguments: list[str], size: int) -> None:
    runs = read("and".join(map(block, arguments)), size)
    assert content_of(runs) == "and" * (len(arguments) - 1)
    assert calls_of(runs) == tuple(("f", {"a": argument}) for argument in arguments)


@pytest.mark.parametrize("size", [4, 10**6])
@pytest.mark.parametrize(
    ("begin", "repeated"),
    [
        ("", f'{OPEN}"{CLOSE}"{CLOSE}'),
        (OPEN, "abcd"),
        (OPEN, "</TO"),
        (OPEN, '"'),
        (f'{OPEN}"', "\\"),
        (f'{OPEN}"', CLOSE),
        (f'{OPEN}"', OPEN),
        (f'{OPEN}"{CLOSE}', "abcd"),
    ],
)
def test_a_long_answer_takes_no_more_time_a_token(begin: str, repeated: str, size: int) -> None:
    answer = begin + repeated * (320_000 // len(repeated))
    start = time.thread_time()
    runs = read(answer, size)
    assert time.thread_time() - start < 10  # a tenth of that; were each token read anew with all before it, hours
    assert sum(len(run.text) for run in runs) == len(answer)


def test_what_is_certain_is_given_out_at_once() -> None:
    reader = ToolCallReader(["f"], OPEN, CLOSE)
    assert [run.text for run in reader.feed("So, 1 <")] == ["So, 1 "]
    assert [run.text for run in reader.feed(" 2\n")] == ["< 2\n"]
    assert [run.text for run in reader.feed(OPEN)] == [OPEN]
    assert [run.text for run in reader.feed(f"[{F}]</")] == [f"[{F}]</"]
    assert [run.calls != () for run in reader.feed("TOOLCALL>")] == [True]


def test_what_follows_a_tag_in_a_string_waits_for_the_end_of_the_block() -> None:
    reader = ToolCallReader(["f"], OPEN, CLOSE)
    assert [run.text for run in reader.feed(f'{OPEN}f(a="{CLOSE}b')] == [OPEN, f'f(a="{CLOSE}']
    assert reader.feed(f'{CLOSE}c") </') == []
    assert [(run.text, plain(run.calls)) for run in reader.feed("TOOLCALL>")] == [
        (f'b{CLOSE}c") {CLOSE}', (("f", {"a": f"{CLOSE}b{CLOSE}c"}),))
    ]


def test_other_tags() -> None:
    reader = ToolCallReader(["f"], "<tool_call>", "</tool_call>")
    runs = reader.feed(f"<tool_call>\n{F}\n</tool_call>\n<TOOLCALL>") + reader.flush()
    assert plain(call for run in runs for call in run.calls) == (CALL,)
    assert "".join(run.text for run in runs if not run.markup) == "\n<TOOLCALL>"
