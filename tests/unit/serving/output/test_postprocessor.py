from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import pytest

from nemotron_serving.errors import EngineError, InvalidRequestError
from nemotron_serving.output.assembler import OutputDelta, OutputRules
from nemotron_serving.output.postprocessor import Postprocessor, StreamEvent, TextDelta
from nemotron_serving.output.reasoning import Start
from tests.unit.serving.output.reading import TOOLS
from tests.unit.serving.support import byte_tokenizer, ids_of, vocabulary_of


@pytest.fixture
def postprocessor(tmp_path: Path) -> Postprocessor:
    return Postprocessor(vocabulary_of(byte_tokenizer(), tmp_path), max_streams=3)


def event(
    key: str = "a", begins: OutputRules | None = None, finish_reason: str = "", error: str = "", **more: Any
) -> bytes:
    return msgspec.json.encode(StreamEvent(key, begins, finish_reason, error, **more))


def text_delta(
    text: str, reasoning: str, content: str, num_reasoning_tokens: int, finish_reason: str = ""
) -> TextDelta:
    return TextDelta(OutputDelta(text, reasoning, content), "", "", num_reasoning_tokens, finish_reason, False, "")


def test_a_stream_from_first_to_last_response(postprocessor: Postprocessor) -> None:
    first = postprocessor.accept(event(begins=OutputRules("thinking")), ids_of("A"))
    assert first == text_delta("A", "A", "", 1)
    assert len(postprocessor) == 1
    second = postprocessor.accept(event(), ids_of("B\n</think>\n\nC <th"))
    assert second == text_delta("B\n</think>\n\nC <th", "B", "C <th", 2)
    last = postprocessor.accept(event(finish_reason="length"), ids_of("D"))
    assert last == text_delta("D", "", "D", 2, "length")
    assert len(postprocessor) == 0


def test_the_last_response_gives_out_what_was_held_back(postprocessor: Postprocessor) -> None:
    rules = OutputRules("detect", ("STOP",))
    assert postprocessor.accept(event(begins=rules), ids_of("A ST")).text.content == "A "
    assert postprocessor.accept(event(finish_reason="stop"), ids_of("O")).text == OutputDelta("STO", "", "STO")


def test_one_response_is_first_and_last(postprocessor: Postprocessor) -> None:
    delta = postprocessor.accept(event(begins=OutputRules("thinking"), finish_reason="stop"), ids_of("A</think>B"))
    assert delta == text_delta("A</think>B", "A", "B", 1, "stop")
    assert len(postprocessor) == 0


def test_a_prompt_that_is_to_be_returned_begins_the_raw_text_and_no_other_field(postprocessor: Postprocessor) -> None:
    rules = OutputRules("thinking", prompt="Why? ")
    delta = postprocessor.accept(event(begins=rules, finish_reason="stop"), ids_of("A</think>B"))
    assert delta == text_delta("Why? A</think>B", "A", "B", 1, "stop")


def test_streams_do_not_mix(postprocessor: Postprocessor) -> None:
    half, rest = ids_of("ก")[:2], ids_of("ก")[2:]
    for key in ("a", "b"):
        assert postprocessor.accept(event(key, OutputRules()), half).text.text == ""
    assert postprocessor.accept(event("a"), ids_of("A")).text.text == "\ufffdA"
    assert postprocessor.accept(event("b"), rest).text.text == "ก"
    assert len(postprocessor) == 2


@pytest.mark.parametrize("begins", [None, OutputRules()], ids=["later", "in the first response"])
def test_an_error_ends_the_stream_and_drops_its_state(postprocessor: Postprocessor, begins: OutputRules | None) -> None:
    postprocessor.accept(event("b", OutputRules()), [])
    if begins is None:
        postprocessor.accept(event("a", OutputRules()), ids_of("A"))
    with pytest.raises(EngineError, match=r"^the engine burnt down$"):
        postprocessor.accept(event("a", begins, error="the engine burnt down"), [])
    assert len(postprocessor) == 1


@pytest.mark.parametrize("finish_reason", ["", "stop"])
def test_an_unknown_stream_is_reported_and_gets_no_state(postprocessor: Postprocessor, finish_reason: str) -> None:
    with pytest.raises(EngineError, match="the stream is not known"):
        postprocessor.accept(event("g", finish_reason=finish_reason), ids_of("A"))
    assert len(postprocessor) == 0


def test_a_stream_that_has_begun_cannot_be_begun_again(postprocessor: Postprocessor) -> None:
    postprocessor.accept(event(begins=OutputRules("thinking")), ids_of("A"))
    with pytest.raises(InvalidRequestError, match=r"^stream_event: "):
        postprocessor.accept(event(begins=OutputRules("detect")), ids_of("B"))
    assert postprocessor.accept(event(), ids_of("C")).text.reasoning_content == "C"


