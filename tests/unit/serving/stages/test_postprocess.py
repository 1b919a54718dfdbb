from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import pytest

from nemotron_serving.errors import EngineError, InvalidRequestError
from nemotron_serving.output.assembler import OutputRules
from nemotron_serving.output.detokenizer import Vocabulary
from nemotron_serving.output.reasoning import Start
from nemotron_serving.stages.postprocess import Postprocessor, StreamEvent
from tests.unit.serving.output.reading import TOOLS
from tests.unit.serving.support import byte_tokenizer, ids_of, vocabulary_of


class Streams:
    """Streams by a letter each, whose responses a postprocessor reads, and the clock that it looks at."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self.now = 0.0
        self.departed: list[int] = []
        self.heard = True
        self.postprocessor = Postprocessor(vocabulary, 3, self._report, clock=lambda: self.now)
        self._number = 0
        self._latest: dict[str, StreamEvent] = {}

    def __len__(self) -> int:
        return self.postprocessor.count_streams()

    def _report(self, number: int) -> bool:
        self.departed.append(number)
        return self.heard

    def event(self, key: str = "a", begins: OutputRules | None = None, **more: Any) -> StreamEvent:
        """The next of the letter's streams: of a new one if it begins."""
        if begins is not None or key not in self._latest:
            self._number += 1
        before = self._latest.get(key, StreamEvent(ord(key) - ord("a"), self._number))
        made = StreamEvent(before.slot, before.number, before.sequence + 1, **more)
        if begins is not None:
            made = StreamEvent(before.slot, self._number, 0, begins, self.now + 600, **more)
        self._latest[key] = made
        return made

    def read(self, event: StreamEvent, ids: list[int]) -> dict[str, Any]:
        return self.postprocessor.accept(msgspec.json.encode(event), ids)

    def accept(self, ids: list[int], key: str = "a", begins: OutputRules | None = None, **more: Any) -> dict[str, Any]:
        return self.read(self.event(key, begins, **more), ids)


@pytest.fixture
def streams(tmp_path: Path) -> Streams:
    return Streams(vocabulary_of(byte_tokenizer(), tmp_path))


def text_delta(
    text: str, reasoning: str, content: str, num_reasoning_tokens: int, finish_reason: str = ""
) -> dict[str, Any]:
    return {
        "text_output": text, "reasoning_content": reasoning, "content": content, "tool_calls": "",
        "finish_reason": finish_reason, "num_reasoning_tokens": num_reasoning_tokens,
        "thinking_budget_reached": False, "logprobs": "",
    }  # fmt: skip


def test_a_stream_from_first_to_last_response(streams: Streams) -> None:
    first = streams.accept(ids_of("A"), begins=OutputRules("thinking"))
    assert first == text_delta("A", "A", "", 1)
    assert len(streams) == 1
    second = streams.accept(ids_of("B\n</think>\n\nC <th"))
    assert second == text_delta("B\n</think>\n\nC <th", "B", "C <th", 2)
    last = streams.accept(ids_of("D"), finish_reason="length")
    assert last == text_delta("D", "", "D", 2, "length")
    assert len(streams) == 0


def test_the_last_response_gives_out_what_was_held_back(streams: Streams) -> None:
    rules = OutputRules("detect", ("STOP",))
    assert streams.accept(ids_of("A ST"), begins=rules)["content"] == "A "
    assert streams.accept(ids_of("O"), finish_reason="stop") == text_delta("STO", "", "STO", 0, "stop")


def test_one_response_is_first_and_last(streams: Streams) -> None:
    delta = streams.accept(ids_of("A</think>B"), begins=OutputRules("thinking"), finish_reason="stop")
    assert delta == text_delta("A</think>B", "A", "B", 1, "stop")
    assert len(streams) == 0


def test_a_prompt_that_is_to_be_returned_begins_the_raw_text_and_no_other_field(streams: Streams) -> None:
    rules = OutputRules("thinking", prompt="Why? ")
    delta = streams.accept(ids_of("A</think>B"), begins=rules, finish_reason="stop")
    assert delta == text_delta("Why? A</think>B", "A", "B", 1, "stop")


def test_the_first_response_alone_says_which_package_answers(streams: Streams) -> None:
    rules = OutputRules("answer", package="nano-fp8")
    assert streams.accept(ids_of("A"), begins=rules) == text_delta("A", "", "A", 0) | {"package": "nano-fp8"}
    assert streams.accept(ids_of("B"), finish_reason="stop") == text_delta("B", "", "B", 0, "stop")


def test_streams_do_not_mix(streams: Streams) -> None:
    half, rest = ids_of("ก")[:2], ids_of("ก")[2:]
    for key in ("a", "b"):
        assert streams.accept(half, key, OutputRules())["text_output"] == ""
    assert streams.accept(ids_of("A"), "a")["text_output"] == "\ufffdA"
    assert streams.accept(rest, "b")["text_output"] == "ก"
    assert len(streams) == 2


