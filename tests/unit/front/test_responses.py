"""OpenAI's responses: what is asked of the server, and how answers are written, whole and streamed."""

from __future__ import annotations

import json
from typing import Any

import openai
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openai.types.responses import Response
from pydantic import BaseModel

from nemotron_client import ContentDelta, Event, LogprobsDelta, ReasoningDelta, ToolCall
from nemotron_client.testing import Fault, ScriptedReply, random_pieces
from nemotron_front.ask import Ask
from nemotron_front.responses import FIELDS, ResponsesShape, read_responses
from tests.unit.front import folded
from tests.unit.front.conftest import FrontOf, InProcess

PATH = "/v1/responses"
WEATHER = {
    "type": "function",
    "name": "get_weather",
    "description": "The weather",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
    "strict": True,
}
CALL = ToolCall("call_1", "get_weather", '{"city":"Paris"}')


def asked(front: InProcess, **body: Any) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """The messages and options that the server gets for a request."""
    response = front.post(PATH, body)
    assert response.status_code == 200, response.text
    request = front.transport.requests[-1]
    return request.messages, request.options


def refused(front: InProcess, **body: Any) -> dict[str, Any]:
    response = front.post(PATH, body)
    assert response.status_code == 400, response.text
    error: dict[str, Any] = response.json()["error"]
    return error


def items(value: Any) -> Any:
    """An answer without what differs from request to request."""
    text = json.dumps(value["output"])
    return json.loads(text.replace(value["id"].removeprefix("resp_"), "ID"))


def both(front: InProcess, **body: Any) -> dict[str, Any]:
    """The answer to a request, which is the same whole and streamed."""
    whole = front.post(PATH, body).json()
    Response.model_validate_json(json.dumps(whole), strict=True)
    streamed = folded.response(front.stream(PATH, body))
    assert items(streamed) == items(whole)
    differing = {"id", "created_at", "completed_at", "output"}
    assert {k: v for k, v in streamed.items() if k not in differing} == {
        k: v for k, v in whole.items() if k not in differing
    }
    answer: dict[str, Any] = whole
    return answer


def test_thinking_and_an_answer(front_of: FrontOf) -> None:
    reply = ScriptedReply("It is Paris.", reasoning_content="France. Its capital.", times=None)
    answer = both(front_of(reply), input="The capital of France?")
    assert [item["type"] for item in answer["output"]] == ["reasoning", "message"]
    assert answer["output"][0]["content"] == [{"type": "reasoning_text", "text": "France. Its capital."}]
    assert answer["output"][0]["summary"] == []
    assert answer["output"][1]["content"][0]["text"] == "It is Paris."
    assert answer["status"] == "completed"
    assert answer["usage"]["output_tokens_details"] == {"reasoning_tokens": 3}
    assert answer["usage"]["total_tokens"] == answer["usage"]["input_tokens"] + answer["usage"]["output_tokens"]


def test_without_thinking_there_is_no_item_for_it(front_of: FrontOf) -> None:
    answer = both(front_of("Paris."), input="The capital of France?")
    assert [item["type"] for item in answer["output"]] == ["message"]
    assert "reasoning_text" not in json.dumps(answer)


def test_calls(front_of: FrontOf) -> None:
    second = ToolCall("call_2", "get_weather", '{"city":"Rome"}')
    reply = ScriptedReply("Let me see.", reasoning_content="Two cities.", tool_calls=[CALL, second], times=None)
    answer = both(front_of(reply), input="Weather?", tools=[WEATHER])
    kinds = [item["type"] for item in answer["output"]]
    assert kinds == ["reasoning", "message", "function_call", "function_call"]
    assert [item["call_id"] for item in answer["output"][2:]] == ["call_1", "call_2"]
    assert [json.loads(item["arguments"])["city"] for item in answer["output"][2:]] == ["Paris", "Rome"]
    assert answer["status"] == "completed"


@pytest.mark.parametrize("reason", ["length", "repetition", "timeout", "cancelled"])
def test_an_answer_that_is_cut_is_incomplete(front_of: FrontOf, reason: str) -> None:
    reply = ScriptedReply("It is", reasoning_content="Hm.", finish_reason=reason, times=None)
    answer = both(front_of(reply), input="Hi")
    assert answer["status"] == "incomplete"
    assert answer["incomplete_details"] == {"reason": "max_output_tokens"}
    assert answer.get("stop_reason", "length") == reason
    assert [item["status"] for item in answer["output"]] == ["completed", "incomplete"]


