"""openai-agents: agents that think, call tools and give typed answers, over /v1/responses and over chat."""

from __future__ import annotations

from typing import Any, Literal

from agents import (
    Agent,
    ModelSettings,
    OpenAIChatCompletionsModel,
    OpenAIResponsesModel,
    Runner,
    function_tool,
    set_tracing_disabled,
)
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
from openai import AsyncOpenAI
from openai.types.shared import Reasoning
from pydantic import BaseModel

set_tracing_disabled(True)  # else it sends traces to its vendor

client = AsyncOpenAI(base_url=f"{FRONT_URL}/v1", api_key="none")
small = AsyncOpenAI(base_url=f"{MODEL_URL}/v1", api_key="none")
THINK = ModelSettings(reasoning=Reasoning(effort="high"))


class Capital(BaseModel):
    city: Literal["Paris", "London", "Rome"]
    is_large: bool


def agent(model: Any, **more: Any) -> Agent[Any]:
    return Agent(name="assistant", instructions="You are helpful.", model=model, **more)


def responses(own: AsyncOpenAI = client, name: str = MODEL) -> OpenAIResponsesModel:
    return OpenAIResponsesModel(model=name, openai_client=own)


def chat(own: AsyncOpenAI = client, name: str = MODEL) -> OpenAIChatCompletionsModel:
    return OpenAIChatCompletionsModel(model=name, openai_client=own)


async def answers(model: Any) -> None:
    result = await Runner.run(agent(model, model_settings=THINK), QUESTION)
    assert result.final_output == ANSWER
    assert result.context_wrapper.usage.output_tokens > 0
    kinds = [item.type for item in result.new_items]
    assert kinds == ["reasoning_item", "message_output_item"]


async def streams(model: Any, thinking_event: str) -> None:
    result = Runner.run_streamed(agent(model, model_settings=THINK), QUESTION)
    thinking = text = ""
    async for event in result.stream_events():
        if event.type == "raw_response_event":
            if event.data.type == thinking_event:
                thinking += event.data.delta
            elif event.data.type == "response.output_text.delta":
                text += event.data.delta
    assert (thinking, text) == (THINKING, ANSWER)
    assert result.final_output == ANSWER


async def calls_tools(model: Any) -> None:
    with_tool = agent(model, tools=[function_tool(get_weather)])
    assert (await Runner.run(with_tool, TOOL_QUESTION)).final_output == TOOL_ANSWER
    result = Runner.run_streamed(with_tool, TOOL_QUESTION)
    async for _ in result.stream_events():
        pass
    assert result.final_output == TOOL_ANSWER


async def gives_types(model: Any) -> None:
    typed = agent(model, output_type=Capital, model_settings=ModelSettings(max_tokens=200))
    assert isinstance((await Runner.run(typed, "Describe the capital of France.")).final_output, Capital)


async def check_responses() -> None:
    await answers(responses())


async def check_responses_stream() -> None:
    await streams(responses(), "response.reasoning_text.delta")


async def check_responses_tools() -> None:
    await calls_tools(responses())


async def check_responses_typed_answer() -> None:
    await gives_types(responses(small, SMALL_MODEL))


async def check_chat() -> None:
    await answers(chat())


async def check_chat_stream() -> None:
    await streams(chat(), "response.reasoning_summary_text.delta")


async def check_chat_tools() -> None:
    await calls_tools(chat())


async def check_chat_typed_answer() -> None:
    await gives_types(chat(small, SMALL_MODEL))


run_checks(globals())
