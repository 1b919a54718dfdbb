from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from nemotron_serving.errors import EngineError, InvalidRequestError
from nemotron_serving.output.assembler import OutputDelta, OutputRules
from nemotron_serving.output.postprocessor import Postprocessor, StreamEvent
from tests.unit.serving.support import byte_tokenizer, ids_of, vocabulary_of


@pytest.fixture
def postprocessor(tmp_path: Path) -> Postprocessor:
    return Postprocessor(vocabulary_of(byte_tokenizer(), tmp_path), max_streams=3)


def event(key: str = "a", begins: OutputRules | None = None, finish_reason: str = "", error: str = "") -> bytes:
    return msgspec.json.encode(StreamEvent(key, begins, finish_reason, error))


def test_a_stream_from_first_to_last_response(postprocessor: Postprocessor) -> None:
    first = postprocessor.accept(event(begins=OutputRules("thinking")), ids_of("A"))
    assert first == (OutputDelta("A", "A", ""), 1, "")
    assert len(postprocessor) == 1
    second = postprocessor.accept(event(), ids_of("B\n</think>\n\nC <th"))
    assert second == (OutputDelta("B\n</think>\n\nC <th", "B", "C <th"), 2, "")
    last = postprocessor.accept(event(finish_reason="length"), ids_of("D"))
    assert last == (OutputDelta("D", "", "D"), 2, "length")
    assert len(postprocessor) == 0


def test_the_last_response_gives_out_what_was_held_back(postprocessor: Postprocessor) -> None:
    rules = OutputRules("detect", ("STOP",))
    assert postprocessor.accept(event(begins=rules), ids_of("A ST")).text.content == "A "
    assert postprocessor.accept(event(finish_reason="stop"), ids_of("O")).text == OutputDelta("STO", "", "STO")


def test_one_response_is_first_and_last(postprocessor: Postprocessor) -> None:
    delta = postprocessor.accept(event(begins=OutputRules("thinking"), finish_reason="stop"), ids_of("A</think>B"))
    assert delta == (OutputDelta("A</think>B", "A", "B"), 1, "stop")
    assert len(postprocessor) == 0


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