def test_a_thinking_that_is_cut_stays_thinking(front_of: FrontOf) -> None:
    reply = ScriptedReply(reasoning_content="I wonder", finish_reason="length", times=None)
    answer = both(front_of(reply), input="Hi")
    assert [(item["type"], item["status"]) for item in answer["output"]] == [("reasoning", "incomplete")]


def test_an_empty_answer_is_a_message(front_of: FrontOf) -> None:
    answer = both(front_of(ScriptedReply("", times=None)), input="Hi")
    assert [item["content"][0]["text"] for item in answer["output"]] == [""]


def test_the_budget_was_reached(front_of: FrontOf) -> None:
    reply = ScriptedReply("4", reasoning_content="Hm", thinking_budget_reached=True, times=None)
    assert both(front_of(reply), input="Hi")["thinking_budget_reached"] is True


def test_an_error_in_the_middle(front_of: FrontOf) -> None:
    reply = ScriptedReply("It is", reasoning_content="Hm.", fault=Fault.internal(), times=None)
    front = front_of(reply)
    response = folded.response(front.stream(PATH, {"input": "Hi"}))
    assert (response["status"], response["error"]["code"]) == ("failed", "server_error")
    assert front.transport.requests[-1].request_id in response["error"]["message"]
    assert [item["status"] for item in response["output"]] == ["completed", "incomplete"]
    assert front.post(PATH, {"input": "Hi"}).status_code == 500


def test_an_error_before_the_first_event_is_a_status(front_of: FrontOf) -> None:
    front = front_of(Fault.full())
    assert front.post(PATH, {"input": "Hi", "stream": True}).status_code == 429


TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)


@settings(max_examples=40, deadline=None)
@given(TEXTS, TEXTS, st.booleans(), st.integers(0, 2**16), st.sampled_from(["", "length"]))
def test_whole_and_streamed_are_the_same(thinking: str, text: str, calls: bool, seed: int, reason: str) -> None:
    reply = ScriptedReply(
        text,
        reasoning_content=thinking,
        tool_calls=[CALL] if calls else [],
        finish_reason=reason,
        split=random_pieces(seed),
        times=None,
    )
    front = InProcess.alone(reply)
    with front.http:
        answer = both(front, input="Hi", tools=[WEATHER])
    said = {item["type"]: item for item in answer["output"]}
    assert said["reasoning"]["content"][0]["text"] == thinking if thinking else "reasoning" not in said
    if text:
        assert said["message"]["content"][0]["text"] == text


def test_openais_client_reads_streams(front_of: FrontOf) -> None:
    reply = ScriptedReply("Let me see.", reasoning_content="Hm.", tool_calls=[CALL], times=None)
    client = front_of(reply).openai()
    with client.responses.stream(model="nano", input="Weather?", tools=[WEATHER]) as stream:  # type: ignore[list-item]
        texts = [event.delta for event in stream if event.type == "response.output_text.delta"]
        final = stream.get_final_response()
    assert "".join(texts) == final.output_text == "Let me see."
    assert final.output[-1].type == "function_call"


class Place(BaseModel):
    city: str


def test_openais_client_parses(front_of: FrontOf) -> None:
    front = front_of('{"city": "Paris"}')
    parsed = front.openai().responses.parse(model="nano", input="The capital of France?", text_format=Place)
    assert parsed.output_parsed == Place(city="Paris")
    sent = front.transport.requests[-1].options["response_format"]
    assert sent["json_schema"]["schema"]["properties"]["city"]["type"] == "string"


def test_openais_client_is_told_of_errors(front_of: FrontOf) -> None:
    client = front_of("Hi").openai()
    with pytest.raises(openai.BadRequestError) as told:
        client.responses.create(model="nano", input="Hi", previous_response_id="resp_1")
    assert told.value.param == "previous_response_id"


