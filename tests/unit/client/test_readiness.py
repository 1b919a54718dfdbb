"""How long a client waits for a server, and when it does not wait."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from typing import Any

import pytest

from nemotron_client import (
    AsyncClient,
    AuthenticationError,
    Client,
    InvalidRequestError,
    ModelNotReadyError,
    NemotronError,
    RequestTimeoutError,
    ServerError,
    ServerUnavailableError,
    TlsError,
)
from nemotron_client._transports import Call
from tests.unit.client.http_peer import deaf_address
from tests.unit.client.pretend import URL, AsyncPretend, Pretend

WHERE: dict[str, Any] = {"request_id": "", "url": URL}


def wait_sync(client: Client, timeout_s: float) -> None:
    with client:
        client.wait_ready(timeout_s)


def wait_async(client: AsyncClient, timeout_s: float) -> None:
    async def run() -> None:
        async with client:
            await client.wait_ready(timeout_s)

    asyncio.run(run())


@pytest.fixture(params=[(Client, Pretend, wait_sync), (AsyncClient, AsyncPretend, wait_async)], ids=["sync", "async"])
def kind(request: pytest.FixtureRequest) -> Any:
    return request.param


@pytest.mark.parametrize("scheme", ["grpc", "http"])
def test_a_server_that_says_nothing_does_not_stretch_the_time(kind: Any, scheme: str) -> None:
    client, _, wait = kind
    with deaf_address() as url:
        begin = time.perf_counter()
        with pytest.raises(ServerUnavailableError, match=r"for 0\.3 s"):
            wait(client(url.replace("http", scheme)), 0.3)
        assert time.perf_counter() - begin < 5


def answering(kind: Any, answer: bool | Exception, asked: Exception | None = None) -> Any:
    """A transport to a server that Triton calls ready or not, and that fails the question after that."""

    def answered() -> bool:
        if isinstance(answer, Exception):
            raise answer
        return answer

    def refuse() -> None:
        if asked:
            raise asked

    if kind is Pretend:

        class Answering(Pretend):
            def is_ready(self, model: str, headers: Mapping[str, str], timeout_s: float) -> bool:  # noqa: ARG002
                return answered()

            def ask(self, call: Call, timeout_s: float) -> dict[str, Any]:  # noqa: ARG002
                refuse()
                return {}

        return Answering()

    class AsyncAnswering(AsyncPretend):
        async def is_ready(self, model: str, headers: Mapping[str, str], timeout_s: float) -> bool:  # noqa: ARG002
            return answered()

        async def ask(self, call: Call, timeout_s: float) -> dict[str, Any]:  # noqa: ARG002
            refuse()
            return {}

    return AsyncAnswering()


@pytest.mark.parametrize("error", [AuthenticationError("no", **WHERE), TlsError("no", **WHERE)], ids=repr)
def test_where_waiting_does_not_help_the_error_comes_at_once(kind: Any, error: Exception) -> None:
    client, transport, wait = kind
    begin = time.perf_counter()
    with pytest.raises(type(error)) as caught:
        wait(client(transport=answering(transport, error)), 60)
    assert caught.value is error
    assert time.perf_counter() - begin < 5


def test_a_server_without_its_model_is_not_called_unreachable(kind: Any) -> None:
    client, transport, wait = kind
    with pytest.raises(ModelNotReadyError, match="answers, but has no model ready"):
        wait(client(transport=answering(transport, False)), 0.1)


@pytest.mark.parametrize("reason", ["the server is shutting down (draining)", "the connection broke. Did it end?"])
def test_the_last_reason_is_told_as_a_sentence_of_its_own(kind: Any, reason: str) -> None:
    client, transport, wait = kind
    with pytest.raises(ServerUnavailableError) as caught:
        wait(client(transport=answering(transport, ServerUnavailableError(reason, **WHERE))), 0.1)
    assert str(caught.value) == f"{reason}{'' if reason.endswith('?') else '.'} Tried for 0.1 s."


@pytest.mark.parametrize(
    "refused",
    [
        ServerUnavailableError("the server is shutting down", **WHERE),
        RequestTimeoutError("no answer: it hangs", phase="total", **WHERE),
    ],
    ids=repr,
)
def test_a_server_that_drains_or_hangs_is_not_ready_whatever_triton_says(kind: Any, refused: NemotronError) -> None:
    client, transport, wait = kind
    with pytest.raises(ServerUnavailableError, match=str(refused)):
        wait(client(transport=answering(transport, True, asked=refused)), 0.1)


@pytest.mark.parametrize(
    "refused",
    [
        AuthenticationError("a gateway lets the ensemble through, and nothing else", **WHERE),
        ModelNotReadyError("no such model", **WHERE),
        InvalidRequestError("input_ids: missing", **WHERE),
        ServerError("another stack", **WHERE),
    ],
    ids=repr,
)
def test_where_that_cannot_be_asked_triton_is_believed(kind: Any, refused: NemotronError) -> None:
    client, transport, wait = kind
    wait(client(transport=answering(transport, True, asked=refused)), 0.1)
