from __future__ import annotations

from typing import get_args

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from tokenizers import Tokenizer

from nemotron_serving.output.assembler import Assembler, OutputDelta, OutputRules
from nemotron_serving.output.detokenizer import Vocabulary
from nemotron_serving.output.reasoning import Start
from tests.unit.serving.output.reading import TOOLS, Reading, assemble, cut, read_whole
from tests.unit.serving.support import FAMILY, TEXTS

FRAGMENTS = [
    *("<think>", "</think>", "<thi", "</thi", "nk>"),
    *("<TOOLCALL>", "</TOOLCALL>", "<TOOL", "</TOOL", "CALL>", "<", "</"),
    *('[{"name": "f", "arguments": {"a": 1}}]', 'f(a="น้ำ")', "[]", "]", '{"name": "g"}', '{"name"'),
    *('"', "\\", '\\"', '[{"name": "f", "arguments": {"a": "', '"}}]', '<TOOLCALL>f(a="</TOOLCALL>', '")</TOOLCALL>'),
    *("\n", "\n\n", " ", "STOP", "ST", "OP", "a", "so.", "น้ำ", "क्ष", FAMILY),
]


def outputs() -> st.SearchStrategy[str]:
    return st.lists(st.sampled_from(FRAGMENTS), max_size=14).map("".join)


def rules() -> st.SearchStrategy[OutputRules]:
    words = st.lists(st.sampled_from(["STOP", "OP", "TOPa", "\n\n", "ำ", "a<"]), max_size=3).map(tuple)
    tools = st.sampled_from([None, TOOLS, msgspec.structs.replace(TOOLS, ends_thinking=False)])
    return st.builds(OutputRules, start=st.sampled_from(get_args(Start)), stop_words=words, tools=tools)


@given(output=outputs(), rules=rules(), sizes=st.lists(st.integers(1, 9), min_size=1, max_size=4))
@example(output="A\n</think>\n\nB STOP", rules=OutputRules("thinking", ("STOP",)), sizes=[2])
def test_any_chunking_gives_what_the_whole_text_gives(
    vocabulary: Vocabulary, tokenizer: Tokenizer, output: str, rules: OutputRules, sizes: list[int]
) -> None:
    ids = tokenizer.encode(output, add_special_tokens=False).ids
    reading, reasoning_tokens = assemble(vocabulary, rules, cut(ids, sizes))
    assert reading == read_whole(output, rules)
    assert (reading, reasoning_tokens) == assemble(vocabulary, rules, [ids])


@given(data=st.data(), rules=rules(), sizes=st.lists(st.integers(1, 9), min_size=1, max_size=4))
def test_any_chunking_of_any_ids(
    vocabulary: Vocabulary, data: st.DataObject, rules: OutputRules, sizes: list[int]
) -> None:
    tags = [encoded(vocabulary, tag) for tag in FRAGMENTS]
    anything = st.integers(0, len(vocabulary) - 1).map(lambda index: [index])
    runs = data.draw(st.lists(st.one_of(anything, st.sampled_from(tags)), max_size=30))
    ids = [index for run in runs for index in run]
    one_by_one = assemble(vocabulary, rules, ([index] for index in ids))
    assert one_by_one[0] == read_whole(vocabulary.decode(ids), rules)
    assert assemble(vocabulary, rules, cut(ids, sizes)) == one_by_one
    assert assemble(vocabulary, rules, [ids]) == one_by_one


@given(output=outputs(), rules=rules(), size=st.integers(1, 9))
def test_markers_never_reach_the_content(
    vocabulary: Vocabulary, tokenizer: Tokenizer, output: str, rules: OutputRules, size: int
) -> None:
    rules = msgspec.structs.replace(rules, tools=TOOLS)
    ids = tokenizer.encode(output, add_special_tokens=False).ids
    reading, _ = assemble(vocabulary, rules, cut(ids, [size]))
    assert "<TOOLCALL>" not in reading.content
    assert "</TOOLCALL>" not in reading.content


def encoded(vocabulary: Vocabulary, text: str) -> list[int]:
    """One token a byte, which both vocabularies have."""
    return [vocabulary.token_bytes.index(bytes([byte])) for byte in text.encode()]


@given(thought=st.text("ab \nกñ\U0001f469", max_size=20), answer=st.text("ab\n", max_size=5), closed=st.booleans())
def test_reasoning_tokens_are_those_that_gave_its_bytes(
    vocabulary: Vocabulary, thought: str, answer: str, closed: bool
) -> None:
    output = f"<think>\n{thought}" + (f"</think>\n\n{answer}" if closed else "")
    reading, count = assemble(vocabulary, OutputRules("detect"), [encoded(vocabulary, output)])
    assert count == len(reading.reasoning.encode())