def test_items_become_messages(front_of: FrontOf) -> None:
    messages, _ = asked(
        front_of("21 degrees."),
        instructions="Be short.",
        input=[
            {"role": "developer", "content": "In English."},
            {"role": "user", "content": [{"type": "input_text", "text": "Weather in Paris?"}]},
            {"type": "reasoning", "id": "rs_1", "summary": [], "content": [{"type": "reasoning_text", "text": "Hm"}]},
            {
                "type": "message",
                "id": "msg_1",
                "role": "assistant",
                "status": "completed",
                "content": [{"type": "output_text", "text": "Let me see.", "annotations": []}],
            },
            {"type": "function_call", "id": "fc_1", "call_id": "call_1", "name": "f", "arguments": "{}"},
            {"type": "function_call", "id": "fc_2", "call_id": "call_2", "name": "g", "arguments": "{}"},
            {"type": "function_call_output", "call_id": "call_1", "output": "21"},
            {"type": "function_call_output", "call_id": "call_2", "output": [{"type": "input_text", "text": "22"}]},
        ],
    )
    assert [message["role"] for message in messages] == [
        *("system", "developer", "user", "assistant", "tool", "tool"),
    ]
    assert messages[0]["content"] == "Be short."
    assert [call["id"] for call in messages[3]["tool_calls"]] == ["call_1", "call_2"]
    assert [message["tool_call_id"] for message in messages[4:]] == ["call_1", "call_2"]


def test_an_answer_can_be_sent_back_whole(front_of: FrontOf) -> None:
    front = front_of(ScriptedReply("Let me see.", reasoning_content="Hm.", tool_calls=[CALL], times=None))
    output = front.openai().responses.create(model="nano", input="Weather?").output
    back = [item.model_dump() for item in output]
    result = {"type": "function_call_output", "call_id": "call_1", "output": "21"}
    messages, _ = asked(front, input=[{"role": "user", "content": "Weather?"}, *back, result])
    assert [message["role"] for message in messages] == ["user", "assistant", "tool"]
    assert "Hm." not in json.dumps(messages)


def test_fields_become_options(front_of: FrontOf) -> None:
    _, options = asked(
        front_of("Hi"),
        input="Hi",
        max_output_tokens=9,
        temperature=0.5,
        tools=[WEATHER],
        tool_choice={"type": "function", "name": "get_weather"},
        store=True,
        metadata={"a": "b"},
        include=["reasoning.encrypted_content"],
        truncation="disabled",
        background=False,
        stream_options={"include_obfuscation": False},
        text={"format": {"type": "text"}, "verbosity": "low"},
    )
    assert options["max_tokens"] == 9
    told = {name: WEATHER[name] for name in ("name", "description", "parameters")}
    assert options["tools"] == [{"type": "function", "function": told}]
    assert options["tool_choice"] == {"type": "function", "function": {"name": "get_weather"}}


def test_what_was_asked_is_said_back(front_of: FrontOf) -> None:
    front = front_of("Hi")
    answer = front.post(PATH, {"input": "Hi", "instructions": "Be short.", "tools": [WEATHER], "top_p": 0.5}).json()
    assert (answer["instructions"], answer["tools"], answer["top_p"]) == ("Be short.", [WEATHER], 0.5)
    assert (answer["model"], answer["store"]) == ("nvidia/llama-3.1-nemotron-nano-8b-v1", False)


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({}, "input"),
        ({"input": 3}, "input"),
        ({"input": [3]}, "input[0]"),
        ({"input": [{"type": "item_reference", "id": "msg_1"}]}, "input[0].type"),
        ({"input": [{"role": "user", "content": "Hi"}, {"role": "robot", "content": "Hi"}]}, "input[1].role"),
        (
            {"instructions": "x", "input": [{"role": "user", "content": [{"type": "input_image", "image_url": "x"}]}]},
            "input[0].content[0]",
        ),
        ({"input": "Hi", "tools": [{"type": "web_search"}]}, "tools[0].type"),
        ({"input": "Hi", "previous_response_id": "resp_1"}, "previous_response_id"),
        ({"input": "Hi", "conversation": "conv_1"}, "conversation"),
        ({"input": "Hi", "background": True}, "background"),
        ({"input": "Hi", "truncation": "auto"}, "truncation"),
        ({"input": "Hi", "max_tokens": 5}, "max_tokens"),
        ({"input": "Hi", "messages": [{"role": "user", "content": "Hi"}]}, "messages"),
        ({"input": "Hi", "n": 2}, "n"),
        ({"input": "Hi", "max_output_tokens": 0}, "max_output_tokens"),
        ({"input": "Hi", "text": "json"}, "text"),
        ({"input": "Hi", "text": {"format": {"type": "xml"}}}, "text.format"),
        ({"input": "Hi", "temperature": "hot"}, "temperature"),
        ({"input": "Hi", "foo": 1}, "foo"),
    ],
)
def test_what_cannot_be_done_is_refused_by_name(front_of: FrontOf, body: dict[str, Any], param: str) -> None:
    error = refused(front_of("Hi"), **body)
    assert error["param"] == param
    assert error["message"].startswith(f"{param}")


