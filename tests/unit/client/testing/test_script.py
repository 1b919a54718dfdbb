"""Which reply a request gets, and what a test can ask afterwards."""

from __future__ import annotations

import asyncio
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from nemotron_client import AsyncClient, Client, OverloadedError, ToolCall, run_tools
from nemotron_client.testing import (
    AsyncMockTransport,
    Fault,
    MockTransport,
    ScriptedReply,
    UnscriptedRequestError,
    pieces,
    random_pieces,
    words,
)


def user(text: str) -> list[dict[str, Any]]:
    return [{"role": "user", "content": text}]


def answers(transport: MockTransport, *texts: str) -> list[str]:
    with Client(transport=transport) as client:
        return [client.chat(user(text)).content for text in texts]


def test_a_list_is_played_once_in_order() -> None:
    transport = MockTransport(["one", ScriptedReply("two", times=2), lambda request: request.text.upper()])
    assert answers(transport, "a", "b", "c", "d") == ["one", "two", "two", "D"]
    transport.assert_all_played()


def test_a_single_reply_answers_everything() -> None:
    assert answers(MockTransport("same"), "a", "b", "c") == ["same"] * 3
    assert answers(MockTransport(ScriptedReply("same")), "a", "b", "c") == ["same"] * 3
    transport = MockTransport("same")
    transport.assert_all_played()


def test_replies_find_their_requests() -> None:
    transport = MockTransport(
        [
            ScriptedReply("Sunny.", match=r"weather in (Bangkok|Lyon)", times=None),
            ScriptedReply("Brief.", match=lambda request: request.options.get("max_tokens") == 5),
            "Anything.",
        ]
    )
    assert answers(transport, "Hi", "The weather in Lyon?", "The weather in Bangkok?") == [
        "Anything.",
        "Sunny.",
        "Sunny.",
    ]
    with Client(transport=transport) as client:
        assert client.chat(user("Hi"), max_tokens=5).content == "Brief."
    transport.assert_all_played()


def test_a_request_without_a_reply_says_what_came_and_what_is_left() -> None:
    transport = MockTransport(["Paris.", ScriptedReply("Sunny.", match="weather", times=2), ScriptedReply("x" * 9)])
    with Client(transport=transport) as client:
        client.chat(user("The capital?"))
        client.chat(user("Once more"))
        with pytest.raises(UnscriptedRequestError) as caught:
            client.chat(user("Who are you?"), thinking=True, max_tokens=20)
    assert str(caught.value) == (
        "No reply is scripted for request number 3:\n"
        "  chat with 1 messages, the last one from the user: 'Who are you?'; options: thinking=True, max_tokens=20\n"
        "The script has left:\n"
        "  'Sunny.' for requests that match 'weather', 2 times"
    )
    with pytest.raises(UnscriptedRequestError, match="Who are you"):
        transport.assert_all_played()


def test_an_empty_script_answers_nothing() -> None:
    with Client(transport=MockTransport()) as client:
        with pytest.raises(UnscriptedRequestError, match=r"generate\('<s>Hi'\)\nThe script has nothing left"):
            client.generate("<s>Hi")
        with pytest.raises(UnscriptedRequestError):
            list(client.stream_chat(user("Hi")))


def test_an_unscripted_request_of_an_async_client() -> None:
    async def run() -> None:
        async with AsyncClient(transport=AsyncMockTransport(["one"])) as client:
            await client.chat(user("Hi"))
            with pytest.raises(UnscriptedRequestError, match="request number 2"):
                await client.chat(user("Hi"))

    asyncio.run(run())


def test_a_batch_keeps_the_failure_and_the_script_tells() -> None:
    transport = MockTransport(["one", "two"])
    with Client(transport=transport) as client:
        results = list(client.batch([user("a"), user("b"), user("c")], concurrency=1))
    assert isinstance(results[2].error, UnscriptedRequestError)
    with pytest.raises(UnscriptedRequestError):
        transport.assert_all_played()


def test_replies_that_were_not_played() -> None:
    call = ToolCall("call_0", "f", "{}")
    transport = MockTransport(["one", ScriptedReply(tool_calls=[call], match="f"), Fault.full()])
    answers(transport, "a")
    with pytest.raises(AssertionError) as caught:
        transport.assert_all_played()
    assert str(caught.value) == (
        "Replies were not played:\n"
        "  f({}) for requests that match 'f'\n"
        "  Fault error This server has 8 requests in flight, which is its limit; try again later.\n"
        "Requests that came: \n"
        "  chat with 1 messages, the last one from the user: 'a'"
    )


def test_replies_can_be_added() -> None:
    transport = MockTransport(["one"])
    assert answers(transport, "a") == ["one"]
    transport.add("two", ScriptedReply("three"))
    assert answers(transport, "b", "c") == ["two", "three"]


def test_what_a_function_raises_reaches_the_test() -> None:
    def broken(request: Any) -> str:
        raise KeyError(request.text)

    with Client(transport=MockTransport(broken)) as client, pytest.raises(KeyError, match="Hi"):
        client.chat(user("Hi"))