def test_no_more_streams_than_the_server_admits(postprocessor: Postprocessor) -> None:
    for key in "abc":
        postprocessor.accept(event(key, OutputRules()), [])
    with pytest.raises(InvalidRequestError, match=r"^stream_event: "):
        postprocessor.accept(event("d", OutputRules()), [])
    assert len(postprocessor) == 3


@pytest.mark.parametrize("value", [b"", b"{", b"{}", b'{"stream_key": 1}'])
def test_what_the_generating_model_would_not_send_is_refused(postprocessor: Postprocessor, value: bytes) -> None:
    with pytest.raises(InvalidRequestError, match=r"^stream_event: .*written by the generating model"):
        postprocessor.accept(value, [])


class Row(NamedTuple):
    """One of the table "Reading the output"."""

    situation: str
    start: Start
    output: str
    reasoning: str = ""
    content: str = ""
    calls: tuple[str, ...] = ()
    finish_reason: str = "stop"
    ended: str = "stop"
    error: tuple[int, str] | None = None


F = '{"name": "f", "arguments": {"a": 1}}'
G = '{"name": "g", "arguments": {}}'
F_CALL = ('f({"a": 1})',)
TABLE = [
    Row("on: a block", "expected", "<think>\nA\n</think>\n\nB", "A", "B"),
    Row("on: an empty block", "expected", "<think></think>B", "", "B"),
    Row("on: no opener", "expected", "A\n</think>\n\nB", "A", "B"),
    Row("on: no block", "expected", "B", "", "B"),
    Row("on: cut off inside thinking", "expected", "<think>\nA", "A", "", (), "length", "length"),
    Row("off", "answer", "B", "", "B"),
    Row("off: an empty block", "answer", "<think>\n</think>\n\nB", "", "B"),
    Row("later tags", "expected", "<think>A</think>B<think>C</think>", "A", "B<think>C</think>"),
    Row("a call inside thinking", "expected", f"<think>A\n<TOOLCALL>[{F}]</TOOLCALL>", "A", "", F_CALL, "tool_calls"),
    Row(
        "a call right after thinking",
        "expected",
        f"<think>A</think>\n\n<TOOLCALL>[{F}]</TOOLCALL>",
        "A",
        "",
        F_CALL,
        "tool_calls",
    ),
    Row("a list", "answer", f"<TOOLCALL>[{F}, {F}]</TOOLCALL>", "", "", F_CALL * 2, "tool_calls"),
    Row("a single object", "answer", f"<TOOLCALL>{F}</TOOLCALL>", "", "", F_CALL, "tool_calls"),
    Row(
        "parameters",
        "answer",
        '<TOOLCALL>[{"name": "f", "parameters": {"a": 1}}]</TOOLCALL>',
        "",
        "",
        F_CALL,
        "tool_calls",
    ),
    Row(
        "arguments as a string",
        "answer",
        r'<TOOLCALL>[{"name": "f", "arguments": "{\"a\": 1}"}]</TOOLCALL>',
        "",
        "",
        F_CALL,
        "tool_calls",
    ),
    Row("pythonic", "answer", "<TOOLCALL>[f(a=1)]</TOOLCALL>", "", "", F_CALL, "tool_calls"),
    Row(
        "several blocks",
        "answer",
        f"A<TOOLCALL>[{F}]</TOOLCALL>\n<TOOLCALL>[{F}]</TOOLCALL>\n",
        "",
        "A",
        F_CALL * 2,
        "tool_calls",
    ),
    Row("no ]", "answer", f"<TOOLCALL>[{F}</TOOLCALL>", "", "", F_CALL, "tool_calls"),
    Row("no closing tag", "answer", f"<TOOLCALL>[{F}]", "", "", F_CALL, "tool_calls"),
    Row("an unknown tool", "answer", f"<TOOLCALL>[{G}]</TOOLCALL>", "", G, error=(0, G)),
    Row("garbage", "answer", "A<TOOLCALL>{what?</TOOLCALL>", "", "A{what?", error=(0, "{what?")),
    Row(
        "the first of several",
        "expected",
        f"<think>A</think><TOOLCALL>[{F}, {G}]</TOOLCALL> B <TOOLCALL>f(</TOOLCALL>",
        "A",
        f"{G} B f(",
        F_CALL,
        "tool_calls",
        error=(1, G),
    ),
    Row(
        "in the second block",
        "answer",
        f"<TOOLCALL>{F}</TOOLCALL>\n<TOOLCALL>{F}{G}</TOOLCALL>",
        "",
        G,
        F_CALL * 2,
        "tool_calls",
        error=(2, G),
    ),
    Row(
        "cut off",
        "answer",
        '<TOOLCALL>[{"name": "f", "argu',
        "",
        '{"name": "f", "argu',
        (),
        "length",
        "length",
        (0, '{"name": "f", "argu'),
    ),
    Row("no calls", "answer", "<TOOLCALL>[]</TOOLCALL>B", "", "B"),
    Row("a call, and out of tokens", "answer", f"<TOOLCALL>[{F}, {{", "", "", F_CALL, "length", "length"),
    Row(
        "a tag in a call of an unknown tool",
        "answer",
        '<TOOLCALL>g(a="</TOOLCALL>")</TOOLCALL>',
        "",
        'g(a="")',
        error=(0, 'g(a="</TOOLCALL>")'),
    ),
]


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
@pytest.mark.parametrize("row", TABLE, ids=lambda row: row.situation)
def test_reading_the_output(postprocessor: Postprocessor, row: Row, size: int) -> None:
    ids = ids_of(row.output)
    deltas = [postprocessor.accept(event(begins=OutputRules(row.start, (), TOOLS)), [])]
    deltas += [postprocessor.accept(event(), ids[at : at + size]) for at in range(0, len(ids), size)]
    deltas.append(postprocessor.accept(event(finish_reason=row.ended), []))
    calls = [call["function"] for delta in deltas if delta.tool_calls for call in msgspec.json.decode(delta.tool_calls)]
    assert "".join(delta.text.text for delta in deltas) == row.output
    assert "".join(delta.text.reasoning_content for delta in deltas) == row.reasoning
    assert "".join(delta.text.content for delta in deltas) == row.content
    assert tuple(f"{call['name']}({call['arguments']})" for call in calls) == row.calls
    errors = [msgspec.json.decode(delta.tool_call_error) for delta in deltas if delta.tool_call_error]
    assert [(error["index"], error["text"]) for error in errors] == ([row.error] if row.error else [])
    assert all(error.keys() == {"index", "reason", "text"} and error["reason"] for error in errors)
    assert [delta.finish_reason for delta in deltas] == [""] * (len(deltas) - 1) + [row.finish_reason]