def test_errors_of_the_server_name_what_the_caller_wrote(front_of: FrontOf) -> None:
    front = front_of([Fault.invalid("max_tokens: 9 was given"), Fault.invalid("messages[1].content: too long")])
    assert refused(front, input="Hi", max_output_tokens=9)["param"] == "max_output_tokens"
    error = refused(front, instructions="Be short.", input=[{"role": "user", "content": "Hi"}])
    assert (error["param"], error["message"]) == ("input[0].content", "input[0].content: too long")


RESULT: Any = [
    {"type": "function_call", "call_id": "a", "name": "f", "arguments": "{}"},
    {"type": "function_call_output", "call_id": "a", "output": "21"},
]


@pytest.mark.parametrize(
    ("said", "body", "param"),
    [
        ("messages[0].content", {"input": "Hi"}, "input"),
        ("messages[1].content", {"input": "Hi", "instructions": "Be short."}, "input"),
        ("messages[0].content", {"input": "Hi", "instructions": "Be short."}, "instructions"),
        ("messages[1].content", {"input": RESULT}, "input[1].output"),
        ("messages[0].tool_calls[0].function.name", {"input": RESULT}, "input[0].name"),
        ("messages", {"input": RESULT}, "input"),
    ],
)
def test_errors_of_the_server_name_the_item(front_of: FrontOf, said: str, body: dict[str, Any], param: str) -> None:
    error = refused(front_of(Fault.invalid(f"{said}: wrong")), **body)
    assert (error["param"], error["message"]) == (param, f"{param}: wrong")


def test_every_row_that_is_refused_says_what_to_do() -> None:
    for row in FIELDS.rows:
        if row.use == "refused":
            with pytest.raises(Exception, match=row.name):
                read_responses({"input": "Hi", "model": "nano", row.name: {"x": "y"}})
            assert row.doc


def entry(token: str) -> dict[str, Any]:
    return {"token": token, "logprob": -0.5, "bytes": list(token.encode()), "top_logprobs": []}


def told_of(*events: Event) -> list[tuple[str, str]]:
    """The texts of an answer whose stream brings these, with the tokens that their log probabilities are of."""
    shape = ResponsesShape(Ask(model="m", options={}), "x")
    blocks = [block for event in events for block in shape.event(0, event, None).decode().split("\n\n") if block]
    data = [json.loads(block.partition("data: ")[2]) for block in blocks]
    deltas = [one for one in data if one["type"] == "response.output_text.delta"]
    return [(one["delta"], "".join(entry["token"] for entry in one["logprobs"])) for one in deltas]


@pytest.mark.parametrize(
    ("tokens", "delta"),
    [
        ([["Hm", "</think>", "\n\n", "It", " is"]], "It is"),
        ([["Hm"], ["</think>"], ["\n\n"], ["It", " is"]], "It is"),
        ([["Hm"], ["</think>", "\n\n", "It", " is", " held"]], "It is"),
    ],
    ids=["one response", "several", "text that is held back"],
)
def test_log_probabilities_behind_thinking(tokens: list[list[str]], delta: str) -> None:
    first, *others = [LogprobsDelta(tuple(map(entry, each))) for each in tokens]
    ((text, covered),) = told_of(first, ReasoningDelta("Hm"), *others, ContentDelta(delta))
    assert (text, covered.removesuffix(" held")) == (delta, delta)


def test_log_probabilities_without_thinking_are_all_told() -> None:
    logprobs = LogprobsDelta((entry(" "), entry("It")))
    assert told_of(logprobs, ContentDelta("It")) == [("It", " It")]


def test_an_error_behind_a_comment_has_the_events_that_clients_wait_for(front_of: FrontOf) -> None:
    front = front_of(ScriptedReply(fault=Fault.stall()), keep_alive_seconds=0.02)
    front.app.front.client = front.app.front.client.with_options(timeouts=0.5)
    with front.openai() as client, client.responses.stream(model="nano", input="Hi") as stream:
        assert [event.type for event in stream] == ["response.created", "response.in_progress", "response.failed"]
