"""Many conversations, several at a time: in order or as they come, each failure by itself, stopped at once."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import itertools
import threading
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from typing import Any

import pytest

from nemotron_client import (
    AsyncClient,
    BatchItem,
    BatchResult,
    Client,
    InvalidRequestError,
    StreamClosedError,
    UserMessage,
)
from nemotron_client._transports import Call
from tests.unit.client.pretend import Answer, AsyncPretend, Pretend, last_text, says


def asking(texts: Iterable[Any]) -> Iterator[list[UserMessage]]:
    return ([UserMessage(str(text))] for text in texts)


def refusing(call: Call) -> list[dict[str, Any]]:
    if last_text(call) == "bad":
        raise InvalidRequestError("messages: no", request_id=call.request_id, url="")
    return says(last_text(call))


def run_sync(answer: Answer, conversations: Any, **options: Any) -> tuple[Pretend, list[BatchResult]]:
    transport = Pretend(answer)
    with Client(transport=transport) as client:
        return transport, list(client.batch(conversations, **options))


def run_async(answer: Answer, conversations: Any, **options: Any) -> tuple[AsyncPretend, list[BatchResult]]:
    async def run() -> tuple[AsyncPretend, list[BatchResult]]:
        transport = AsyncPretend(answer)
        async with AsyncClient(transport=transport) as client:
            return transport, [result async for result in client.batch(conversations, **options)]

    return asyncio.run(run())


@pytest.fixture(params=[run_sync, run_async], ids=["sync", "async"])
def run(request: pytest.FixtureRequest) -> Callable[..., tuple[Any, list[BatchResult]]]:
    kind: Callable[..., tuple[Any, list[BatchResult]]] = request.param
    return kind


def contents(results: Iterable[BatchResult]) -> list[str | None]:
    return [result.reply.content if result.reply else None for result in results]


@pytest.mark.parametrize("in_order", [True, False])
@pytest.mark.parametrize("concurrency", [1, 3, 100])
def test_each_conversation_has_its_result(run: Any, in_order: bool, concurrency: int) -> None:
    transport, results = run(refusing, asking(range(50)), concurrency=concurrency, in_order=in_order, max_tokens=9)
    if in_order:
        assert [result.index for result in results] == list(range(50))
    assert sorted((result.index, result.reply.content) for result in results) == [(i, str(i)) for i in range(50)]
    assert transport.most <= concurrency
    assert all(call.inputs["max_tokens"] == 9 for call in transport.calls)


def test_nothing_in_nothing_out(run: Any) -> None:
    assert run(refusing, [])[1] == []


def test_failures_are_kept_apart(run: Any) -> None:
    items = [
        *asking(["a", "bad"]),
        "text",
        [{"content": "x"}],
        BatchItem([UserMessage("own")], {"max_tokens": 3}),
        BatchItem([UserMessage("wrong")], {"max_tokens": -(2**40)}),
        BatchItem([UserMessage("b")]),
    ]
    transport, results = run(refusing, items, max_tokens=50)
    assert contents(results) == ["a", None, None, None, "own", None, "b"]
    kinds = [type(result.error) for result in results]
    assert kinds == [type(None), InvalidRequestError, TypeError, ValueError, type(None), ValueError, type(None)]
    limits = {last_text(call): call.inputs["max_tokens"] for call in transport.calls}
    assert limits == {"a": 50, "bad": 50, "own": 3, "b": 50}


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"concurrency": 0}, ValueError, "concurrency: 0 was given, expected at least 1"),
        ({"n": 1}, TypeError, "'n' is no option"),
        ({"max_tokens": "5"}, TypeError, "max_tokens: str was given, expected int"),
        ({"request_id": "mine"}, ValueError, "request_id: given for a whole batch, expected one for each BatchItem"),
    ],
    ids=str,
)
def test_what_is_wrong_with_all_is_said_at_once(options: Any, error: type[Exception], message: str) -> None:
    for client in (Client(transport=Pretend()), AsyncClient(transport=AsyncPretend())):
        with pytest.raises(error, match=message):
            client.batch(asking("a"), **options)


def broken() -> Iterator[list[UserMessage]]:
    yield from asking(["a", "b"])
    raise LookupError("no further line")


def test_what_the_conversations_raise_is_raised(run: Any) -> None:
    with pytest.raises(LookupError, match="no further line"):
        run(refusing, broken())


def counted(taken: list[int]) -> Iterator[list[UserMessage]]:
    for number in itertools.count():
        taken.append(number)
        yield [UserMessage(str(number))]


def test_conversations_are_taken_as_they_are_needed() -> None:
    taken: list[int] = []
    with Client(transport=Pretend()) as client:
        results = client.batch(counted(taken), concurrency=2)
        assert taken == []
        assert contents(itertools.islice(results, 5)) == ["0", "1", "2", "3", "4"]
        results.close()
    assert len(taken) <= 5 + 8


def test_conversations_are_taken_as_they_are_needed_with_asyncio() -> None:
    async def run() -> int:
        taken: list[int] = []
        async with AsyncClient(transport=AsyncPretend()) as client:
            async with contextlib.aclosing(client.batch(counted(taken), concurrency=2)) as results:
                assert taken == []
                assert contents([await anext(results) for _ in range(5)]) == ["0", "1", "2", "3", "4"]
            return len(taken)

    assert asyncio.run(run()) <= 5 + 8


def test_conversations_are_taken_in_the_thread_that_reads() -> None:
    threads = set()

    def here() -> Iterator[list[UserMessage]]:
        for conversation in asking(range(20)):
            threads.add(threading.current_thread())
            yield conversation

    with Client(transport=Pretend()) as client:
        list(client.batch(here(), concurrency=4))
    assert threads == {threading.current_thread()}


def test_fewer_threads_than_wished_for_do_the_work_too(monkeypatch: pytest.MonkeyPatch) -> None:
    start = threading.Thread.start
    started: list[threading.Thread] = []

    def scarce(self: threading.Thread) -> None:
        if "batch" in self.name:
            if len(started) == limit:
                raise RuntimeError("can't start new thread")
            started.append(self)
        start(self)

    monkeypatch.setattr(threading.Thread, "start", scarce)
    limit = 2
    assert len(run_sync(refusing, asking(range(20)), concurrency=5)[1]) == 20
    limit = len(started)
    with pytest.raises(RuntimeError, match="can't start new thread"):
        run_sync(refusing, asking(range(20)))


def test_a_slow_one_holds_up_none_but_those_after_it() -> None:
    transport = Pretend()
    with Client(transport=transport) as client:
        results = client.batch(asking(["wait", "a", "b", "c"]), concurrency=2, in_order=False)
        assert sorted(result.index for result in itertools.islice(results, 3)) == [1, 2, 3]
        transport.release.set()
        assert [result.index for result in results] == [0]
        transport.release.clear()
        results = client.batch(asking(["a", "wait", "b", "c"]), concurrency=2)
        assert next(results).index == 0
        threading.Timer(0.1, transport.release.set).start()
        assert [result.index for result in results] == [1, 2, 3]


def test_a_slow_one_holds_up_none_but_those_after_it_with_asyncio() -> None:
    async def run() -> None:
        transport = AsyncPretend()
        async with AsyncClient(transport=transport) as client:
            results = client.batch(asking(["wait", "a", "b", "c"]), concurrency=2, in_order=False)
            assert sorted([(await anext(results)).index for _ in range(3)]) == [1, 2, 3]
            transport.release.set()
            assert [result.index async for result in results] == [0]

    asyncio.run(run())


def left_by_close(results: Any) -> None:
    results.close()


def left_by_error(results: Any) -> None:
    with pytest.raises(LookupError):
        results.throw(LookupError())


@pytest.mark.parametrize("leave", [left_by_close, left_by_error])
def test_stopping_early_cancels_what_runs_and_leaves_no_thread(leave: Callable[[Any], None]) -> None:
    before = set(threading.enumerate())
    transport = Pretend()
    with Client(transport=transport) as client:
        results = client.batch(asking(["a", *["wait"] * 6]), concurrency=3)
        next(results)
        while transport.running < 3:
            pass
        leave(results)
        assert transport.running == 0
        waiting = [call.request_id for call in transport.calls if last_text(call) == "wait"]
        assert sorted(transport.posts) == sorted(waiting)
        assert len(waiting) == 3
        assert next(results, None) is None
    assert set(threading.enumerate()) <= before


def test_forgetting_the_results_cancels_too() -> None:
    transport = Pretend()
    with Client(transport=transport) as client:
        for result in client.batch(asking(["a", "wait"]), concurrency=2):
            assert result.index == 0
            break
        assert transport.running == 0
        assert len(transport.posts) == 1


def test_stopping_early_cancels_with_asyncio() -> None:
    async def run() -> None:
        transport = AsyncPretend()
        async with AsyncClient(transport=transport) as client:
            async with contextlib.aclosing(client.batch(asking(["a", *["wait"] * 6]), concurrency=3)) as results:
                await anext(results)
                while transport.running < 3:
                    await asyncio.sleep(0)
            assert transport.running == 0
            assert asyncio.all_tasks() <= {asyncio.current_task(), *client._shared._tasks}
        assert len(transport.posts) == 3

    asyncio.run(run())


def test_leaving_the_loop_cancels_with_asyncio_too() -> None:
    async def run() -> None:
        transport = AsyncPretend()
        async with AsyncClient(transport=transport) as client:
            async for result in client.batch(asking(["a", "wait", "wait"]), concurrency=2):
                assert result.index == 0
                break
            while transport.running:  # the event loop closes forgotten generators by and by
                await asyncio.sleep(0)
        assert len(transport.posts) == len(transport.calls) - 1

    asyncio.run(asyncio.wait_for(run(), 10))


def test_a_task_that_is_cancelled_cancels_its_batch() -> None:
    async def run() -> None:
        transport = AsyncPretend()
        async with AsyncClient(transport=transport) as client:

            async def read() -> None:
                async for _ in client.batch(asking(["wait"] * 5), concurrency=2):
                    pass

            task = asyncio.create_task(read())
            while transport.running < 2:
                await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert transport.running == 0
        assert len(transport.posts) == 2

    asyncio.run(run())


def test_closing_the_client_ends_its_batches() -> None:
    transport = Pretend()
    client = Client(transport=transport)
    results = client.batch(asking(["a", "wait", "b"]), concurrency=2)
    next(results)
    threading.Timer(0.05, client.close).start()
    errors = [type(result.error) for result in results]
    assert errors[0] is StreamClosedError


def test_conversations_may_come_asynchronously_and_results_do_not_wait_for_the_next() -> None:
    async def run() -> None:
        seen = asyncio.Event()

        async def coming() -> AsyncIterator[list[UserMessage]]:
            yield [UserMessage("a")]
            await seen.wait()
            yield [UserMessage("b")]

        async with AsyncClient(transport=AsyncPretend()) as client:
            results = client.batch(coming())
            assert contents([await anext(results)]) == ["a"]
            seen.set()
            assert contents([result async for result in results]) == ["b"]

    asyncio.run(run())


NUMBER: contextvars.ContextVar[int] = contextvars.ContextVar("NUMBER", default=0)


def test_context_variables_reach_the_calls(run: Any) -> None:
    seen = []

    def answer(call: Call) -> list[dict[str, Any]]:
        seen.append(NUMBER.get())
        return says(last_text(call))

    token = NUMBER.set(5)
    try:
        run(answer, asking(range(3)))
    finally:
        NUMBER.reset(token)
    assert seen == [5, 5, 5]


def test_formats_and_tools_work_for_a_batch(run: Any) -> None:
    _, results = run(lambda call: says(last_text(call)), asking(["1", "x", "2"]), response_format=int)
    assert [result.reply.parsed if result.reply else type(result.error).__name__ for result in results] == [
        1,
        "ParseError",
        2,
    ]


def test_results_may_be_collected_in_a_thread_of_their_own() -> None:
    """Python collects forgotten results in whichever thread it is at work."""
    handed_on, closed = threading.Event(), threading.Event()
    made: list[str] = []

    def headers() -> dict[str, str]:
        made.append("")
        if len(made) == 2:
            handed_on.wait(10)
            results.close()
            closed.set()
        return {}

    with Client(transport=Pretend(), headers=headers) as client:
        results = client.batch([[UserMessage("a")], [UserMessage("b")]], concurrency=2, in_order=False)
        next(results)
        handed_on.set()
        assert closed.wait(10)
