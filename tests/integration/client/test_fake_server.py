"""The fake server against the real one: the same replies, events and errors for the same client and script."""

from __future__ import annotations

import contextlib
import http.client
import itertools
import json
import uuid
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import pytest
from tritonclient.grpc import service_pb2

from nemotron_client import (
    Client,
    ContentDelta,
    Event,
    NemotronError,
    ReasoningDelta,
    Reply,
    Timings,
    ToolCall,
    ToolCallError,
    Usage,
)
from nemotron_client._transports.grpc_codec import STREAM
from nemotron_client.testing import FakeServer, Fault, RecordedRequest, ScriptedReply, pieces
from tests.integration.client.conftest import Driven
from tests.integration.conftest import Server, serving
from tests.integration.triton_calls import tensor

THOUGHT, ANSWER = "Let me see: the sky ☀️.", "Sunny, 31 °C. สวัสดี"
CALL = '<TOOLCALL>[{"name": "get_weather", "arguments": {"city": "Lyon"}}]</TOOLCALL>'
WRONG = '{"name": "get_wether"}'
SCRIPT = [
    {"match": "sky", "thinking": THOUGHT, "answer": ANSWER},
    {"match": "wrong", "answer": f"<TOOLCALL>{WRONG}</TOOLCALL>"},
    {"match": "call", "answer": CALL},
    {"match": "crash", "answer": "It breaks here.", "fail_after_tokens": 9},
    {"match": "wait", "answer": "It pauses here.", "stall_after_tokens": 9, "stall_ms": 60_000},
    {"match": "", "answer": "Anything else."},
]
TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "get_weather",
            "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
        },
    }
]
Talk = Callable[[Any], list[Any]]


def fake_answer(request: RecordedRequest) -> ScriptedReply:
    """What SCRIPT says, as a script of the fake server: a token is a byte there, as in a simulated package."""
    text, length = request.text, request.options.get("max_tokens")
    if "sky" in text and request.options.get("thinking"):
        return ScriptedReply(ANSWER, reasoning_content=THOUGHT)
    if "wrong" in text:
        error = ToolCallError(0, "there is no tool 'get_wether'", WRONG)
        return ScriptedReply(WRONG, tool_call_error=error, split=pieces(3))
    if "call" in text:
        return ScriptedReply(tool_calls=[ToolCall("call_0", "get_weather", '{"city": "Lyon"}')])
    if "crash" in text:
        return ScriptedReply("It breaks", fault=Fault.internal("The script fails after 9 tokens."))
    if "wait" in text:
        return ScriptedReply("It pauses", fault=Fault.stall())
    content = ANSWER if "sky" in text else "Anything else."
    return ScriptedReply(content[:length], finish_reason="length" if length else "", split=pieces(3))


