"""openai-python: whole and streamed, its helpers, typed answers, tools, errors, completions, responses."""

from __future__ import annotations

import json
from typing import Any, Literal

import openai
from checking import (
    ANSWER,
    ENDLESS,
    FRONT_URL,
    MODEL,
    MODEL_URL,
    QUESTION,
    SMALL_MODEL,
    THINKING,
    TOOL_ANSWER,
    TOOL_QUESTION,
    get_weather,
    run_checks,
)
from pydantic import BaseModel

THINK: dict[str, Any] = {"chat_template_kwargs": {"enable_thinking": True}}
DO_NOT_THINK: dict[str, Any] = {"chat_template_kwargs": {"enable_thinking": False}}
ASKED: list[Any] = [{"role": "user", "content": QUESTION}]

client = openai.OpenAI(base_url=f"{FRONT_URL}/v1", api_key="none")
small = openai.OpenAI(base_url=f"{MODEL_URL}/v1", api_key="none")
WEATHER_TOOL: Any = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather in a city",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}


class Capital(BaseModel):
    city: Literal["Paris", "London", "Rome"]
    is_large: bool
    rivers: int | None


def check_models() -> None:
    ids = [model.id for model in client.models.list()]
    assert MODEL in ids
    assert client.models.retrieve(MODEL).id == MODEL


def check_chat() -> None:
    reply = client.chat.completions.create(model=MODEL, messages=ASKED, extra_body=THINK)
    message = reply.choices[0].message
    assert message.content == ANSWER
    assert message.reasoning_content == message.reasoning == THINKING
    assert reply.choices[0].finish_reason == "stop"
    assert reply.usage.total_tokens == reply.usage.prompt_tokens + reply.usage.completion_tokens
    assert 0 < reply.usage.completion_tokens_details.reasoning_tokens < reply.usage.completion_tokens
    assert reply.model == MODEL
    assert reply._request_id


def check_thinking_off() -> None:
    reply = client.chat.completions.create(model=MODEL, messages=ASKED, reasoning_effort="none")
    assert reply.choices[0].message.content == ANSWER
    assert not hasattr(reply.choices[0].message, "reasoning_content")


def check_stream() -> None:
    stream = client.chat.completions.create(
        model=MODEL, messages=ASKED, extra_body=THINK, stream=True, stream_options={"include_usage": True}
    )
    thinking = content = ""
    usage = None
    for chunk in stream:
        usage = chunk.usage or usage
        for choice in chunk.choices:
            thinking += getattr(choice.delta, "reasoning_content", "")
            content += choice.delta.content or ""
    assert (thinking, content) == (THINKING, ANSWER)
    assert usage.completion_tokens_details.reasoning_tokens > 0


async def check_async() -> None:
    async with openai.AsyncOpenAI(base_url=f"{FRONT_URL}/v1", api_key="none") as own:
        reply = await own.chat.completions.create(model=MODEL, messages=ASKED, extra_body=THINK)
        assert reply.choices[0].message.content == ANSWER
        stream = await own.chat.completions.create(model=MODEL, messages=ASKED, stream=True)
        assert "".join([chunk.choices[0].delta.content or "" async for chunk in stream]) == ANSWER


def check_stream_helper() -> None:
    """Which joins every string of the deltas, so that one that is sent twice shows."""
    asked: list[Any] = [{"role": "user", "content": TOOL_QUESTION}]
    with client.chat.completions.stream(
        model=MODEL, messages=asked, tools=[WEATHER_TOOL], stream_options={"include_usage": True}
    ) as stream:
        kinds = {event.type for event in stream}
        reply = stream.get_final_completion()
    (call,) = reply.choices[0].message.tool_calls
    assert (reply.choices[0].message.role, call.type, call.function.name) == ("assistant", "function", "get_weather")
    assert json.loads(call.function.arguments) == {"city": "Bangkok"}
    assert "tool_calls.function.arguments.done" in kinds
    assert reply.usage.completion_tokens > 0
    with client.chat.completions.stream(model=MODEL, messages=ASKED, extra_body=THINK) as stream:
        reply = stream.get_final_completion()
    assert (reply.choices[0].message.reasoning_content, reply.choices[0].message.content) == (THINKING, ANSWER)


def check_tool_round_trip() -> None:
    messages: list[Any] = [{"role": "user", "content": TOOL_QUESTION}]
    reply = client.chat.completions.create(model=MODEL, messages=messages, tools=[WEATHER_TOOL])
    assert reply.choices[0].finish_reason == "tool_calls"
    messages.append(reply.choices[0].message)  # as it is, nulls and all
    for call in reply.choices[0].message.tool_calls:
        result = get_weather(**json.loads(call.function.arguments))
        messages.append({"role": "tool", "tool_call_id": call.id, "content": result})
    reply = client.chat.completions.create(model=MODEL, messages=messages, tools=[WEATHER_TOOL])
    assert reply.choices[0].message.content == TOOL_ANSWER
    assert reply.choices[0].finish_reason == "stop"