@pytest.mark.parametrize("begins", [None, OutputRules()], ids=["later", "in the first response"])
def test_an_error_ends_the_stream_and_drops_its_state(streams: Streams, begins: OutputRules | None) -> None:
    streams.accept([], "b", OutputRules())
    if begins is None:
        streams.accept(ids_of("A"), "a", OutputRules())
    with pytest.raises(EngineError, match=r"^the engine burnt down$"):
        streams.accept([], begins=begins, error="the engine burnt down")
    assert len(streams) == 1


def test_what_is_the_caller_s_fault_names_the_field(streams: Streams) -> None:
    with pytest.raises(InvalidRequestError, match=r"^response_format: takes too long$") as raised:
        streams.accept([], begins=OutputRules(), error="response_format: takes too long", refused=True)
    assert raised.value.field == "response_format"
    assert len(streams) == 0


@pytest.mark.parametrize("finish_reason", ["", "stop"])
def test_an_unknown_stream_is_reported_and_gets_no_state(streams: Streams, finish_reason: str) -> None:
    with pytest.raises(EngineError, match="the stream is not known"):
        streams.accept(ids_of("A"), "c", finish_reason=finish_reason)
    assert len(streams) == 0


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"{",
        b"{}",
        b"[]",
        b'{"slot": "a", "number": 1}',
        b'{"slot": -1, "number": 1, "begins": {}, "expires": 9}',
        b'{"slot": 3, "number": 1, "begins": {}, "expires": 9}',
        b'{"slot": 1, "number": 1, "expires": 9}',
        b'{"slot": 1, "number": 1, "sequence": 1, "begins": {}, "expires": 9}',
        b'{"slot": 1, "number": 1, "begins": {}, "finish_reason": "\xff"}',
    ],
)
def test_what_the_generating_model_would_not_send_is_refused(streams: Streams, value: bytes) -> None:
    with pytest.raises(InvalidRequestError, match=r"^stream_event: .*written by the generating model"):
        streams.postprocessor.accept(value, [])
    assert len(streams) == 0


# What callers may do with events that the generating model has written


def test_an_event_is_read_once_and_in_its_turn(streams: Streams) -> None:
    events = [streams.event(begins=OutputRules("thinking")), *(streams.event() for _ in "BCDE")]
    refused = pytest.raises(InvalidRequestError, match=r"^stream_event: .*turn")
    assert streams.read(events[0], ids_of("A"))["text_output"] == "A"
    for turn, char in enumerate("BCD", start=1):
        for wrong in (*events[:turn], *events[turn + 1 :]):
            with refused:
                streams.read(wrong, ids_of("X"))
        assert streams.read(events[turn], ids_of(char))["reasoning_content"] == char


@pytest.mark.parametrize("at_once", [True, False])
def test_a_stream_that_has_ended_cannot_be_begun_again(streams: Streams, at_once: bool) -> None:
    first = streams.event(begins=OutputRules(), finish_reason="stop" if at_once else "")
    events = [first] if at_once else [first, streams.event(), streams.event(finish_reason="stop")]
    for event in events:
        streams.read(event, ids_of("A"))
    for event in events:
        with pytest.raises(InvalidRequestError, match=r"^stream_event: .*turn"):
            streams.read(event, ids_of("A"))
    assert len(streams) == 0


def test_a_stream_takes_the_slot_of_an_earlier_one_that_was_left_open(streams: Streams) -> None:
    """So whatever callers keep back of streams of their own, there is room for all that are in flight."""
    kept = [streams.event("b", OutputRules()) for _ in range(1000)]
    for event in kept[:-1]:
        streams.read(event, ids_of("A"))
    assert len(streams) == 1
    assert streams.accept(ids_of("M"), "b", OutputRules())["text_output"] == "M"
    for event in kept:
        with pytest.raises(InvalidRequestError, match=r"^stream_event: .*turn"):
            streams.read(event, ids_of("A"))
    assert streams.accept(ids_of("N"), "b", finish_reason="stop")["text_output"] == "N"
    assert len(streams) == 0