def test_a_call_is_in_the_response_that_completes_it(postprocessor: Postprocessor) -> None:
    begun = postprocessor.accept(event(begins=OutputRules("answer", (), TOOLS)), ids_of(f"<TOOLCALL>{F}</TOOLCALL"))
    assert (begun.text.text, begun.tool_calls) == (f"<TOOLCALL>{F}</TOOLCALL", "")
    (call,) = msgspec.json.decode(postprocessor.accept(event(), ids_of(">")).tool_calls)
    assert call == {"id": call["id"], "type": "function", "function": {"name": "f", "arguments": '{"a": 1}'}}
    assert postprocessor.accept(event(finish_reason="stop"), []).tool_calls == ""


def test_the_budget_is_passed_on(postprocessor: Postprocessor) -> None:
    assert not postprocessor.accept(event(begins=OutputRules("thinking")), []).thinking_budget_reached
    assert postprocessor.accept(event(thinking_budget_reached=True), []).thinking_budget_reached


def test_log_probabilities_have_openais_shape(postprocessor: Postprocessor) -> None:
    a, b, part = *ids_of("AB"), ids_of("ก")[0]
    logprobs = ((-0.5, ((a, -0.5), (b, -1.5))), (-2.0, ()))
    delta = postprocessor.accept(event(begins=OutputRules(), logprobs=logprobs), [a, part])
    assert msgspec.json.decode(delta.logprobs) == [
        {
            "token": "A",
            "logprob": -0.5,
            "bytes": [65],
            "top_logprobs": [
                {"token": "A", "logprob": -0.5, "bytes": [65]},
                {"token": "B", "logprob": -1.5, "bytes": [66]},
            ],
        },
        {"token": "\ufffd", "logprob": -2.0, "bytes": [0xE0], "top_logprobs": []},
    ]
    assert postprocessor.accept(event(), [a]).logprobs == ""


def test_log_probabilities_of_other_tokens_are_refused(postprocessor: Postprocessor) -> None:
    with pytest.raises(InvalidRequestError, match=r"^stream_event: 1 logprobs for 2 tokens$"):
        postprocessor.accept(event(begins=OutputRules(), logprobs=((-0.5, ()),)), ids_of("AB"))


def test_only_who_knows_the_prefix_begins_a_stream(tmp_path: Path) -> None:
    guarded = Postprocessor(vocabulary_of(byte_tokenizer(), tmp_path), max_streams=3, secret="ab" * 4)
    for key in ("", "a", "abab", "Abababab-a"):
        with pytest.raises(InvalidRequestError, match="written by the generating model"):
            guarded.accept(event(key, OutputRules()), [])
    assert len(guarded) == 0
    assert guarded.accept(event("abababab-a", OutputRules()), ids_of("A")).text.text == "A"
