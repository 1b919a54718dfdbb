"""Both clients over gRPC and HTTP against a real Triton.

W1 to W15 are weaknesses of tritonclient that a caller must not see; W13 is in test_grpc_gevent.py, W12 in
tests/robustness/test_client_soak.py.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import re
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from nemotron_client import (
    AsyncClient,
    Client,
    ContentDelta,
    InvalidRequestError,
    LogprobsDelta,
    ModelInfo,
    OverloadedError,
    ReasoningDelta,
    RequestTimeoutError,
    ServerError,
    ServerUnavailableError,
    StreamClosedError,
    Timeouts,
    ToolCallDelta,
)
from tests.integration.client.conftest import ENDLESS, HI, RANDOM, STALL, Connect, url_of
from tests.integration.conftest import Server
from tests.integration.test_failures import IN_FLIGHT, nothing_left
from tests.waiting import wait_until

LEAVE_S = 20.0  # some milliseconds; a stream that is not left at once takes minutes
TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "get_weather",
            "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
        },
    }
]


def user(text: str) -> list[dict[str, Any]]:
    return [{"role": "user", "content": text}]


def freed(server: Server) -> None:
    wait_until(lambda: nothing_left(server))


@pytest.mark.parametrize("marker", ["[sim:think]", "[sim:think-tool]", "[sim:unicode]", "Hi"])
def test_events_add_up_to_the_reply(server: Server, scheme: str, connect: Connect, marker: str) -> None:
    client = connect(url_of(server, scheme))
    options: dict[str, Any] = {"thinking": True, "tools": TOOLS, "max_tokens": 400}
    with ThreadPoolExecutor() as pool, client.stream_chat(user(marker), **options) as stream:
        begun = pool.submit(client.chat, user(marker), **options)
        events = list(stream)
        reply = stream.get_final()
        whole = begun.result()
    text = {
        kind: "".join(event.text for event in events if isinstance(event, kind))
        for kind in (ReasoningDelta, ContentDelta)
    }
    assert (text[ReasoningDelta], text[ContentDelta]) == (reply.reasoning_content, reply.content)
    assert tuple(event.call for event in events if isinstance(event, ToolCallDelta)) == reply.tool_calls
    assert bool(reply.tool_calls) is (reply.finish_reason == "tool_calls") is (marker == "[sim:think-tool]")
    assert reply.usage.output_tokens > reply.usage.reasoning_tokens
    timings = reply.timings
    assert timings.ttft_s is not None
    assert timings.mean_itl_s is not None
    assert 0.02 < timings.ttft_s < timings.total_s
    assert 0 < timings.mean_itl_s < timings.total_s
    assert (whole.content, whole.usage) == (reply.content, reply.usage)


def test_log_probabilities_come_before_their_texts(demo_server: Server, scheme: str, connect: Connect) -> None:
    client = connect(url_of(demo_server, scheme))
    with client.stream_chat(user("Why is the sky blue?"), max_tokens=12, top_k=1, return_log_probs=True) as stream:
        events, reply = list(stream), stream.get_final()
    entries = [entry for event in events if isinstance(event, LogprobsDelta) for entry in event.entries]
    assert entries == list(reply.logprobs)
    assert len(entries) == reply.usage.output_tokens
    assert isinstance(events[0], LogprobsDelta)


def test_both_clients_give_the_same_replies(server: Server, scheme: str) -> None:
    def plain(reply: Any) -> dict[str, Any]:
        return {
            name: value for name, value in vars(reply).items() if name not in ("request_id", "timings", "tool_calls")
        }

    async def answers() -> list[Any]:
        async with AsyncClient(url_of(server, scheme)) as client:
            return [
                await client.chat(user("[sim:think]"), thinking=True),
                await client.generate("<s>[sim:unicode]", return_log_probs=True, max_tokens=30),
            ]

    with Client(url_of(server, scheme)) as client:
        replies = [
            client.chat(user("[sim:think]"), thinking=True),
            client.generate("<s>[sim:unicode]", return_log_probs=True, max_tokens=30),
        ]
    assert [plain(reply) for reply in replies] == [plain(reply) for reply in asyncio.run(answers())]
    assert len(replies[1].logprobs) == 30


def test_w1_many_streams_of_one_client(server: Server, scheme: str, connect: Connect) -> None:
    client = connect(url_of(server, scheme))
    streams = [client.stream_chat(RANDOM, max_tokens=30, seed=seed) for seed in range(5)]
    firsts = [next(stream) for stream in streams]
    replies = [stream.get_final() for stream in streams]
    assert len({reply.content for reply in replies}) == 5
    assert all(reply.content.startswith(first.text) for reply, first in zip(replies, firsts, strict=True))


def test_w2_and_w15_one_of_several_streams_is_cancelled(server: Server, scheme: str, connect: Connect) -> None:
    client = connect(url_of(server, scheme))
    with client.stream_chat(RANDOM, max_tokens=60) as goes_on, client.stream_chat(RANDOM, max_tokens=ENDLESS) as ends:
        next(ends)
        client.cancel(ends.request_id)
        assert ends.get_final().finish_reason == "cancelled"
        assert goes_on.get_final().finish_reason == "length"
    freed(server)


def test_a_request_is_cancelled_by_its_name_from_another_client(server: Server, scheme: str, connect: Connect) -> None:
    with connect(url_of(server, scheme)).stream_chat(RANDOM, max_tokens=ENDLESS, request_id="by-name") as stream:
        next(stream)
        connect(url_of(server, scheme)).cancel("by-name")
        assert stream.get_final().finish_reason == "cancelled"
    connect(url_of(server, scheme)).cancel("nobody")


def test_the_answer_is_wanted_now(server: Server, scheme: str, connect: Connect) -> None:
    client = connect(url_of(server, scheme))
    for _ in range(9):
        with client.stream_chat(user("[sim:think]"), thinking=True) as stream:
            next(stream)
            ends = stream.end_thinking()
            events = list(stream)
            reply = stream.get_final()
            assert client.end_thinking(stream.request_id) is False
        assert reply.thinking_budget_reached is ends
        if ends:  # else a busy machine took so long to say it that all was thought
            break
    whole = client.chat(user("[sim:think]"), thinking=True)
    assert (reply.content, reply.finish_reason, reply.thinking_budget_reached) == (whole.content, "stop", True)
    assert whole.reasoning_content.startswith(reply.reasoning_content)
    assert 1 <= reply.usage.reasoning_tokens < whole.usage.reasoning_tokens
    assert "".join(event.text for event in events if isinstance(event, ContentDelta)) == reply.content
    with client.stream_chat(RANDOM, max_tokens=40) as stream:
        next(stream)
        assert stream.end_thinking() is False
        assert stream.get_final().finish_reason == "length"


@pytest.mark.parametrize("form", [None, {"type": "json_object"}], ids=["free", "json"])
def test_a_real_models_answer_is_wanted_now(
    demo_server: Server, scheme: str, connect: Connect, form: dict[str, Any] | None
) -> None:
    client = connect(url_of(demo_server, scheme))
    question = user("How do plants make food? Answer in JSON.")
    with client.stream_chat(question, thinking=True, max_tokens=120, response_format=form) as stream:
        next(stream)
        ends = stream.end_thinking()
        reply = stream.get_final()
    assert reply.thinking_budget_reached is ends
    assert "think>" not in reply.content + reply.reasoning_content
    if form and reply.finish_reason == "stop":
        assert isinstance(reply.parsed, dict)


def test_tokens_are_those_of_the_prompt(demo_server: Server, scheme: str, connect: Connect) -> None:
    client = connect(url_of(demo_server, scheme))
    asked: dict[str, Any] = {"tools": TOOLS, "thinking": False}
    question = user("Was kostet das in €? <|im_end|>")
    prompt = client.tokenize(question, **asked)
    reply = client.chat(question, max_tokens=1, **asked)
    assert len(prompt.token_ids) == client.count_tokens(question, **asked) == reply.usage.prompt_tokens
    assert client.detokenize(prompt.token_ids) == prompt.text
    assert "in €?" in prompt.text and "get_weather" in prompt.text
    plain = client.tokenize(user("Hi"))
    assert client.tokenize(plain.text) == plain  # as `generate` reads it
    (token,) = client.tokenize("a").token_ids
    assert client.detokenize([token]) == "a"
    refused: list[tuple[str, Any, str]] = [
        ("count_tokens", "a" * 200_000, "text_input"),
        ("count_tokens", [], "messages"),
        ("detokenize", [token, 2**31 - 1], "input_ids"),
        ("detokenize", [-1], "input_ids"),
    ]
    for method, given, param in refused:
        with pytest.raises(InvalidRequestError) as caught:
            getattr(client, method)(given)
        assert caught.value.param == param


def test_an_answer_that_has_begun_goes_on(demo_server: Server, scheme: str, connect: Connect) -> None:
    client = connect(url_of(demo_server, scheme))
    begun = [*user("Name the colours of the rainbow."), {"role": "assistant", "content": "They are red, orange,"}]
    prompt = client.tokenize(begun, continue_final_message=True)
    assert prompt.text.endswith("They are red, orange,")
    reply = client.chat(begun, continue_final_message=True, temperature=0.0, max_tokens=12)
    assert reply.content == client.generate(prompt.text, temperature=0.0, max_tokens=12).content
    assert reply.usage.prompt_tokens == len(prompt.token_ids)
    with pytest.raises(InvalidRequestError, match="the last message is from the assistant"):
        client.chat(begun)


def test_w3_leaving_a_stream_returns_at_once_and_frees_its_place(server: Server, scheme: str, connect: Connect) -> None:
    client = connect(url_of(server, scheme))
    with client.stream_chat(RANDOM, max_tokens=ENDLESS) as stream:
        next(stream)
        wait_until(lambda: server.metric(IN_FLIGHT) == 1)
        begin = time.perf_counter()
    assert time.perf_counter() - begin < LEAVE_S
    freed(server)
    with pytest.raises(StreamClosedError, match="before you close it"):
        stream.get_final()


def test_w3_leaving_the_client_returns_at_once_and_frees_all_places(
    server: Server, scheme: str, connect: Connect
) -> None:
    client = connect(url_of(server, scheme))
    streams = [client.stream_chat(RANDOM, max_tokens=ENDLESS) for _ in range(5)]
    for stream in streams:
        next(stream)
    begin = time.perf_counter()
    client.close()
    assert time.perf_counter() - begin < 2 * LEAVE_S  # waits until the server has heard
    freed(server)
    with pytest.raises(StreamClosedError):
        next(streams[0])


def test_a_stream_whose_first_token_is_not_here_yet_is_left_at_once(
    server: Server, scheme: str, connect: Connect
) -> None:
    client = connect(url_of(server, scheme))
    with client.stream_chat(RANDOM, max_tokens=ENDLESS):
        begin = time.perf_counter()
    assert time.perf_counter() - begin < LEAVE_S
    freed(server)


@pytest.mark.parametrize("read", [0, 1])
def test_a_forgotten_stream_frees_its_place(server: Server, scheme: str, connect: Connect, read: int) -> None:
    stream = connect(url_of(server, scheme)).stream_chat(RANDOM, max_tokens=ENDLESS)
    for _ in range(read):
        next(stream)
    wait_until(lambda: server.metric(IN_FLIGHT) == 1)
    del stream
    gc.collect()
    freed(server)


def test_a_stream_is_closed_while_another_thread_waits_for_it(server: Server, scheme: str, connect: Connect) -> None:
    stream = connect(url_of(server, scheme)).stream_chat(STALL, max_tokens=200)
    next(stream)
    timer = threading.Timer(0.5, stream.close)
    timer.start()
    begin = time.perf_counter()
    with pytest.raises(StreamClosedError):
        stream.get_final()
    assert time.perf_counter() - begin < LEAVE_S
    timer.join()
    freed(server)


@pytest.mark.parametrize(
    ("messages", "kind", "options"),
    [
        (RANDOM, InvalidRequestError, {"max_tokens": -1}),
        ([{"role": "user", "content": "[sim:fail]"}], ServerError, {}),
    ],
    ids=["invalid", "failed"],
)
def test_w4_and_w5_errors_have_types(
    server: Server, scheme: str, connect: Connect, messages: Any, kind: type[Exception], options: dict[str, Any]
) -> None:
    with pytest.raises(kind) as caught:
        connect(url_of(server, scheme)).chat(messages, request_id="mine", **options)
    error: Any = caught.value
    assert (error.request_id, error.url) == ("mine", url_of(server, scheme))
    if kind is InvalidRequestError:
        assert error.param == "max_tokens"
        assert not str(error).endswith(")")


def test_w6_the_end_of_an_answer_needs_no_empty_response(server: Server, scheme: str, connect: Connect) -> None:
    with connect(url_of(server, scheme)).stream_chat(RANDOM, max_tokens=1) as stream:
        assert len(list(stream)) == 1
        assert stream.get_final().finish_reason == "length"


def test_w7_what_the_caller_gave_is_not_changed(server: Server, scheme: str, connect: Connect) -> None:
    messages, options = [{"role": "user", "content": "Hi"}], {"stop_words": ["x"], "max_tokens": 2}
    connect(url_of(server, scheme)).chat(messages, **options)
    assert messages == [{"role": "user", "content": "Hi"}]
    assert options == {"stop_words": ["x"], "max_tokens": 2}


@pytest.mark.parametrize(
    ("messages", "phase", "timeouts"),
    [
        (RANDOM, "first_token", Timeouts(first_token=0.005)),
        (STALL, "between_tokens", Timeouts(between_tokens=0.4)),
        (RANDOM, "total", Timeouts(total=0.4)),
        (RANDOM, "total", 0.4),
    ],
)
def test_w8_and_w14_a_deadline_frees_the_place(
    server: Server, scheme: str, connect: Connect, messages: Any, phase: str, timeouts: Any
) -> None:
    client = connect(url_of(server, scheme)).with_options(timeouts=timeouts)
    begin = time.perf_counter()
    with pytest.raises(RequestTimeoutError) as caught:
        client.chat(messages, max_tokens=ENDLESS)
    assert caught.value.phase == phase
    assert time.perf_counter() - begin < LEAVE_S
    freed(server)


def test_a_total_timeout_ends_a_stream_that_nobody_reads(server: Server, scheme: str, connect: Connect) -> None:
    stream = connect(url_of(server, scheme), timeouts=2.0).stream_chat(RANDOM, max_tokens=ENDLESS)
    next(stream)
    wait_until(lambda: server.metric(IN_FLIGHT) == 1)
    freed(server)
    with pytest.raises(RequestTimeoutError) as caught:
        list(stream)
    assert caught.value.phase == "total"


def test_a_program_may_take_longer_than_the_time_between_tokens(server: Server, scheme: str, connect: Connect) -> None:
    client = connect(url_of(server, scheme), timeouts=Timeouts(between_tokens=1.0))
    with client.stream_chat(RANDOM, max_tokens=60) as stream:
        next(stream)
        time.sleep(1.2)  # what is tested
        assert stream.get_final().usage.output_tokens == 60


def test_w9_nothing_is_printed(
    server: Server, scheme: str, connect: Connect, capfd: pytest.CaptureFixture[str]
) -> None:
    assert (
        connect(url_of(server, scheme), compression="gzip").chat(user("a" * 5000), max_tokens=2).usage.output_tokens
        == 2
    )
    assert capfd.readouterr() == ("", "")


def test_w10_threads_share_a_client(server: Server, scheme: str) -> None:
    replies = []
    with Client(url_of(server, scheme)) as client:
        threads = [
            threading.Thread(target=lambda: replies.append(client.chat(RANDOM, max_tokens=10))) for _ in range(20)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert [reply.usage.output_tokens for reply in replies] == [10] * 20
    freed(server)


def test_the_server_is_asked_for_its_state(server: Server, scheme: str, connect: Connect) -> None:
    client = connect(url_of(server, scheme), metrics_url=str(server.info["metrics_url"]))
    assert client.is_live()
    assert client.is_ready()
    client.wait_ready(timeout_s=1)
    info = client.server_info()
    assert (info.name, info.url) == ("triton", url_of(server, scheme))
    assert info.version.startswith("2.")
    wait_until(lambda: client.metrics()[IN_FLIGHT][0][1] == 0)  # the server counts now and then


def test_the_server_says_which_model_it_serves(simulated_server: Server, scheme: str, connect: Connect) -> None:
    model = connect(url_of(simulated_server, scheme)).server_info().model
    assert isinstance(model, ModelInfo)
    assert (model.engine, model.device, model.chat_format) == ("simulated", "cpu", "nemotron")
    assert (model.max_batch_size, model.max_waiting) == (4, 4)
    assert model.name and model.package and model.max_tokens < model.max_seq_len


def test_a_server_that_is_not_there(connect: Connect, scheme: str, unused_port: int) -> None:
    client = connect(f"{scheme}://127.0.0.1:{unused_port}", max_retries=1)
    assert not client.is_live()
    assert not client.is_ready()
    with pytest.raises(ServerUnavailableError, match=r"0\.2 s"):
        client.wait_ready(timeout_s=0.2)
    with pytest.raises(ServerUnavailableError):
        client.server_info()
    begin = time.perf_counter()
    with pytest.raises(ServerUnavailableError, match=f"127.0.0.1:{unused_port} cannot be reached") as caught:
        client.chat(HI)
    assert 0.3 < time.perf_counter() - begin < 30  # one retry
    assert caught.value.url == f"{scheme}://127.0.0.1:{unused_port}"


def test_the_other_protocols_port_is_told_from_no_server(server: Server, scheme: str, connect: Connect) -> None:
    other = "http" if scheme == "grpc" else "grpc"
    url = url_of(server, other).replace(other, scheme)
    client = connect(url, max_retries=0)
    expected = re.escape(f"Then write {url_of(server, other)}, or name its ")
    with pytest.raises(ServerUnavailableError, match=expected):
        client.chat(HI)
    with pytest.raises(ServerUnavailableError, match=expected):
        client.server_info()
    with pytest.raises(ServerUnavailableError, match=rf"{expected}.* 0\.2 s"):
        client.wait_ready(timeout_s=0.2)


def test_a_full_server_is_said_after_the_retries(simulated_server: Server, scheme: str, connect: Connect) -> None:
    client = connect(url_of(simulated_server, scheme), max_retries=1)
    streams = [client.stream_chat(RANDOM, max_tokens=ENDLESS) for _ in range(8)]
    wait_until(lambda: simulated_server.metric(IN_FLIGHT) == 8)
    begin = time.perf_counter()
    with pytest.raises(OverloadedError, match="8 requests in flight"):
        client.chat(HI)
    assert 0.3 < time.perf_counter() - begin < 30
    for stream in streams:
        stream.close()
    wait_until(lambda: nothing_left(simulated_server))


def test_a_retry_succeeds_once_there_is_room(simulated_server: Server, scheme: str, connect: Connect) -> None:
    client = connect(url_of(simulated_server, scheme), max_retries=3)
    streams = [client.stream_chat(RANDOM, max_tokens=ENDLESS) for _ in range(8)]
    wait_until(lambda: simulated_server.metric(IN_FLIGHT) == 8)

    def leave() -> None:
        for stream in streams:
            stream.close()

    timer = threading.Timer(0.2, leave)
    timer.start()
    assert client.chat(HI, max_tokens=2).usage.output_tokens == 2
    timer.join()
    wait_until(lambda: nothing_left(simulated_server))


def test_headers_are_made_for_each_call(server: Server, scheme: str, connect: Connect) -> None:
    made = []

    def headers() -> dict[str, str]:
        made.append("token")
        return {"Authorization": f"Bearer {len(made)}"}

    client = connect(url_of(server, scheme), headers=headers)
    client.chat(HI, max_tokens=1)
    client.chat(HI, max_tokens=1)
    assert len(made) == 2


def test_an_asynchronous_function_makes_headers(server: Server, scheme: str) -> None:
    async def headers() -> dict[str, str]:
        await asyncio.sleep(0)
        return {"authorization": "Bearer x"}

    async def run() -> int:
        async with AsyncClient(url_of(server, scheme), headers=headers) as client:
            return (await client.chat(HI, max_tokens=1)).usage.output_tokens

    assert asyncio.run(run()) == 1


def test_nothing_that_was_said_is_logged(
    server: Server, scheme: str, connect: Connect, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    client = connect(url_of(server, scheme), headers={"authorization": "s3cret"})
    reply = client.chat(user("confidential"), max_tokens=20, request_id="logged")
    assert "request logged: length" in caplog.text
    for text in ("confidential", "s3cret", reply.content):
        assert text not in caplog.text


def test_a_cancelled_task_frees_its_place(server: Server, scheme: str) -> None:
    async def run() -> None:
        async with AsyncClient(url_of(server, scheme)) as client:
            task = asyncio.create_task(client.chat(RANDOM, max_tokens=ENDLESS))
            while await asyncio.to_thread(server.metric, IN_FLIGHT) != 1:
                await asyncio.sleep(0.02)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            stream = client.stream_chat(STALL, max_tokens=ENDLESS)
            await stream.__anext__()
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(stream.get_final(), 0.5)
            with pytest.raises(StreamClosedError):
                await stream.__anext__()

    asyncio.run(run())
    freed(server)


def test_two_hundred_streams_of_one_process(server: Server, scheme: str, connect: Connect) -> None:
    client = connect(url_of(server, scheme))
    streams = [client.stream_chat(RANDOM, max_tokens=20, seed=seed) for seed in range(200)]
    replies = [stream.get_final() for stream in streams]
    assert [reply.usage.output_tokens for reply in replies] == [20] * 200
    assert len({reply.request_id for reply in replies}) == 200
    freed(server)


LEAVING = """
import sys
from nemotron_client import Client

stream = Client(sys.argv[1]).stream_chat([{"role": "user", "content": "[sim:random]"}], max_tokens=100_000)
if sys.argv[2] == "read":
    next(stream)
raise ValueError("the program has failed")
"""


@pytest.mark.parametrize("read", ["read", "unread"])
def test_a_program_that_fails_frees_its_places(server: Server, scheme: str, read: str) -> None:
    command = [sys.executable, "-c", LEAVING, url_of(server, scheme), read]
    done = subprocess.run(command, capture_output=True, text=True, timeout=180, check=False)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == "ValueError: the program has failed"
    freed(server)
