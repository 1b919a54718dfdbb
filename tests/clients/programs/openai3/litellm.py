"""litellm: its three ways to such a server, thinking, streams, tools, typed answers, errors."""

from __future__ import annotations

import json
import os
from typing import Any, Literal

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # else it fetches prices when it is imported
os.environ["HF_HUB_OFFLINE"] = "1"  # nvidia_nim/ counts tokens itself, with a tokenizer that it looks for on the hub

import litellm
from checking import (
    ANSWER,
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

ASKED: list[Any] = [{"role": "user", "content": QUESTION}]
THINK: Any = {"chat_template_kwargs": {"enable_thinking": True}}
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


def ask(messages: list[Any] = ASKED, provider: str = "hosted_vllm", **options: Any) -> Any:
    return litellm.completion(
        model=f"{provider}/{MODEL}", api_base=f"{FRONT_URL}/v1", api_key="none", messages=messages, **options
    )


def thinks(provider: str) -> None:
    reply = ask(provider=provider, extra_body=THINK)
    assert reply.choices[0].message.content == ANSWER
    assert reply.choices[0].message.reasoning_content == THINKING
    assert reply.usage.completion_tokens > 0
    chunks = list(ask(provider=provider, extra_body=THINK, stream=True))
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == ANSWER
    assert "".join(getattr(chunk.choices[0].delta, "reasoning_content", None) or "" for chunk in chunks) == THINKING


def check_openai() -> None:
    thinks("openai")


def check_hosted_vllm() -> None:
    thinks("hosted_vllm")


def check_nvidia_nim() -> None:
    thinks("nvidia_nim")


def check_streamed_usage() -> None:
    chunks = list(ask(stream=True, stream_options={"include_usage": True}))
    usages = [chunk.usage for chunk in chunks if getattr(chunk, "usage", None)]
    assert usages[-1].total_tokens == usages[-1].prompt_tokens + usages[-1].completion_tokens
    assert litellm.stream_chunk_builder(chunks).choices[0].message.content == ANSWER


def check_tool_round_trip() -> None:
    for stream in (False, True):
        messages: list[Any] = [{"role": "user", "content": TOOL_QUESTION}]
        reply = ask(messages, tools=[WEATHER_TOOL], stream=stream)
        reply = litellm.stream_chunk_builder(list(reply)) if stream else reply
        messages.append(reply.choices[0].message.model_dump())
        (call,) = reply.choices[0].message.tool_calls
        result = get_weather(**json.loads(call.function.arguments))
        messages.append({"role": "tool", "tool_call_id": call.id, "content": result})
        assert ask(messages, tools=[WEATHER_TOOL]).choices[0].message.content == TOOL_ANSWER


def check_typed_answer() -> None:
    reply = litellm.completion(
        model=f"hosted_vllm/{SMALL_MODEL}",
        api_base=f"{MODEL_URL}/v1",
        api_key="none",
        messages=[{"role": "user", "content": "Describe the capital of France."}],
        response_format=Capital,
        max_tokens=200,
    )
    assert Capital.model_validate_json(reply.choices[0].message.content)


def check_errors() -> None:
    try:
        ask([{"role": "user", "content": "a" * 200_000}])
    except litellm.ContextWindowExceededError as error:
        assert "maximum context length is" in str(error)
    else:
        raise AssertionError("a prompt that is too long was accepted")
    try:
        ask(temperature=9)
    except litellm.BadRequestError as error:
        assert "temperature" in str(error)
    else:
        raise AssertionError("a temperature of 9 was accepted")


run_checks(globals())
