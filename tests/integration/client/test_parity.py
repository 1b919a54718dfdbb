"""The same conversation over gRPC and HTTP, with threads and with asyncio: equal replies, events and errors."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from nemotron_client import (
    Client,
    ContentDelta,
    Event,
    LogprobsDelta,
    NemotronError,
    ReasoningDelta,
    Reply,
    ToolCall,
    ToolCallDelta,
)
from tests.integration.client.conftest import Driven
from tests.integration.conftest import Server
from tests.integration.test_failures import nothing_left
from tests.waiting import wait_until

WAYS = [(Client, "grpc_url"), (Driven, "grpc_url"), (Client, "http_url"), (Driven, "http_url")]
TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "get_weather",
            "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
        },
    }
]
SYSTEM = {"role": "system", "content": "ตอบสั้น ๆ — उत्तर दें 👩\u200d👩\u200d👧\u200d👦"}


def user(text: str) -> dict[str, Any]:
    return {"role": "user", "content": text}


def merged(events: list[Event]) -> list[tuple[type, Any]]:
    """Events without regard to how the text was cut, and to the ids of calls, which are made anew each time."""
    logprobs = [entry for event in events if isinstance(event, LogprobsDelta) for entry in event.entries]
    found: list[tuple[type, Any]] = [(LogprobsDelta, logprobs)] if logprobs else []
    rest = (event for event in events if not isinstance(event, LogprobsDelta))
    for kind, group in itertools.groupby(rest, type):
        if kind is ToolCallDelta:
            found += [(kind, nameless(event.call)) for event in group if isinstance(event, ToolCallDelta)]
        else:
            texts = [event.text for event in group if isinstance(event, (ReasoningDelta, ContentDelta))]
            found.append((kind, "".join(texts)))
    return found


def nameless(call: ToolCall) -> ToolCall:
    return replace(call, id="")


def comparable(reply: Reply) -> dict[str, Any]:
    """A reply without what differs from one request to the next."""
    calls = tuple(map(nameless, reply.tool_calls))
    values = vars(replace(reply, tool_calls=calls, request_id=""))
    return {name: value for name, value in values.items() if name != "timings"}


@dataclass
class Talk:
    """What was said and done over one way."""

    url: str
    client: Any
    steps: list[Any] = field(default_factory=list)

    def stream(self, messages: Any, **options: Any) -> Reply | None:
        """Ask as a stream and as a whole."""
        events: list[Event] = []
        try:
            with self.client.stream_chat(messages, **options) as stream:
                events.extend(stream)
                reply: Reply = stream.get_final()
        except NemotronError as error:
            self.steps.append((merged(events), self._error(error)))
            return None
        self.steps.append((merged(events), comparable(reply)))
        self.steps.append(comparable(self.client.chat(messages, **options)))
        return reply

    def refused(self, messages: Any, **options: Any) -> None:
        with pytest.raises(NemotronError) as caught:
            self.client.chat(messages, **options)
        self.steps.append(self._error(caught.value))

    def _error(self, error: NemotronError) -> tuple[Any, ...]:
        assert error.url == self.url
        named = str(error).replace(error.request_id, "ID")
        return type(error), named, getattr(error, "param", None)


def converse(talk: Talk) -> None:
    """Every kind of answer, input and failure that a script can play."""
    talk.stream([SYSTEM, user("[sim:think]")], thinking=True)
    talk.stream([SYSTEM, user("[sim:think]")], thinking=True, max_thinking_tokens=16, max_tokens=300)
    asked = [SYSTEM, user("[sim:think-tool] 🏳️\u200d🌈")]
    reply = talk.stream(asked, thinking=True, tools=TOOLS)
    assert reply is not None
    (call,) = reply.tool_calls
    answered = [*asked, reply.as_message(), {"role": "tool", "tool_call_id": call.id, "content": '{"°C": 31}'}]
    talk.stream(answered, thinking=True, tools=TOOLS)
    talk.stream([user("[sim:unicode]")], max_tokens=400)
    talk.stream([user("Hi\0\u2028\u0085\r\n\t\x7f")], max_tokens=20)
    talk.stream(
        [user("[sim:random]")], max_tokens=64, seed=2**64 - 1, temperature=0.7, top_p=0.95, top_k=5, priority=-3,
        stop_words=["ไม่มี", "\x00"], repetition_guard=True, timeout_ms=60_000, min_tokens=1,
        return_log_probs=True,
    )  # fmt: skip
    talk.stream([user("[sim:stall]")], timeout_ms=700)
    talk.stream([user("[sim:fail]")])
    talk.refused([user("Hi")], max_tokens=-1)
    talk.refused([user("Hi")], temperature=float("nan"))
    talk.refused([user("Hi")], bad_words=["x"])
    talk.refused([user("Hi")], response_format={"type": "json_object"})
    talk.refused([user("x" * 100_000)], max_tokens=10**9)
    generated = talk.client.generate("<s>[sim:unicode]", max_tokens=30, stop_words="🇹🇭", return_log_probs=True)
    talk.steps.append(comparable(generated))


@pytest.fixture
def talks(server: Server) -> Iterator[list[Talk]]:
    with contextlib.ExitStack() as stack:
        urls = [getattr(server, name) for _, name in WAYS]
        yield [
            Talk(url, stack.enter_context(kind(url, max_retries=0))) for (kind, _), url in zip(WAYS, urls, strict=True)
        ]
    wait_until(lambda: nothing_left(server))


def test_one_conversation_four_ways(talks: list[Talk]) -> None:
    with ThreadPoolExecutor(len(talks)) as pool:
        list(pool.map(converse, talks))
    first, *others = talks
    assert len(first.steps) > 20
    for other in others:
        for mine, theirs in zip(first.steps, other.steps, strict=True):
            assert theirs == mine, other.url


def test_what_was_said_survives(talks: list[Talk]) -> None:
    """Thai, Hindi and joined emoji, whose characters the engine cuts into single bytes."""
    with ThreadPoolExecutor(len(talks)) as pool:
        replies = list(pool.map(lambda talk: talk.client.chat([user("[sim:unicode]")], max_tokens=400), talks))
    for content in (reply.content for reply in replies):
        assert "\ufffd" not in content
        for text in ("สวัสดีครับ", "नमस्ते", "👩\u200d👩\u200d👧\u200d👦", "🏳️\u200d🌈", "🇹🇭"):
            assert text in content
