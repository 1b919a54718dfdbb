"""The fake server as a server: its addresses, its life, and what it refuses."""

from __future__ import annotations

import asyncio
import http.client
import json
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import tritonclient.grpc.aio as aioclient

from nemotron_client import (
    AsyncClient,
    Client,
    InvalidRequestError,
    RequestTimeoutError,
    ServerError,
    ServerUnavailableError,
    Timeouts,
)
from nemotron_client.testing import FakeServer, Fault, ScriptedReply, UnscriptedRequestError
from tests.integration.triton_calls import stream, tensor, tensors
from tests.unit.client.testing.ways import HI

GENERATE = "/v2/models/ensemble/generate"


@pytest.fixture
def server() -> Iterator[FakeServer]:
    with FakeServer() as server:
        yield server


@pytest.fixture(params=["grpc", "http"])
def scheme(request: pytest.FixtureRequest) -> str:
    scheme: str = request.param
    return scheme


def url(server: FakeServer, scheme: str) -> str:
    return str(getattr(server, f"{scheme}_url"))


def post(server: FakeServer, path: str, body: Any) -> tuple[int, str, str]:
    """Status, content type and body."""
    connection = http.client.HTTPConnection(server.http_url.removeprefix("http://"), timeout=10)
    try:
        connection.request("POST", path, body if isinstance(body, bytes) else json.dumps(body))
        response = connection.getresponse()
        return response.status, response.getheader("content-type", ""), response.read().decode()
    finally:
        connection.close()


def test_a_program_finds_it_in_the_environment(server: FakeServer, monkeypatch: pytest.MonkeyPatch) -> None:
    server.add("It is Paris.")
    monkeypatch.setenv("NEMOTRON_URL", server.grpc_url)
    with Client(metrics_url=server.metrics_url) as client:
        assert client.chat(HI).content == "It is Paris."
        metrics = client.metrics()
    assert metrics["nv_inference_request_success"][0][1] == 1
    assert metrics["nemotron_requests_in_flight"] == [({"model": "tensorrt_llm"}, 0.0)]


def test_health(server: FakeServer, scheme: str) -> None:
    with Client(url(server, scheme)) as client:
        client.wait_ready(5)
        assert client.is_ready()
        assert not server.cancels and not server.requests, "the client's question is none of the program's"
        assert client.server_info().name == "triton"
        server.ready = False
        assert client.is_live()
        assert not client.is_ready()


def test_it_has_no_address_before_it_runs() -> None:
    server = FakeServer()
    for name in ("grpc_url", "http_url", "metrics_url"):
        with pytest.raises(RuntimeError, match="expected its use in a `with` block"):
            getattr(server, name)


def test_two_servers_side_by_side(scheme: str) -> None:
    with FakeServer("one") as first, FakeServer("two") as second:
        with Client([url(first, scheme), url(second, scheme)]) as client:
            found = [client.chat(HI).content for _ in range(4)]
        assert found == ["one", "two"] * 2
        assert (len(first.requests), len(second.requests)) == (2, 2)


def test_many_streams_at_the_same_time(server: FakeServer, scheme: str) -> None:
    server.add(ScriptedReply("a b c", token_s=0.25, times=40))
    begin = time.perf_counter()
    with Client(url(server, scheme)) as client, ThreadPoolExecutor(40) as pool:
        replies = list(pool.map(lambda _: client.chat(HI).content, range(40)))
    assert replies == ["a b c"] * 40
    assert time.perf_counter() - begin < 10  # one after the other they would take 20 s


def test_leaving_ends_all_that_runs(scheme: str) -> None:
    before = threading.active_count()
    with FakeServer(Fault.stall()) as server:
        begin = time.perf_counter()
        client = Client(url(server, scheme), max_retries=0)
        streams = [client.stream_chat(HI) for _ in range(5)]
        while len(server.requests) < 5:
            assert time.perf_counter() - begin < 20
            time.sleep(0.005)
        begin = time.perf_counter()
    assert time.perf_counter() - begin < 10
    for one in streams:
        with pytest.raises(ServerUnavailableError):
            one.get_final()
    client.close()
    deadline = time.monotonic() + 30
    while threading.active_count() > before:
        assert time.monotonic() < deadline, threading.enumerate()
        time.sleep(0.005)


def test_refusing(server: FakeServer, scheme: str) -> None:
    server.add(ScriptedReply("It begins", fault=Fault.stall()), "Back again.")
    with Client(url(server, scheme), max_retries=0) as client:
        running = client.stream_chat(HI)
        next(running)
        with server.refusing():
            assert not client.is_live()
            with pytest.raises(ServerUnavailableError, match="cannot be reached"):
                client.chat(HI)
            with pytest.raises(ServerUnavailableError):
                running.get_final()
        client.wait_ready(5)
        assert client.chat(HI).content == "Back again."


def test_a_stop_over_the_other_protocol(server: FakeServer) -> None:
    server.add(ScriptedReply("on and on", endless=True, token_s=0.005))
    with Client(server.grpc_url) as client, client.stream_chat(HI, request_id="mine") as running:
        next(running)
        path = "/v2/models/tensorrt_llm/generate"
        assert json.loads(post(server, path, {"stop": True, "id": "mine"})[2])["finish_reason"] == "cancelled"
        assert running.get_final().finish_reason == "cancelled"
        assert json.loads(post(server, path, {"stop": True, "id": "other"})[2])["finish_reason"] == ""
    assert server.cancels == ["mine", "other"]


def test_an_unscripted_request_fails_the_client_and_the_test(scheme: str) -> None:
    with pytest.raises(UnscriptedRequestError, match="last one from the user: 'Hi there'"):  # noqa: SIM117
        with FakeServer(["one"]) as server, Client(url(server, scheme)) as client:
            client.chat(HI)
            with pytest.raises(InvalidRequestError, match="No reply is scripted for request number 2"):
                client.chat(HI)