@pytest.mark.parametrize("given", [[1], 5, [None], {"a": "b"}])
def test_what_is_no_reply_is_refused(given: Any) -> None:
    with pytest.raises(TypeError, match="expected a text, a ScriptedReply, a Fault, or a function"):
        MockTransport(given)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"finish_reason": "done"}, "'done' was given, expected one of stop, length"),
        ({"endless": True, "content": ""}, "expected some content"),
        ({"endless": True, "fault": Fault.full()}, "no fault"),
        ({"token_s": -1.0}, "expected 0 or more seconds"),
        ({"times": 0}, "expected 1 or more"),
        ({"split": lambda text: text.split()}, "are not the text"),
        ({"match": "("}, "not a regular expression"),
    ],
)
def test_impossible_replies_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ScriptedReply(**{"content": "a b", **options})


def test_the_ways_to_cut() -> None:
    text = "  It is \n\n so.  "
    assert words(text) == ["  It", " is", " \n\n so.", "  "]
    assert pieces(6)(text) == ["  It i", "s \n\n s", "o.  "]
    once = list(random_pieces(1)(text))
    assert once == list(random_pieces(1)(text))
    assert once != list(random_pieces(2)(text))
    assert "".join(once) == text
    assert max(map(len, random_pieces(1, longest=2)("x" * 100))) == 2
    for cut in (pieces, lambda longest: random_pieces(1, longest)):
        with pytest.raises(ValueError, match="0 was given, expected at least 1"):
            cut(0)


def test_a_cancel_by_its_name_ends_a_stream() -> None:
    transport = MockTransport([ScriptedReply("It begins", fault=Fault.stall())])
    with Client(transport=transport) as client, client.stream_chat(user("Hi"), request_id="mine") as stream:
        next(stream)
        next(stream)
        client.cancel("mine")
        reply = stream.get_final()
    assert (reply.content, reply.finish_reason, reply.usage.output_tokens) == ("It begins", "cancelled", 2)
    assert transport.requests[0].outcome == "cancelled"
    assert transport.cancels == ["mine"]


def test_a_cancel_by_its_name_in_asyncio() -> None:
    async def run() -> None:
        transport = AsyncMockTransport([ScriptedReply("It begins", fault=Fault.stall())])
        async with (
            AsyncClient(transport=transport) as client,
            client.stream_chat(user("Hi"), request_id="mine") as stream,
        ):
            for _ in range(2):
                await stream.__anext__()
            await client.cancel("mine")
            reply = await stream.get_final()
        assert (reply.content, reply.finish_reason) == ("It begins", "cancelled")
        assert transport.requests[0].outcome == "cancelled"

    asyncio.run(run())


def test_a_cancel_may_come_before_its_request_and_after_its_end() -> None:
    transport = MockTransport(["one", "two", "three"])
    with Client(transport=transport) as client:
        client.cancel("early")
        reply = client.chat(user("Hi"), request_id="early")
        assert (reply.content, reply.finish_reason) == ("", "cancelled")
        assert client.chat(user("Hi"), request_id="late").content == "two"
        client.cancel("late")
        assert client.chat(user("Hi"), request_id="late").content == "three"
    assert [request.outcome for request in transport.requests] == ["cancelled", "answered", "answered"]


def test_an_async_reply_without_delays_leaves_the_loop_to_others() -> None:
    async def run() -> int:
        turns = 0

        async def count() -> None:
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        async with AsyncClient(transport=AsyncMockTransport("word " * 50)) as client:
            other = asyncio.ensure_future(count())
            await client.chat(user("Hi"))
            other.cancel()
        return turns

    assert asyncio.run(run()) >= 50


def test_many_threads_share_a_script() -> None:
    transport = MockTransport([*map(str, range(200))])
    with Client(transport=transport) as client, ThreadPoolExecutor(16) as pool:
        found = list(pool.map(lambda number: client.chat(user(str(number))).content, range(200)))
    assert sorted(map(int, found)) == list(range(200))
    transport.assert_all_played()


def test_health() -> None:
    transport = MockTransport()
    with Client(transport=transport) as client:
        assert client.is_live()
        assert client.is_ready()
        assert client.server_info().name == "triton"
        transport.ready = False
        assert not client.is_ready()
        threading.Timer(0.05, setattr, [transport, "ready", True]).start()
        client.wait_ready(5)


def test_the_tool_loop_is_testable() -> None:
    def get_weather(city: str) -> str:
        """The weather in a city."""
        return f"{city}: 31 °C"

    transport = MockTransport(
        [
            ScriptedReply(tool_calls=[ToolCall("call_0", "get_weather", '{"city": "Lyon"}')]),
            ScriptedReply("It is warm.", match="31 °C"),
        ]
    )
    with Client(transport=transport) as client:
        assert run_tools(client, user("Weather?"), tools=[get_weather]).reply.content == "It is warm."
    assert transport.requests[0].options["tools"][0]["function"]["name"] == "get_weather"
    assert transport.requests[1].messages[-1] == {
        "role": "tool",
        "content": "Lyon: 31 °C",
        "tool_call_id": "call_0",
    }


def test_a_full_server_after_all_retries() -> None:
    begin = time.perf_counter()
    with Client(transport=MockTransport(Fault.full()), max_retries=1) as client, pytest.raises(OverloadedError):
        client.chat(user("Hi"))
    assert time.perf_counter() - begin < 10
