"""pydantic-ai: thinking, streams, tools, typed answers by tool and by schema."""

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
from pydantic import BaseModel
from pydantic_ai import Agent, NativeOutput, ThinkingPart, ToolOutput
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.providers.openai import OpenAIProvider

model = OpenAIChatModel(MODEL, provider=OpenAIProvider(base_url=f"{FRONT_URL}/v1", api_key="none"))
small = OpenAIChatModel(SMALL_MODEL, provider=OpenAIProvider(base_url=f"{MODEL_URL}/v1", api_key="none"))
THINK: Any = {"extra_body": {"chat_template_kwargs": {"enable_thinking": True}}}


class Capital(BaseModel):
    """The capital of a country."""

    city: Literal["Paris", "London", "Rome"]
    is_large: bool


def thinking(messages: list[Any]) -> str:
    return "".join(part.content for message in messages for part in message.parts if isinstance(part, ThinkingPart))


def check_thinking() -> None:
    result = Agent(model, instructions="Be brief.").run_sync(QUESTION, model_settings=THINK)
    assert result.output == ANSWER
    assert thinking(result.all_messages()) == THINKING
    assert result.usage.output_tokens > 0


def check_history() -> None:
    """Which it sends back with the thinking in it."""
    agent = Agent(model)
    first = agent.run_sync(QUESTION, model_settings=THINK)
    again = agent.run_sync(QUESTION, message_history=first.all_messages(), model_settings=THINK)
    assert again.output == ANSWER


async def check_stream() -> None:
    async with Agent(model).run_stream(QUESTION, model_settings=THINK) as result:
        assert "".join([text async for text in result.stream_text(delta=True)]) == ANSWER
        assert thinking(result.all_messages()) == THINKING
        assert result.usage.output_tokens > 0


def check_tools() -> None:
    assert Agent(model, tools=[get_weather]).run_sync(TOOL_QUESTION).output == TOOL_ANSWER


async def check_streamed_tools() -> None:
    async with Agent(model, tools=[get_weather]).run_stream(TOOL_QUESTION) as result:
        assert await result.get_output() == TOOL_ANSWER


def check_typed_answer() -> None:
    for output in (NativeOutput(Capital), ToolOutput(Capital)):
        agent = Agent(small, output_type=output, model_settings={"max_tokens": 200})
        assert isinstance(agent.run_sync("Describe the capital of France.").output, Capital)


run_checks(globals())