def test_a_stream_has_no_state_past_its_expiry(streams: Streams) -> None:
    early, late = streams.event("a", OutputRules()), streams.event("b", OutputRules())
    streams.read(early, ids_of("A"))
    streams.now = 599
    assert len(streams) == 1
    streams.now = 600
    assert len(streams) == 0
    with pytest.raises(InvalidRequestError, match=r"^stream_event: .*turn"):
        streams.accept(ids_of("B"))
    with pytest.raises(InvalidRequestError, match=r"^stream_event: .*turn"):
        streams.read(late, ids_of("B"))
    assert len(streams) == 0


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
def test_reading_the_output(streams: Streams, row: Row, size: int) -> None:
    ids = ids_of(row.output)
    deltas = [streams.accept([], begins=OutputRules(row.start, (), TOOLS))]
    deltas += [streams.accept(ids[at : at + size]) for at in range(0, len(ids), size)]
    deltas.append(streams.accept([], finish_reason=row.ended))
    calls = [
        call["function"] for delta in deltas if delta["tool_calls"] for call in msgspec.json.decode(delta["tool_calls"])
    ]
    assert "".join(delta["text_output"] for delta in deltas) == row.output
    assert "".join(delta["reasoning_content"] for delta in deltas) == row.reasoning
    assert "".join(delta["content"] for delta in deltas) == row.content
    assert tuple(f"{call['name']}({call['arguments']})" for call in calls) == row.calls
    errors = [msgspec.json.decode(delta["tool_call_error"]) for delta in deltas if "tool_call_error" in delta]
    assert [(error["index"], error["text"]) for error in errors] == ([row.error] if row.error else [])
    assert all(error.keys() == {"index", "reason", "text"} and error["reason"] for error in errors)
    assert [delta["finish_reason"] for delta in deltas] == [""] * (len(deltas) - 1) + [row.finish_reason]


def test_a_call_is_in_the_response_that_completes_it(streams: Streams) -> None:
    begun = streams.accept(ids_of(f"<TOOLCALL>{F}</TOOLCALL"), begins=OutputRules("answer", (), TOOLS))
    assert (begun["text_output"], begun["tool_calls"]) == (f"<TOOLCALL>{F}</TOOLCALL", "")
    (call,) = msgspec.json.decode(streams.accept(ids_of(">"))["tool_calls"])
    assert call == {"id": call["id"], "type": "function", "function": {"name": "f", "arguments": '{"a": 1}'}}
    assert streams.accept([], finish_reason="stop")["tool_calls"] == ""


def test_the_budget_is_passed_on(streams: Streams) -> None:
    assert not streams.accept([], begins=OutputRules("thinking"))["thinking_budget_reached"]
    assert streams.accept([], states={"thinking_budget_reached": True})["thinking_budget_reached"]


def test_log_probabilities_have_openais_shape(streams: Streams) -> None:
    a, b, part = *ids_of("AB"), ids_of("ก")[0]
    logprobs = ((-0.5, ((a, -0.5), (b, -1.5))), (-2.0, ()))
    delta = streams.accept([a, part], begins=OutputRules(), logprobs=logprobs)
    assert msgspec.json.decode(delta["logprobs"]) == [
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
    assert streams.accept([a])["logprobs"] == ""


def test_log_probabilities_of_other_tokens_are_refused(streams: Streams) -> None:
    with pytest.raises(InvalidRequestError, match=r"^stream_event: 1 logprobs for 2 tokens$"):
        streams.accept(ids_of("AB"), begins=OutputRules(), logprobs=((-0.5, ()),))


def test_a_caller_that_has_left_is_reported_once_and_its_stream_read_to_the_end(streams: Streams) -> None:
    begun = streams.event(begins=OutputRules("detect"))
    for text in "ABCD":
        event = msgspec.json.encode(begun if text == "A" else streams.event())
        assert streams.postprocessor.accept(event, ids_of(text), lambda: True)["content"] == text
        streams.now += 60
    assert streams.departed == [begun.number]
    assert streams.accept(ids_of("E"), finish_reason="cancelled")["finish_reason"] == "cancelled"
    assert len(streams) == 0


def test_a_caller_is_looked_at_now_and_then(streams: Streams) -> None:
    looks: list[float] = []

    def has_left() -> bool:
        looks.append(streams.now)
        return False

    streams.accept(ids_of("A"), begins=OutputRules("detect"))
    for _ in range(100):
        streams.postprocessor.accept(msgspec.json.encode(streams.event()), ids_of("B"), has_left)
        streams.now += 0.04
    assert 4 <= len(looks) <= 10
    assert streams.departed == []


def test_a_departure_that_was_not_heard_is_reported_again(streams: Streams) -> None:
    streams.heard = False
    streams.accept(ids_of("A"), begins=OutputRules("detect"))
    for _ in range(3):
        streams.now += 60
        streams.postprocessor.accept(msgspec.json.encode(streams.event()), ids_of("B"), lambda: True)
    assert len(streams.departed) == 3


def test_a_caller_is_not_asked_for_where_the_stream_ends(streams: Streams) -> None:
    streams.accept(ids_of("A"), begins=OutputRules("detect"))
    last = msgspec.json.encode(streams.event(finish_reason="stop"))
    streams.postprocessor.accept(last, ids_of("B"), lambda: pytest.fail("asked"))