def test_a_function_that_raises_fails_the_client_and_the_test(scheme: str) -> None:
    def broken(request: Any) -> str:
        raise KeyError(request.text)

    with pytest.raises(KeyError, match="Hi there"):  # noqa: SIM117
        with FakeServer(broken) as server, Client(url(server, scheme)) as client:
            with pytest.raises(ServerError, match="function has raised KeyError"):
                client.chat(HI)


def test_the_test_s_own_failure_is_not_replaced() -> None:
    with pytest.raises(ZeroDivisionError), FakeServer() as server:
        post(server, GENERATE, {"text_input": "Hi"})
        raise ZeroDivisionError


def test_generate_gives_one_response(server: FakeServer) -> None:
    server.add(ScriptedReply("It is Paris.", reasoning_content="Hm."))
    status, kind, body = post(server, GENERATE, {"text_input": "Hi", "id": "mine", "stop_words": "x"})
    answer = json.loads(body)
    assert (status, kind, answer["id"]) == (200, "application/json", "mine")
    assert (answer["content"], answer["reasoning_content"]) == ("It is Paris.", "Hm.")
    assert answer["text_output"] == "<think>\nHm.\n</think>\n\nIt is Paris."
    assert answer["num_output_tokens"] == 4
    assert server.requests[0].options == {"stop_words": ["x"]}
    assert server.requests[0].messages == [{"role": "user", "content": "Hi"}]


def test_generate_of_a_stream(server: FakeServer) -> None:
    server.add("It is Paris.", Fault.stall(), Fault.close())
    assert "exactly 1 response" in post(server, GENERATE, {"text_input": "Hi", "stream": True})[2]
    threading.Timer(0.05, server._stop, ["mine"]).start()
    assert json.loads(post(server, GENERATE, {"text_input": "Hi", "id": "mine"})[2])["finish_reason"] == "cancelled"
    with pytest.raises(http.client.RemoteDisconnected):
        post(server, GENERATE, {"text_input": "Hi"})


def test_plain_tritonclient(server: FakeServer) -> None:
    server.add("It is Paris.", Fault.full())

    async def run() -> list[Any]:
        async with aioclient.InferenceServerClient(server.grpc_url.removeprefix("grpc://")) as client:
            assert await client.is_server_ready()
            assert await client.is_model_ready("ensemble")
            assert not await client.is_model_ready("other")
            found = [one async for one in stream(client, "mine", text_input="Hi", stream=True, temperature=0.7)]
            with pytest.raises(Exception, match=r"^in ensemble 'ensemble', This server .* \(UNAVAILABLE\)$"):
                await stream(client, text_input="Hi").__anext__()
            return found

    responses = asyncio.run(run())
    assert "".join(one["content"] for one in responses) == "It is Paris."
    assert [one["num_output_tokens"] for one in responses] == [[1], [2], [3], [3]]
    assert server.requests[0].options == {"temperature": 0.7}


def test_requests_that_follow_each_other_on_one_stream(server: FakeServer) -> None:
    server.add("one", "two")

    async def requests() -> Any:
        for name in ("a", "b"):
            yield {"model_name": "ensemble", "inputs": tensors(text_input="Hi"), "request_id": name}

    async def run() -> list[str]:
        async with aioclient.InferenceServerClient(server.grpc_url.removeprefix("grpc://")) as client:
            return [result.get_response().id async for result, _ in client.stream_infer(requests())]

    assert asyncio.run(run()) == ["a", "b"]


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ([tensor("foo", 1)], "unexpected inference input 'foo' for model 'ensemble'"),
        ([tensor("max_tokens", 1.0)], "input 'max_tokens' data-type is 'FP32', but model 'ensemble' expects 'INT32'"),
        ([tensor("max_tokens", [1, 2])], r"unexpected shape for input 'max_tokens' .* Expected \[-1,1\], got \[1,2\]"),
        ([], "text_input: neither was given"),
        ([tensor("text_input", "Hi"), tensor("messages", "[]")], "text_input: both were given"),
        ([tensor("messages", "{")], r"messages: expected a JSON list \(INVALID_ARGUMENT\)"),
        ([tensor("messages", "[]")], "messages: the list is empty"),
        ([tensor("text_input", "Hi"), tensor("logit_bias", "[]")], "logit_bias: expected a JSON object"),
    ],
)
def test_requests_that_no_server_takes(server: FakeServer, inputs: list[Any], message: str) -> None:
    async def requests() -> Any:
        yield {"model_name": "ensemble", "inputs": inputs, "request_id": "mine"}

    async def run() -> None:
        async with aioclient.InferenceServerClient(server.grpc_url.removeprefix("grpc://")) as client:
            async for result, error in client.stream_infer(requests()):
                assert result is None
                raise error

    with pytest.raises(Exception, match=message):
        asyncio.run(run())
    assert server.requests == []


def test_an_id_that_is_too_long(server: FakeServer, scheme: str) -> None:
    with Client(url(server, scheme)) as client, pytest.raises(InvalidRequestError, match="300 characters") as caught:
        client.chat(HI, request_id="x" * 300)
    assert caught.value.param == "id"


def test_a_deadline_stops_the_request(server: FakeServer, scheme: str) -> None:
    server.add(ScriptedReply("It begins", fault=Fault.stall()))

    async def run() -> None:
        timeouts = Timeouts(between_tokens=0.1)
        async with AsyncClient(url(server, scheme), timeouts=timeouts, max_retries=0) as client:
            with pytest.raises(RequestTimeoutError, match="No further token"):
                await client.chat(HI)

    asyncio.run(run())
    assert [request.outcome for request in server.requests] == ["cancelled"]