@pytest.mark.parametrize(
    ("tokens", "reasoning", "count"),
    [
        # A token counts as soon as one character of it is thinking, and once.
        (["<think", ">\nA", "B", "C</", "think", ">", "D"], "ABC", 3),
        (["<think>\n", "A", "\n\n", "</think>", "B"], "A", 1),
        (["<think>", "\n", "A", "\n", "B", "\n</think>\n\n", "C"], "A\nB", 3),
        (["<think></think>", "B"], "", 0),
        (["B"], "", 0),
        (["<think>A</think>B"], "A", 1),
    ],
)
def test_reasoning_tokens_that_fuse_with_the_tags(tokens: list[str], reasoning: str, count: int) -> None:
    vocabulary = Vocabulary([token.encode() for token in tokens], {})
    for sizes in ([1], [2], [3, 1], [100]):
        reading, counted = assemble(vocabulary, OutputRules("detect"), cut(list(range(len(tokens))), sizes))
        assert (reading.reasoning, counted) == (reasoning, count)


def test_reasoning_tokens_are_a_running_total(vocabulary: Vocabulary) -> None:
    assembler = Assembler(vocabulary, OutputRules("thinking"))
    totals = []
    for index in encoded(vocabulary, "ab\n</think>\n\nB"):
        assembler.feed((index,))
        totals.append(assembler.num_reasoning_tokens)
    assert totals == [1] + [2] * (len(totals) - 1)


def test_stop_words_do_not_apply_to_thinking(vocabulary: Vocabulary) -> None:
    output = "I must not STOP.\n</think>\n\nGo STOP on"
    reading, _ = assemble(vocabulary, OutputRules("thinking", ("STOP",)), [encoded(vocabulary, output)])
    assert reading == Reading(
        "I must not STOP.\n</think>\n\nGo ", reasoning="I must not STOP.", content="Go ", stopped=True
    )


def test_a_stop_word_is_not_looked_for_across_the_end_of_thinking(vocabulary: Vocabulary) -> None:
    output = "A\n</think>\n\nB\n\nC"
    reading, _ = assemble(vocabulary, OutputRules("thinking", ("\n\n", "think>")), [encoded(vocabulary, output)])
    assert (reading.content, reading.stopped) == ("B", True)


def test_after_a_stop_word_nothing_changes(vocabulary: Vocabulary) -> None:
    assembler = Assembler(vocabulary, OutputRules("detect", ("STOP",)))
    assert assembler.feed(encoded(vocabulary, "Go STOP")).content == "Go "
    assert assembler.stopped
    assert assembler.feed(encoded(vocabulary, " and <think>on")) == OutputDelta("", "", "")
    assert assembler.flush() == OutputDelta("", "", "")


def test_a_stop_word_is_not_looked_for_in_a_block_or_across_it(vocabulary: Vocabulary) -> None:
    output = "A ST<TOOLCALL>f(a='STOP')</TOOLCALL>OP B STOP C"
    reading, _ = assemble(vocabulary, OutputRules("answer", ("STOP",), TOOLS), [encoded(vocabulary, output)])
    assert reading == Reading(
        "A ST<TOOLCALL>f(a='STOP')</TOOLCALL>OP B ", "", "A STOP B ", stopped=True, calls=(("f", {"a": "STOP"}),)
    )


def test_text_held_back_for_a_stop_word_goes_out_when_a_block_opens(vocabulary: Vocabulary) -> None:
    assembler = Assembler(vocabulary, OutputRules("answer", ("STOP",), TOOLS))
    assert assembler.feed(encoded(vocabulary, "A ST<TOOLCALL")).content == "A "
    assert assembler.feed(encoded(vocabulary, ">")) == OutputDelta("ST<TOOLCALL>", "", "ST")


def test_after_a_stop_word_no_tool_is_called(vocabulary: Vocabulary) -> None:
    output = "A STOP<TOOLCALL>f()</TOOLCALL>"
    for words in (("STOP",), ("STOP", "A STOP B")):  # the second is decided by the block
        reading, _ = assemble(vocabulary, OutputRules("answer", words, TOOLS), [encoded(vocabulary, output)])
        assert reading == Reading("A ", "", "A ", stopped=True)


def test_without_tools_their_markers_are_text(vocabulary: Vocabulary) -> None:
    output = "<TOOLCALL>f()</TOOLCALL>"
    reading, _ = assemble(vocabulary, OutputRules("answer"), [encoded(vocabulary, output)])
    assert reading == Reading(output, "", output, stopped=False)


def test_the_generating_side_sees_where_thinking_ends(vocabulary: Vocabulary) -> None:
    assembler = Assembler(vocabulary, OutputRules("expected"))
    seen = []
    for index in encoded(vocabulary, "<think>A</think>"):
        assembler.feed((index,))
        seen.append((assembler.undecided, assembler.thinking))
    assert seen == [(True, False)] * 6 + [(False, True)] * 9 + [(False, False)]
    assert assembler.after_thinking == ""


@pytest.mark.parametrize("text", TEXTS)
def test_no_replacement_character_in_any_delta(vocabulary: Vocabulary, tokenizer: Tokenizer, text: str) -> None:
    assembler = Assembler(vocabulary, OutputRules("thinking"))
    output = f"{text}\n</think>\n\n{text}"
    for index in tokenizer.encode(output, add_special_tokens=False).ids:
        assert "\ufffd" not in "".join(assembler.feed((index,))[:3])
    assert "\ufffd" not in "".join(assembler.flush()[:3])
