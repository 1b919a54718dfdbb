"""The output rules written down once more, for a whole text at once: what the incremental machines must agree with."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import msgspec

from nemotron_serving.output.assembler import Assembler, OutputDelta, OutputRules, ToolRules
from nemotron_serving.output.call_syntax import Block, ToolCall, ToolCallError, read_calls
from nemotron_serving.output.detokenizer import Vocabulary

_NO_BLOCK = Block((), ())
TOOLS = ToolRules(("f", "get_weather"), "<TOOLCALL>", "</TOOLCALL>")


class Reading(NamedTuple):
    """The fields of a finished output. Calls are without their random ids."""

    text: str
    reasoning: str
    content: str
    stopped: bool
    calls: tuple[tuple[str, Any], ...] = ()
    error: ToolCallError | None = None


def assemble(vocabulary: Vocabulary, rules: OutputRules, chunks: Iterable[list[int]]) -> tuple[Reading, int]:
    """The concatenated fields of an output that came in chunks, and its reasoning tokens."""
    assembler = Assembler(vocabulary, rules)
    deltas = [assembler.feed(chunk) for chunk in chunks]
    whole = functools.reduce(OutputDelta.joined, deltas, OutputDelta("", "", "")).joined(assembler.flush())
    assert assembler.has_tool_calls is bool(whole.tool_calls)
    reading = Reading(*whole[:3], assembler.stopped, plain(whole.tool_calls), whole.tool_call_error)
    return reading, assembler.num_reasoning_tokens


def cut(ids: list[int], sizes: list[int]) -> Iterator[list[int]]:
    """The ids in chunks of these sizes, over and over."""
    begin, turn = 0, 0
    while begin < len(ids):
        size = sizes[turn % len(sizes)]
        yield ids[begin : begin + size]
        begin, turn = begin + size, turn + 1


def plain(calls: Iterable[ToolCall]) -> tuple[tuple[str, Any], ...]:
    """Names and arguments."""
    return tuple((call.function.name, msgspec.json.decode(call.function.arguments)) for call in calls)


def read_whole(text: str, rules: OutputRules) -> Reading:
    """Split a whole output."""
    head, reasoning, answer = _split(text, rules)
    raw, content, stopped = head, "", False
    calls: list[ToolCall] = []
    error: ToolCallError | None = None
    for part, markup, found, unread in _runs(answer, rules.tools):
        stops = [] if markup else [at for word in rules.stop_words if word and (at := part.find(word)) >= 0]
        kept = part[: min(stops)] if stops else part
        raw += kept
        content += unread if markup else kept
        if found.unread and error is None:
            error = msgspec.structs.replace(found.unread[0], index=len(calls) + found.unread[0].index)
        calls += found.calls
        if stops:
            stopped = True
            break
    return Reading(raw, reasoning, content, stopped, plain(calls), error)


def _split(text: str, rules: OutputRules) -> tuple[str, str, str]:
    """The raw text up to the answer, the thinking, and the answer."""
    tool_tag = re.escape(rules.tools.open_tag) if rules.tools else r"(?!)"
    ends = f"</think>|{tool_tag}" if rules.tools and rules.tools.ends_thinking else "</think>"
    head, thought = "", text
    if rules.start == "closed":
        answer = text.lstrip("\n")
        return text[: len(text) - len(answer)], "", answer
    if rules.start == "answer":
        empty = re.match(r"\s*<think>\s*</think>\n*", text)
        return (empty[0], "", text[empty.end() :]) if empty else ("", "", text)
    if rules.start in ("detect", "expected"):
        opener = re.match(r"\s*<think>", text)
        first = re.search(f"</think>|{tool_tag}", text)
        if opener:
            head, thought = opener[0], text[opener.end() :]
        elif rules.start == "detect" or not first or first[0] != "</think>":
            return "", "", text
    end = re.search(ends, thought)
    if end is None:
        # Newlines at the end are no reasoning, but were written.
        return text, thought.strip("\n"), ""
    answer = thought[end.end() :].lstrip("\n") if end[0] == "</think>" else thought[end.start() :]
    return head + thought[: len(thought) - len(answer)], thought[: end.start()].strip("\n"), answer


def _runs(answer: str, tools: ToolRules | None) -> list[tuple[str, bool, Block, str]]:
    """The answer in parts: text, whether it is markup, the block that it completes, and what of that is content."""
    if tools is None:
        return [(answer, False, _NO_BLOCK, "")]
    parts = _with_whole_blocks(re.split(f"({re.escape(tools.open_tag)}|{re.escape(tools.close_tag)})", answer), tools)
    runs: list[tuple[str, bool, Block, str]] = []
    content = before = ""
    for number, part in enumerate(parts):
        if part in (tools.open_tag, tools.close_tag):
            runs.append((part, True, _NO_BLOCK, ""))
        elif before == tools.open_tag:
            block = read_calls(part if number + 1 < len(parts) else _without_begun_tag(part, tools), tools.names)
            unread = _without_tags(content, "\n".join(one.text for one in block.unread), tools)
            runs.append((part, True, block, unread))
            content += unread
        else:
            rest = part
            while size := _completed(content, rest, tools) if before else 0:
                runs.append((rest[:size], True, _NO_BLOCK, ""))
                rest = rest[size:]
            markup = len(parts) > 1 and not rest.strip()
            runs.append((rest, markup, _NO_BLOCK, ""))
            content += "" if markup else rest
        before = part
    return runs


def _without_begun_tag(text: str, tools: ToolRules) -> str:
    for size in range(max(map(len, (tools.open_tag, tools.close_tag))), 0, -1):
        if any(tag.startswith(text[-size:]) for tag in (tools.open_tag, tools.close_tag)):
            return text[:-size]
    return text


def _without_tags(content: str, text: str, tools: ToolRules) -> str:
    kept = ""
    for piece in re.split(f"{re.escape(tools.open_tag)}|{re.escape(tools.close_tag)}", text):
        rest = piece
        while size := _completed(content + kept, rest, tools):
            rest = rest[size:]
        kept += rest
    return kept


def _with_whole_blocks(parts: list[str], tools: ToolRules) -> list[str]:
    """The parts, with a block that has tags inside strings as one of them."""
    whole, rest = parts[:1], parts[1:]
    while rest:
        tag, *rest = rest
        size = 1
        while tag == tools.open_tag and size < len(rest) and _leaves_a_string_open("".join(rest[:size])):
            size += 2
        if size > 1 and size == len(rest):
            # The output ends in this block, so that its first tag has ended it, and strings count no more.
            return [*whole, tag, *rest]
        whole += [tag, "".join(rest[:size])]
        rest = rest[size:]
    return whole


def _leaves_a_string_open(text: str) -> bool:
    return '"' in re.sub(r'"(?:[^"\\]|\\.)*"', "", text, flags=re.DOTALL)


def _completed(content: str, rest: str, tools: ToolRules) -> int:
    """How much of the rest completes a tag that the content ends with the beginning of."""
    for tag in (tools.open_tag, tools.close_tag):
        for size in range(1, len(tag)):
            if content.endswith(tag[:size]) and rest.startswith(tag[size:]):
                return len(tag) - size
    return 0
