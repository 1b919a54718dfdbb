"""A user's program: all that `nemotron_client` offers, as somebody would write it who has only installed it.

It is never run. mypy --strict has to accept it, which test_user_program.py sees to: `assert_type` holds the types that
callers rely on, and each `type: ignore` is a mistake that mypy has to find, for it reports those that are not needed.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import aclosing, closing
from dataclasses import dataclass
from typing import Any, Literal, assert_never, assert_type

from nemotron_client import (
    AssistantMessage,
    AsyncChatStream,
    AsyncClient,
    AuthenticationError,
    BatchItem,
    BatchResult,
    ChatStream,
    Client,
    ContentDelta,
    Event,
    InvalidRequestError,
    LogprobsDelta,
    Message,
    ModelInfo,
    ModelNotReadyError,
    NemotronError,
    Options,
    OverloadedError,
    ParseError,
    ReasoningDelta,
    Reply,
    RequestTimeoutError,
    ServerError,
    ServerInfo,
    ServerUnavailableError,
    StreamClosedError,
    SystemMessage,
    Timeouts,
    Timings,
    Tls,
    TlsError,
    TokenizedPrompt,
    ToolCall,
    ToolCallDelta,
    ToolCallErrorDelta,
    ToolMessage,
    ToolRun,
    TransportError,
    Usage,
    UserMessage,
    run_tools,
    run_tools_async,
    tool_from_function,
)
from nemotron_client.testing import (
    AsyncMockTransport,
    FakeServer,
    Fault,
    MockTransport,
    RecordedRequest,
    Scripted,
    ScriptedReply,
    UnscriptedRequestError,
    pieces,
    random_pieces,
    whole,
    words,
)

_logger = logging.getLogger(__name__)


@dataclass
class City:
    """What the model is asked for."""

    name: str
    capital: bool


def get_weather(city: str, unit: Literal["celsius", "fahrenheit"] = "celsius") -> dict[str, object]:
    """The weather in a city."""
    return {"city": city, "unit": unit}


async def search(query: str) -> list[str]:
    """Search the web."""
    return [query]


def clients(token: str) -> Iterator[Client]:
    yield Client()
    yield Client("grpc://127.0.0.1:8001", timeouts=30)
    yield Client(["grpc://one:8001", "grpc://two:8001"], timeouts=None, max_retries=5, compression="gzip")
    yield Client(
        "grpcs://llm.example.com:8001",
        timeouts=Timeouts(connect=2, first_token=30.5, between_tokens=None, total=120),
        headers=lambda: {"authorization": f"Bearer {token}"},
        tls=Tls(ca="ca.pem", cert="cert.pem", key="key.pem"),
        keepalive_time_s=20,
        keepalive_timeout_s=5.0,
        metrics_url="http://llm.example.com:8002/metrics",
    )


def conversation(earlier: Reply) -> list[Message]:
    messages: list[Message] = [SystemMessage("Be brief."), {"role": "user", "content": "Hi"}]
    messages += [AssistantMessage("Hello.", tool_calls=earlier.tool_calls), UserMessage("And now?")]
    messages += [ToolMessage("21", tool_call_id=call.id) for call in earlier.tool_calls]
    messages.append(earlier.as_message())
    return messages


def look_at(reply: Reply) -> float:
    assert_type(reply.content, str)
    assert_type(reply.reasoning_content, str)
    assert_type(reply.tool_calls, tuple[ToolCall, ...])
    assert_type(reply.finish_reason, str)
    assert_type(reply.thinking_budget_reached, bool)
    assert_type(reply.usage, Usage)
    assert_type(reply.usage.prompt_tokens, int)
    assert_type(reply.usage.cached_tokens, int | None)
    assert_type(reply.timings, Timings)
    assert_type(reply.timings.ttft_s, float | None)
    assert_type(reply.request_id, str)
    assert_type(reply.logprobs, tuple[Mapping[str, Any], ...])
    return reply.timings.total_s


def ask(client: Client) -> City:
    question = [UserMessage("Describe Paris.")]  # a list of one kind of message will do
    assert_type(client.chat(question), Reply)
    assert_type(client.generate("Once upon a time", max_tokens=8, stop_words=["."], seed=7), Reply)
    options: Options = {"thinking": True, "max_thinking_tokens": 100, "temperature": 0.6, "top_p": 0.95}
    assert_type(client.chat(question, **options), Reply)
    reply = client.chat(question, response_format=City, request_id="mine")
    assert_type(reply.parsed, Any)
    city: City = reply.parsed
    return city


def show(event: Event) -> str:
    if isinstance(event, ReasoningDelta):
        return event.text
    if isinstance(event, ContentDelta):
        return event.text
    if isinstance(event, ToolCallDelta):
        return f"{event.call.name}({event.call.arguments})"
    if isinstance(event, ToolCallErrorDelta):
        return f"{event.error.index}: {event.error.reason}: {event.error.text}"
    if isinstance(event, LogprobsDelta):
        return str([entry["logprob"] for entry in event.entries])
    assert_never(event)


def read(client: Client) -> Iterator[str]:
    with client.stream_chat([{"role": "user", "content": "Hi"}], thinking=True) as stream:
        assert_type(stream, ChatStream)
        for event in stream:
            assert_type(event, ReasoningDelta | ContentDelta | ToolCallDelta | ToolCallErrorDelta | LogprobsDelta)
            yield show(event)
        assert_type(stream.get_final(), Reply)
        assert_type(stream.end_thinking(), bool)
        assert_type(client.end_thinking(stream.request_id), bool)
        client.cancel(stream.request_id)
    client.stream_generate("Once upon a time").close()


def use_tools(client: Client) -> ToolRun:
    messages = [{"role": "user", "content": "The weather in Paris?"}]
    client.chat(messages, tools=[get_weather, tool_from_function(get_weather)], tool_choice=get_weather)
    run = run_tools(client, messages, tools=[get_weather], max_rounds=3, raise_tool_errors=True, max_tokens=100)
    assert_type(run, ToolRun)
    assert_type(run.replies, tuple[Reply, ...])
    assert_type(run.messages, list[dict[str, Any]])
    return run


def answer_many(client: Client, questions: list[str]) -> list[Reply]:
    items = (BatchItem([UserMessage(text)], {"max_tokens": 20}) for text in questions)
    found = []
    with closing(client.batch(items, concurrency=4, in_order=False, temperature=0)) as results:
        for result in results:
            assert_type(result, BatchResult)
            assert_type(result.error, Exception | None)
            if result.reply is not None:
                found.append(result.reply)
    for _ in client.batch([[UserMessage(text)] for text in questions]):
        pass
    return found


def look_at_server(client: Client) -> ServerInfo:
    client.wait_ready(timeout_s=10)
    assert_type(client.urls, tuple[str, ...])
    assert_type(client.is_live() and client.is_ready(), bool)
    for labels, value in client.metrics()["nemotron_requests_in_flight"]:
        assert_type(labels, dict[str, str])
        assert_type(value, float)
    assert_type(client.with_options(timeouts=Timeouts(total=5), max_retries=0, headers={}), Client)
    found = client.server_info()
    assert_type(client.tokenize([{"role": "user", "content": "Hi"}], thinking=True), TokenizedPrompt)
    client.detokenize([client.count_tokens("Hi")])
    assert_type(found.model, ModelInfo | None)
    assert_type(client.metrics_url, str)
    return found


def handle(client: Client) -> str:
    try:
        return client.chat([UserMessage("Hi")]).content
    except RequestTimeoutError as error:
        assert_type(error.phase, Literal["connect", "first_token", "between_tokens", "total"])
        return error.phase
    except (TlsError, ServerUnavailableError) as error:
        assert_type(error.url, str)
        transport_error: TransportError = error
        raise transport_error from error
    except InvalidRequestError as error:
        field: str | None = error.param
        return field or ""
    except ParseError as error:
        assert_type(error.reply, Reply)
        return error.reply.content
    except (AuthenticationError, ModelNotReadyError, OverloadedError, ServerError, StreamClosedError) as error:
        base: NemotronError = error
        _logger.warning("request %s failed at %s", base.request_id, base.url)
        raise


async def ask_async(fresh_headers: Mapping[str, str]) -> AsyncIterator[str]:
    async def headers() -> Mapping[str, str]:
        return fresh_headers

    async with AsyncClient("grpc://127.0.0.1:8001", headers=headers) as client:
        await client.wait_ready()
        assert_type(await client.chat([UserMessage("Hi")]), Reply)
        async with client.stream_chat([UserMessage("Hi")], thinking=False) as stream:
            assert_type(stream, AsyncChatStream)
            async for event in stream:
                yield show(event)
            assert_type(await stream.get_final(), Reply)
        async with aclosing(client.batch([[UserMessage("Hi")]], max_tokens=5)) as results:
            async for result in results:
                assert_type(result, BatchResult)
        assert_type(await run_tools_async(client, [UserMessage("Hi")], tools=[search, get_weather]), ToolRun)
        assert_type(await client.server_info(), ServerInfo)


def test_of_a_user() -> None:
    paris = ScriptedReply(
        "It is Paris.", match="capital", split=pieces(3), tool_calls=[ToolCall("1", "f", "{}")], fault=Fault.stall()
    )
    script: Scripted = MockTransport([paris, Fault.full(), "Yes.", ScriptedReply("No.", split=random_pieces(1))])
    with Client(transport=MockTransport(lambda request: ScriptedReply(request.text, split=words))) as client:
        client.chat([UserMessage("Hi")])
    AsyncClient(transport=AsyncMockTransport(ScriptedReply("Hi", split=whole)))
    with FakeServer(["It is Paris."]) as server:
        assert_type(server.grpc_url, str)
        assert_type(server.requests, list[RecordedRequest])
    try:
        script.assert_all_played()
    except UnscriptedRequestError:
        raise


def mistakes(client: Client, reply: Reply, asynchronous: AsyncClient) -> None:
    client.chat("Hi")  # type: ignore[arg-type]
    client.chat([UserMessage("Hi")], max_token=5)  # type: ignore[call-arg]
    client.chat([UserMessage("Hi")], max_tokens="5")  # type: ignore[arg-type]
    client.chat([UserMessage()])  # type: ignore[call-arg]
    client.batch([[UserMessage("Hi")]], concurency=4)  # type: ignore[call-arg]
    client.stream_chat([UserMessage("Hi")]).usage  # type: ignore[attr-defined]  # noqa: B018
    reply.text  # type: ignore[attr-defined]  # noqa: B018
    reply.content = ""  # type: ignore[misc]
    Client(retries=2)  # type: ignore[call-arg]
    Client(max_retries=None)  # type: ignore[arg-type]
    Client(transport=AsyncMockTransport())  # type: ignore[arg-type]
    Timeouts(read=5)  # type: ignore[call-arg]
    run_tools(asynchronous, [UserMessage("Hi")], tools=[get_weather])  # type: ignore[arg-type]
    for _ in asynchronous.batch([[UserMessage("Hi")]]):  # type: ignore[attr-defined]
        pass
