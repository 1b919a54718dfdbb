"""langchain-openai: chat, streams, tools, typed answers. It reads no thinking over chat; over responses it does."""

from __future__ import annotations

from typing import Any, Literal

from checking import (
    ANSWER,
    FRONT_URL,
    MODEL,
    MODEL_URL,
    QUESTION,
    SMALL_MODEL,
    TOOL_ANSWER,
    TOOL_QUESTION,
    get_weather,
    run_checks,
)
from langchain_core.messages import HumanMessage, SystemMessage, ToolMessage
from langchain_openai import ChatOpenAI
from pydantic import BaseModel

llm = ChatOpenAI(base_url=f"{FRONT_URL}/v1", api_key="none", model=MODEL, stream_usage=True)
small = ChatOpenAI(base_url=f"{MODEL_URL}/v1", api_key="none", model=SMALL_MODEL, max_completion_tokens=200)


class Capital(BaseModel):
    """The capital of a country."""

    city: Literal["Paris", "London", "Rome"]
    is_large: bool


def check_invoke() -> None:
    reply = llm.invoke([SystemMessage("Be brief."), HumanMessage(QUESTION)], reasoning_effort="high")
    assert reply.content == ANSWER
    assert reply.response_metadata["finish_reason"] == "stop"
    assert reply.usage_metadata["output_token_details"]["reasoning"] > 0


def check_stream() -> None:
    whole: Any = None
    for chunk in llm.stream(QUESTION):
        whole = chunk if whole is None else whole + chunk
    assert whole.content == ANSWER
    assert whole.usage_metadata["output_tokens"] > 0


async def check_async_stream() -> None:
    assert "".join([chunk.content async for chunk in llm.astream(QUESTION)]) == ANSWER


def check_tool_round_trip() -> None:
    with_tools = llm.bind_tools([get_weather])
    messages: list[Any] = [HumanMessage(TOOL_QUESTION)]
    messages.append(with_tools.invoke(messages))
    (call,) = messages[-1].tool_calls
    messages.append(ToolMessage(get_weather(**call["args"]), tool_call_id=call["id"]))
    assert with_tools.invoke(messages).content == TOOL_ANSWER


def check_streamed_tool_call() -> None:
    whole: Any = None
    for chunk in llm.bind_tools([get_weather]).stream(TOOL_QUESTION):
        whole = chunk if whole is None else whole + chunk
    (call,) = whole.tool_calls
    assert (call["name"], call["args"]) == ("get_weather", {"city": "Bangkok"})


def check_typed_answer() -> None:
    for method in ("json_schema", "function_calling"):
        typed = small.with_structured_output(Capital, method=method)
        assert isinstance(typed.invoke("Describe the capital of France."), Capital), method


def check_responses() -> None:
    by_responses = ChatOpenAI(
        base_url=f"{FRONT_URL}/v1", api_key="none", model=MODEL, use_responses_api=True, reasoning={"effort": "high"}
    )
    reply = by_responses.invoke(QUESTION)
    assert reply.text == ANSWER
    assert "reasoning" in [block["type"] for block in reply.content]


run_checks(globals())
