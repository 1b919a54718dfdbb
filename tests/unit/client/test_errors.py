"""The server's errors become typed ones, whatever words they come in."""

from __future__ import annotations

import pickle

import pytest

from nemotron_client import (
    AuthenticationError,
    InvalidRequestError,
    ModelNotReadyError,
    NemotronError,
    OverloadedError,
    RequestTimeoutError,
    ServerError,
    ServerUnavailableError,
    TlsError,
)
from nemotron_client._errors import from_status, from_stream_error

REFUSED = "failed to connect to all addresses; last error: UNKNOWN: ipv4:127.0.0.1:1: Connection refused"
HANDSHAKE = "failed to connect to all addresses; last error: UNKNOWN: Ssl handshake failed: CERTIFICATE_VERIFY_FAILED"
SETTINGS = "connection attempt timed out before receiving SETTINGS frame"


@pytest.mark.parametrize(
    ("status", "details", "kind"),
    [
        ("UNAVAILABLE", REFUSED, ServerUnavailableError),
        ("UNAVAILABLE", "Socket closed", ServerUnavailableError),
        ("UNAVAILABLE", "Server is stopping, scheduler has stopped accepting requests", ServerUnavailableError),
        ("UNAVAILABLE", "Exceeds maximum queue size", OverloadedError),
        ("UNAVAILABLE", "This protocol is restricted, expecting header 'triton-grpc-protocol-x'", AuthenticationError),
        ("UNAVAILABLE", HANDSHAKE, TlsError),
        ("UNAVAILABLE", SETTINGS, RequestTimeoutError),
        ("CANCELLED", "", ServerUnavailableError),
        ("DEADLINE_EXCEEDED", "Deadline Exceeded", RequestTimeoutError),
        ("INVALID_ARGUMENT", "max_tokens: -1 was given", InvalidRequestError),
        ("NOT_FOUND", "Request for unknown model: 'ensemble' is not found", ModelNotReadyError),
        ("UNAVAILABLE", "", ServerUnavailableError),
        ("RESOURCE_EXHAUSTED", "too many", OverloadedError),
        ("UNAUTHENTICATED", "no token", AuthenticationError),
        ("PERMISSION_DENIED", "no", AuthenticationError),
        ("INTERNAL", "it broke", ServerError),
        ("UNKNOWN", "", ServerError),
        ("UNIMPLEMENTED", "", ServerError),
    ],
)
def test_statuses(status: str, details: str, kind: type[NemotronError]) -> None:
    error = from_status(status, details, request_id="r", url="grpc://a")
    assert type(error) is kind
    assert (error.request_id, error.url) == ("r", "grpc://a")
    assert str(error)


def test_a_path_that_openai_has_is_named() -> None:
    error = from_status("NOT_FOUND", "Not Found", request_id="r", url="http://a:8000/v1")
    assert type(error) is ModelNotReadyError
    assert "leave /v1 out of the URL" in str(error)


@pytest.mark.parametrize(
    ("url", "details"),
    [("http://a", "Not Found"), ("https://a/llm", "Request for unknown model: 'ensemble' is not found")],
)
def test_a_model_that_is_not_there_may_be_waited_for(url: str, details: str) -> None:
    assert "wait_ready" in str(from_status("NOT_FOUND", details, request_id="r", url=url))


@pytest.mark.parametrize(
    ("message", "kind", "text"),
    [
        ("in ensemble 'ensemble', seed: no (INVALID_ARGUMENT)", InvalidRequestError, "seed: no"),
        ("in ensemble 'ensemble', This server has 8 requests in flight (UNAVAILABLE)", OverloadedError, "This server"),
        (
            "This server is shutting down; try another one. (UNAVAILABLE)",
            ServerUnavailableError,
            "grpc://a is shutting",
        ),
        ("The engine failed (INTERNAL)", ServerError, "The engine failed"),
        ("Stub process 'x' is not healthy.", ServerUnavailableError, "grpc://a lost a model's process (Stub process"),
        ("Request for unknown model: 'ensemble' has no available versions", ModelNotReadyError, "Request for unknown"),
    ],
)
def test_messages_of_a_stream(message: str, kind: type[NemotronError], text: str) -> None:
    error = from_stream_error(message, request_id="r", url="grpc://a")
    assert type(error) is kind
    assert str(error).startswith(text)


@pytest.mark.parametrize(
    ("message", "param"),
    [
        ("max_tokens: -1 was given", "max_tokens"),
        ("messages[0].role: 'x' was given", "messages[0].role"),
        ("The prompt has 9 tokens: too many", None),
    ],
)
def test_an_invalid_request_names_its_field(message: str, param: str | None) -> None:
    assert InvalidRequestError(message, request_id="r", url="u").param == param


def test_errors_can_be_sent_to_another_process() -> None:
    error = RequestTimeoutError("slow", phase="total", request_id="r", url="u")
    copy = pickle.loads(pickle.dumps(error))  # noqa: S301 - our own
    assert (type(copy), str(copy), copy.phase, copy.request_id, copy.url) == (
        RequestTimeoutError,
        "slow",
        "total",
        "r",
        "u",
    )