@pytest.fixture(scope="module")
def real(simulated_package: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    directory = tmp_path_factory.mktemp("real")
    script = directory / "script.json"
    script.write_text(json.dumps(SCRIPT))
    package = simulated_package("--script", str(script), "--ttft-ms", "5", "--token-ms", "1")
    with serving(package, directory) as server:
        yield server


@pytest.fixture(scope="module")
def fake() -> Iterator[FakeServer]:
    with FakeServer(fake_answer) as server:
        yield server


@pytest.fixture(params=[(Client, "grpc_url"), (Driven, "grpc_url"), (Client, "http_url"), (Driven, "http_url")])
def clients(real: Server, fake: FakeServer, request: pytest.FixtureRequest) -> Iterator[tuple[Any, Any]]:
    """The same client twice, of the real server and of the fake one."""
    kind, name = request.param
    with contextlib.ExitStack() as stack:
        real_client, fake_client = (
            stack.enter_context(kind(getattr(server, name), max_retries=0)) for server in (real, fake)
        )
        yield real_client, fake_client


def user(text: str) -> list[dict[str, Any]]:
    return [{"role": "user", "content": text}]


def merged(events: list[Event]) -> list[Any]:
    """Events without regard to how the text was cut, and to the ids of calls."""
    found: list[Any] = []
    for kind, group in itertools.groupby(events, type):
        texts = [event.text for event in group if isinstance(event, (ReasoningDelta, ContentDelta))]
        found.append((kind, "".join(texts)))
    return found


def comparable(reply: Reply) -> Reply:
    """Without what differs from one request to the next, and without counts, which a script has of its own."""
    calls = tuple(replace(call, id="") for call in reply.tool_calls)
    assert reply.usage.output_tokens > 0
    return replace(reply, tool_calls=calls, request_id="", timings=Timings(0), usage=Usage(0, 0, 0))


def said(client: Any, text: str, **options: Any) -> list[Any]:
    """Events and reply of a stream, or events and error."""
    events: list[Event] = []
    try:
        with client.stream_chat(user(text), **options) as stream:
            events.extend(stream)
            return [merged(events), comparable(stream.get_final())]
    except NemotronError as error:
        return [merged(events), type(error), str(error).replace(error.request_id, "ID"), getattr(error, "param", None)]


@pytest.mark.parametrize(
    ("text", "options"),
    [
        ("The sky?", {"thinking": True}),
        ("The sky?", {"thinking": False}),
        ("Please call.", {"tools": TOOLS, "thinking": False}),
        ("Get it wrong.", {"tools": TOOLS, "thinking": False}),
        ("A crash", {"thinking": False}),
        ("Hi", {"thinking": False, "max_tokens": 8}),
    ],
)
def test_conversations(clients: tuple[Any, Any], text: str, options: dict[str, Any]) -> None:
    real, fake = (said(client, text, **options) for client in clients)
    assert fake == real


def test_a_stop(clients: tuple[Any, Any]) -> None:
    outcomes = []
    for client in clients:
        with client.stream_chat(user("Please wait."), thinking=False) as stream:
            text = ""
            while text != "It pauses":
                text += next(stream).text
            client.cancel(stream.request_id)
            outcomes.append(comparable(stream.get_final()))
    assert outcomes[0] == outcomes[1]
    assert outcomes[0].finish_reason == "cancelled"


def test_a_stop_before_its_request(clients: tuple[Any, Any]) -> None:
    name = uuid.uuid4().hex  # a stop for an id that was there before is a late one
    for client in clients:
        client.cancel(name)
        reply = client.chat(user("Please wait."), request_id=name, thinking=False)
        assert (reply.content, reply.finish_reason) == ("", "cancelled")


def test_health(clients: tuple[Any, Any]) -> None:
    real, fake = clients
    for client in clients:
        assert client.is_live()
        assert client.is_ready()
    assert (real.server_info().name, real.server_info().version) == (
        fake.server_info().name,
        fake.server_info().version,
    )


def errors_over_grpc(address: str, model: str, inputs: list[Any], outputs: tuple[str, ...]) -> list[str]:
    request = service_pb2.ModelInferRequest(model_name=model, id="mine")
    for one in inputs:
        request.inputs.append(one._get_tensor())
        if (content := one._get_content()) is not None:
            request.raw_input_contents.append(content)
    for name in outputs:
        request.outputs.add(name=name)
    with grpc.insecure_channel(address) as channel:
        call = channel.unary_stream(
            STREAM,
            request_serializer=service_pb2.ModelInferRequest.SerializeToString,
            response_deserializer=service_pb2.ModelStreamInferResponse.FromString,
        )
        return [response.error_message.partition(". NOTE")[0].rstrip(".") for response in call(request, timeout=60)]


TEXT = tensor("text_input", "Hi")


@pytest.mark.parametrize(
    ("model", "inputs", "outputs"),
    [
        ("nope", [TEXT], ()),
        ("ensemble", [TEXT, tensor("foo", 1)], ()),
        ("ensemble", [TEXT, tensor("max_tokens", 1.0)], ()),
        ("ensemble", [TEXT, tensor("max_tokens", [1, 2])], ()),
        ("ensemble", [TEXT], ("nope",)),
        ("ensemble", [TEXT, tensor("messages", "[]")], ()),
        ("ensemble", [tensor("thinking", True)], ()),
        ("ensemble", [tensor("messages", "[]")], ()),
        ("tensorrt_llm", [tensor("stop", 1)], ()),
        ("tensorrt_llm", [tensor("stop", True)], ()),
        ("tensorrt_llm", [tensor("stop", True)], ("finish_reason",)),
    ],
)
def test_what_is_wrong_is_refused_alike_over_grpc(
    real: Server, fake: FakeServer, model: str, inputs: list[Any], outputs: tuple[str, ...]
) -> None:
    addresses = (real.grpc_address, fake.grpc_url.removeprefix("grpc://"))
    here, there = (errors_over_grpc(address, model, inputs, outputs) for address in addresses)
    assert there == here
    assert here == [""] or all(here)


def asked_over_http(url: str, method: str, path: str, body: Any) -> tuple[int, str, str]:
    connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=60)
    try:
        connection.request(method, path, body if isinstance(body, str) else json.dumps(body))
        response = connection.getresponse()
        return response.status, response.getheader("content-type", ""), response.read().decode()
    finally:
        connection.close()


@pytest.mark.parametrize(
    ("model", "body"),
    [
        ("nope", {"text_input": "Hi"}),
        ("ensemble", {"text_input": "Hi", "foo": 1}),
        ("ensemble", {"text_input": "Hi", "foo": {}}),
        ("ensemble", {"text_input": "Hi", "max_tokens": "x"}),
        ("ensemble", {"text_input": "Hi", "max_tokens": 2.5}),
        ("ensemble", {"text_input": 5}),
        ("ensemble", {"text_input": "Hi", "thinking": 1}),
        ("ensemble", {"text_input": "Hi", "messages": "[]"}),
        ("ensemble", {"text_input": "crash"}),
        ("ensemble", "[1]"),
        ("tensorrt_llm", {"stop": 1}),
    ],
)
@pytest.mark.parametrize("way", ["generate", "generate_stream"])
def test_what_is_wrong_is_refused_alike_over_http(
    real: Server, fake: FakeServer, model: str, body: Any, way: str
) -> None:
    path = f"/v2/models/{model}/{way}"
    here, there = (asked_over_http(server.http_url, "POST", path, body) for server in (real, fake))
    assert (there[0], there[1]) == (here[0], here[1])
    assert there[2].replace('": "', '":"') == here[2]


@pytest.mark.parametrize(
    "path", ["/v2/health/live", "/v2/health/ready", "/v2/models/ensemble/ready", "/v2/models/nope/ready", "/nope"]
)
def test_questions_over_http(real: Server, fake: FakeServer, path: str) -> None:
    here, there = (asked_over_http(server.http_url, "GET", path, "") for server in (real, fake))
    assert (there[0], there[1]) == (here[0], here[1])


def test_the_fields_of_a_response(real: Server, fake: FakeServer) -> None:
    name = uuid.uuid4().hex  # an id that was stopped before is remembered for a while, by each of them
    path, body = "/v2/models/ensemble/generate", {"text_input": "The sky?", "thinking": True, "id": name}
    here, there = (json.loads(asked_over_http(server.http_url, "POST", path, body)[2]) for server in (real, fake))
    sequence = {"sequence_end", "sequence_id", "sequence_start"}  # Triton's own, of another kind of model
    assert there.keys() == here.keys() - sequence
    counts = {name for name in there if name.startswith("num_")}
    for name in there.keys() - counts - {"text_output"}:
        assert there[name] == here[name], name
