"""Triton's generate endpoint in bytes, without a network."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nemotron_client import (
    AuthenticationError,
    InvalidRequestError,
    ModelNotReadyError,
    NemotronError,
    OverloadedError,
    ServerError,
    ServerUnavailableError,
)
from nemotron_client._transports import Call
from nemotron_client._transports import http_codec as codec

URL = "http://127.0.0.1:8000"


def call(outputs: tuple[str, ...] = ("content",), **inputs: Any) -> Call:
    return Call("ensemble", "request-1", inputs, outputs)


def cut(data: bytes, places: list[int]) -> list[bytes]:
    ends = sorted({0, len(data), *(place % (len(data) + 1) for place in places)})
    return [data[begin:end] for begin, end in pairwise(ends)]


def read(chunks: list[bytes]) -> list[bytes]:
    events = codec.EventReader()
    return [event for chunk in chunks for event in events.events_in(chunk)]


def test_a_call_is_json_with_its_id_beside_the_inputs() -> None:
    body = codec.generate_body(
        call(
            text_input="สวัสดี 👩\u200d👧\0",
            max_tokens=7,
            temperature=0.5,
            stop_words=["a", "ข"],
            seed=2**64 - 1,
            stream=True,
        )
    )
    assert json.loads(body) == {
        "id": "request-1", "text_input": "สวัสดี 👩\u200d👧\0", "max_tokens": 7, "temperature": 0.5,
        "stop_words": ["a", "ข"], "seed": 2**64 - 1, "stream": True,
    }  # fmt: skip
    assert "สวัสดี".encode() in body


def test_the_caller_is_a_key_of_the_body_for_triton_hands_no_header_on() -> None:
    named = Call("m", "1", {"stop": True}, (), {"nemotron-caller": "me", "x": "y"})
    assert json.loads(codec.generate_body(named)) == {"id": "1", "nemotron-caller": "me", "stop": True}
    assert "nemotron-caller" not in codec.generate_headers(named)
    assert "nemotron-caller" not in json.loads(codec.generate_body(call()))


def test_headers_of_the_call_have_the_last_word() -> None:
    given = Call("m", "1", {}, (), {"authorization": "Bearer x", "accept": "*/*"}, "gzip")
    assert codec.generate_headers(given) == {
        "content-type": "application/json", "accept": "*/*", "accept-encoding": "gzip", "authorization": "Bearer x",
    }  # fmt: skip
    assert codec.generate_headers(call())["accept-encoding"] == "identity"


@pytest.mark.parametrize(
    ("url", "base"),
    [
        ("http://host:8000", "http://host:8000"),
        ("https://host/", "https://host"),
        ("https://gateway:1/llm/a/", "https://gateway:1/llm/a"),
        ("http://[::1]:8000", "http://[::1]:8000"),
    ],
)
def test_paths_are_put_behind_the_url(url: str, base: str) -> None:
    assert codec.base_url(url) == base


def test_a_model_cannot_leave_its_place_in_the_path() -> None:
    assert codec.generate_path(Call("../x?y", "1", {}, ())) == "/v2/models/..%2Fx%3Fy/generate_stream"
    assert codec.ready_path("a b") == "/v2/models/a%20b/ready"
    assert codec.ready_path("") == "/v2/health/ready"


texts = st.text(st.characters(codec="utf-8"))


@given(
    st.lists(st.tuples(texts, st.sampled_from(["\n\n", "\r\n\r\n", "\n\r\n"]), st.booleans())),
    st.lists(st.integers(0, 10**6), max_size=40),
)
def test_events_are_the_same_however_the_bytes_are_cut(events: list[tuple[str, str, bool]], places: list[int]) -> None:
    """In the middle of characters, of line ends and of `data`; with comments of a gateway between them."""
    data = "".join(
        (": still here\n\n" if comment else "") + f"data: {json.dumps({'t': text}, ensure_ascii=False)}{end}"
        for text, end, comment in events
    ).encode()
    assert [json.loads(event)["t"] for event in read(cut(data, places))] == [text for text, _, _ in events]


def test_bytes_one_by_one() -> None:
    data = "data: ก\r\ndata: ข\r\n\r\nevent: x\nid: 7\ndata:👩\u200d👧\n\n:\n\n".encode()
    assert [event.decode() for event in read([bytes([byte]) for byte in data])] == ["ก\nข", "👩\u200d👧"]


def test_an_event_comes_with_its_last_byte_and_not_later() -> None:
    events = codec.EventReader()
    assert list(events.events_in(b"data: 1\n")) == []
    assert events.incomplete
    assert list(events.events_in(b"\n")) == [b"1"]
    assert not events.incomplete


@pytest.mark.parametrize("rest", [b"data: 1", b"data: 1\n", b"data: 1\r\n\r", b"da"])
def test_an_event_that_breaks_off_is_noticed(rest: bytes) -> None:
    reader = codec.ResponseReader(call(), URL)
    assert list(reader.responses_in(b'data: {"content": "a"}\n\n' + rest)) == [{"content": "a"}]
    with pytest.raises(ServerUnavailableError, match="broke off in the middle of an event"):
        reader.end()


def test_responses_have_the_outputs_that_were_asked_for_with_their_types() -> None:
    outputs = ("content", "num_output_tokens", "thinking_budget_reached", "cum_log_probs")
    event = {"content": "a", "num_output_tokens": 3, "thinking_budget_reached": True, "cum_log_probs": -0.5}
    reader = codec.ResponseReader(call(outputs), URL)
    data = json.dumps(event | {"model_name": "ensemble", "sequence_id": 0})
    assert list(reader.responses_in(f"data: {data}\n\n".encode())) == [event]
    reader.end()


def test_what_came_before_an_error_is_not_lost() -> None:
    reader = codec.ResponseReader(call(), URL)
    values = reader.responses_in(
        b'data: {"content": "a"}\n\ndata: {"error": "in ensemble \'e\', request \'r\': Bad. (INTERNAL)"}\n\n'
    )
    assert next(values) == {"content": "a"}
    with pytest.raises(ServerError, match=r"^request 'r': Bad\.$") as caught:
        next(values)
    assert (caught.value.request_id, caught.value.url) == ("request-1", URL)


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        ("in ensemble 'e', max_tokens: -1 was given (INVALID_ARGUMENT)", InvalidRequestError),
        ("This server has 8 requests in flight, which is its limit; try again later. (UNAVAILABLE)", OverloadedError),
        ("This server is shutting down and takes no new requests (UNAVAILABLE)", ServerUnavailableError),
        ("Stub process 'x' is not healthy.", ServerUnavailableError),
    ],
)
def test_errors_of_events_are_typed_by_their_ending(error: str, kind: type[NemotronError]) -> None:
    reader = codec.ResponseReader(call(), URL)
    with pytest.raises(kind) as caught:
        list(reader.responses_in(f"data: {json.dumps({'error': error})}\n\n".encode()))
    assert type(caught.value) is kind


@pytest.mark.parametrize("data", ["[1]", "7", '"error"', "<html>", "{", '{"other": 1}', "null"])
def test_events_that_triton_would_not_send(data: str) -> None:
    reader = codec.ResponseReader(call(), URL)
    with pytest.raises(ServerError, match="answered what Triton would not"):
        list(reader.responses_in(f"data: {data}\n\n".encode()))


def test_invalid_utf8_is_refused() -> None:
    with pytest.raises(ServerError, match="no JSON object"):
        list(codec.ResponseReader(call(), URL).responses_in(b'data: {"content": "\xff"}\n\n'))


@pytest.mark.parametrize(
    ("status", "error", "kind"),
    [
        (400, "Unexpected inference input 'x' for model 'ensemble'", InvalidRequestError),
        (400, "Request for unknown model: 'x' is not at ready state", ModelNotReadyError),
        (401, "who are you", AuthenticationError),
        (403, "This API is restricted, expecting header 'key'", AuthenticationError),
        (404, "Request for unknown model: 'x' is not found", ModelNotReadyError),
        (429, "slow down", OverloadedError),
        (500, "Unable to parse 'id'", ServerError),
        (501, "not implemented", ServerError),
        (503, "Exceeds maximum queue size", OverloadedError),
        (
            503,
            "Server is stopping, scheduler for model has stopped accepting new inference requests",
            ServerUnavailableError,
        ),
    ],
)
def test_statuses_of_tritons_front(status: int, error: str, kind: type[NemotronError]) -> None:
    body = json.dumps({"error": error}).encode()
    found = codec.refusal(status, "application/json", body, request_id="r", url=URL)
    assert type(found) is kind
    assert error in str(found)
    assert (found.request_id, found.url) == ("r", URL)


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (200, ServerError),
        (302, ServerError),
        (401, AuthenticationError),
        (403, AuthenticationError),
        (404, ServerError),
        (413, ServerError),
        (429, OverloadedError),
        (500, ServerError),
        (502, ServerUnavailableError),
        (503, ServerUnavailableError),
        (504, ServerUnavailableError),
    ],
)
@pytest.mark.parametrize(
    "body", [b"<html>s3cret</html>", b"", b"[]", b'{"message": "s3cret"}', b'{"error": {"message": "s3cret"}}']
)
def test_pages_of_gateways_are_named_by_status_and_type(status: int, kind: type[NemotronError], body: bytes) -> None:
    found = codec.refusal(status, "text/html; charset=utf-8", body, request_id="r", url=URL)
    assert type(found) is kind
    assert f"{URL} answered HTTP status {status} with text/html, expected Triton's JSON" in str(found)
    assert "s3cret" not in str(found)


def test_what_a_server_says_of_itself() -> None:
    known = {"name": "triton", "version": "2.51.0", "extensions": ["logging"]}
    body = json.dumps(known | {"more": 1}).encode()
    assert codec.metadata_of(200, "application/json", body, url=URL) == known
    for other in (b"<html>", b"[]", b'{"name": "x"}'):
        with pytest.raises(ServerError, match="Is this the URL of a Triton server"):
            codec.metadata_of(200, "text/html", other, url=URL)
    with pytest.raises(AuthenticationError):
        codec.metadata_of(403, "text/plain", b'{"error": "restricted"}', url=URL)


def test_health_is_yes_or_no_or_a_question_of_credentials() -> None:
    assert codec.says_yes(200, "text/plain", b"", url=URL)
    assert not codec.says_yes(400, "text/plain", b'{"error": "Model version not ready"}', url=URL)
    assert not codec.says_yes(503, "text/html", b"", url=URL)
    with pytest.raises(AuthenticationError):
        codec.says_yes(401, "text/html", b"", url=URL)


@pytest.mark.parametrize("kind", ["text/event-stream", "text/event-stream; charset=utf-8", "Text/Event-Stream ;x"])
def test_event_streams_are_known_by_their_type(kind: str) -> None:
    assert codec.is_event_stream(kind)
    assert not codec.is_event_stream("application/json")
    assert not codec.is_event_stream("")


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (200, b'{"parameters": {"name": {"string_value": "Nano"}}}', {"name": "Nano"}),
        (200, b'{"name": "ensemble"}', {}),
        (200, b'{"parameters": {"name": "Nano"}}', {}),
        (200, b"[]", {}),
        (403, b'{"error": "restricted"}', {}),
    ],
)
def test_parameters_of_a_configuration_that_may_not_be_shown(status: int, body: bytes, expected: Any) -> None:
    assert codec.parameters_of(status, body) == expected
