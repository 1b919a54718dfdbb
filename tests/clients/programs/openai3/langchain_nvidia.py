"""langchain-nvidia-ai-endpoints: the model list, thinking, streams, tools, typed answers."""

from __future__ import annotations

from typing import Any, Literal

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
from langchain_core.messages import HumanMessage, ToolMessage
from langchain_core.tools import tool
from langchain_nvidia_ai_endpoints import ChatNVIDIA
from pydantic import BaseModel

llm = ChatNVIDIA(base_url=f"{FRONT_URL}/v1", model=MODEL)
small = ChatNVIDIA(base_url=f"{MODEL_URL}/v1", model=SMALL_MODEL, max_completion_tokens=200)


class Capital(BaseModel):
    """The capital of a country."""

    city: Literal["Paris", "London", "Rome"]
    is_large: bool


def check_models() -> None:
    assert MODEL in [model.id for model in llm.available_models]


def check_default_model() -> None:
    assert ChatNVIDIA(base_url=FRONT_URL).invoke(QUESTION).content == ANSWER


def check_thinking() -> None:
    reply = llm.with_thinking_mode(enabled=True).invoke(QUESTION)
    assert reply.content == ANSWER
    assert reply.additional_kwargs["reasoning_content"] == THINKING
    assert reply.usage_metadata["output_tokens"] > 0
    reply = llm.with_thinking_mode(enabled=False).invoke(QUESTION)
    assert "reasoning_content" not in reply.additional_kwargs


def check_stream() -> None:
    whole: Any = None
    for chunk in llm.with_thinking_mode(enabled=True).stream(QUESTION):
        whole = chunk if whole is None else whole + chunk
    assert whole.content == ANSWER
    assert whole.additional_kwargs["reasoning_content"] == THINKING
    assert whole.usage_metadata["output_tokens"] > 0


def check_tool_round_trip() -> None:
    with_tools = llm.bind_tools([tool(get_weather)])
    messages: list[Any] = [HumanMessage(TOOL_QUESTION)]
    messages.append(with_tools.invoke(messages))
    (call,) = messages[-1].tool_calls
    messages.append(ToolMessage(get_weather(**call["args"]), tool_call_id=call["id"]))
    assert with_tools.invoke(messages).content == TOOL_ANSWER


def check_typed_answer() -> None:
    assert isinstance(small.with_structured_output(Capital).invoke("Describe the capital of France."), Capital)


run_checks(globals())