def check_parse() -> None:
    asked: list[Any] = [{"role": "user", "content": "Describe the capital of France."}]
    for thinking in (DO_NOT_THINK, {**THINK, "thinking_token_budget": 16}):
        reply = small.chat.completions.parse(
            model=SMALL_MODEL, messages=asked, response_format=Capital, extra_body=thinking, max_tokens=200
        )
        assert isinstance(reply.choices[0].message.parsed, Capital)


def check_parse_of_half_an_answer() -> None:
    asked: list[Any] = [{"role": "user", "content": "Describe the capital of France."}]
    try:
        small.chat.completions.parse(model=SMALL_MODEL, messages=asked, response_format=Capital, max_tokens=3)
    except openai.LengthFinishReasonError:
        return
    raise AssertionError("half an answer was read")


def check_parse_of_a_tool_call() -> None:
    """`strict` tools, and a call that has to come."""
    tool = openai.pydantic_function_tool(Capital, name="describe")
    asked: list[Any] = [{"role": "user", "content": "Describe the capital of France."}]
    for choice in ("required", {"type": "function", "function": {"name": "describe"}}):
        reply = small.chat.completions.parse(
            model=SMALL_MODEL, messages=asked, tools=[tool], tool_choice=choice, max_tokens=200
        )
        assert reply.choices[0].finish_reason == "tool_calls"
        (call,) = reply.choices[0].message.tool_calls
        assert isinstance(call.function.parsed_arguments, Capital)


def check_errors() -> None:
    def refused(**changes: Any) -> Any:
        try:
            client.chat.completions.create(**{"model": MODEL, "messages": ASKED, **changes})
        except openai.APIStatusError as error:
            return error
        raise AssertionError(f"{changes} were accepted")

    for stream in (False, True):
        error = refused(temperature=9, stream=stream)
        assert type(error) is openai.BadRequestError
        assert (error.type, error.param) == ("invalid_request_error", "temperature")
        assert error.code
    assert refused(extra_body={"foo": 1}).code == "unknown_parameter"
    unknown = refused(model="x")
    assert type(unknown) is openai.NotFoundError
    assert unknown.code == "model_not_found"
    assert refused(messages=[{"role": "user", "content": "a" * 200_000}]).code == "context_length_exceeded"


def check_error_in_the_middle() -> None:
    asked: list[Any] = [{"role": "user", "content": "Fail. [sim:fail]"}]
    seen = ""
    try:
        for chunk in client.chat.completions.create(model=MODEL, messages=asked, stream=True):
            seen += chunk.choices[0].delta.content or ""
    except openai.APIError as error:
        assert seen
        assert error.message
        return
    raise AssertionError(f"half an answer was taken for whole: {seen}")


def check_leaving_a_stream() -> None:
    asked: list[Any] = [{"role": "user", "content": ENDLESS}]
    with client.chat.completions.create(model=MODEL, messages=asked, stream=True, max_tokens=2000) as stream:
        next(iter(stream))
    assert client.chat.completions.create(model=MODEL, messages=ASKED).choices[0].message.content == ANSWER


def check_completions() -> None:
    prompt = "Once upon a time [sim:think]"
    reply = client.completions.create(model=MODEL, prompt=prompt, max_tokens=200)
    assert reply.object == "text_completion"
    assert reply.choices[0].text
    assert reply.usage.completion_tokens > 0
    chunks = client.completions.create(model=MODEL, prompt=prompt, max_tokens=200, stream=True)
    assert "".join(chunk.choices[0].text for chunk in chunks) == reply.choices[0].text


def check_responses() -> None:
    reply = client.responses.create(model=MODEL, input=QUESTION, reasoning={"effort": "high"})
    assert reply.output_text == ANSWER
    assert reply.status == "completed"
    assert [item.type for item in reply.output] == ["reasoning", "message"]
    assert reply.usage.output_tokens_details.reasoning_tokens > 0


def check_responses_stream() -> None:
    with client.responses.stream(model=MODEL, input=QUESTION, reasoning={"effort": "high"}) as stream:
        text = "".join(event.delta for event in stream if event.type == "response.output_text.delta")
        assert text == stream.get_final_response().output_text == ANSWER


def check_responses_tools() -> None:
    tool: Any = {"type": "function", "strict": False, **WEATHER_TOOL["function"]}
    asked: list[Any] = [{"role": "user", "content": TOOL_QUESTION}]
    reply = client.responses.create(model=MODEL, input=asked, tools=[tool])
    (call,) = (item for item in reply.output if item.type == "function_call")
    result = get_weather(**json.loads(call.arguments))
    asked += [*reply.output, {"type": "function_call_output", "call_id": call.call_id, "output": result}]
    assert client.responses.create(model=MODEL, input=asked, tools=[tool]).output_text == TOOL_ANSWER


def check_responses_parse() -> None:
    reply = small.responses.parse(
        model=SMALL_MODEL, input="Describe the capital of France.", text_format=Capital, max_output_tokens=200
    )
    assert isinstance(reply.output_parsed, Capital)


run_checks(globals())
