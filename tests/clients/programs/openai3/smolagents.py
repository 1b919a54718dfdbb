"""smolagents: an agent that calls tools, whole and streamed, and its model alone."""

from __future__ import annotations

from typing import Any

from checking import (
    ANSWER,
    FRONT_URL,
    MODEL,
    MODEL_URL,
    QUESTION,
    SMALL_MODEL,
    TOOL_QUESTION,
    get_weather,
    run_checks,
)
from smolagents import ChatMessage, MessageRole, OpenAIModel, ToolCallingAgent, tool

model = OpenAIModel(model_id=MODEL, api_base=f"{FRONT_URL}/v1", api_key="none")
small = OpenAIModel(model_id=SMALL_MODEL, api_base=f"{MODEL_URL}/v1", api_key="none", max_tokens=200)


def asked(text: str) -> list[Any]:
    """As it writes all messages: content in parts."""
    return [
        ChatMessage(role=MessageRole.SYSTEM, content=[{"type": "text", "text": "Be brief."}]),
        ChatMessage(role=MessageRole.USER, content=[{"type": "text", "text": text}]),
    ]


def check_generate() -> None:
    reply = model.generate(asked(QUESTION), stop_sequences=["Observation:", "Calling tools:"])
    assert reply.content == ANSWER
    assert reply.token_usage.output_tokens > 0


def check_stream() -> None:
    deltas = list(model.generate_stream(asked(QUESTION)))
    assert "".join(delta.content or "" for delta in deltas) == ANSWER
    assert [delta.token_usage for delta in deltas if delta.token_usage][-1].output_tokens > 0


def check_tool_call() -> None:
    reply = model.generate(asked(TOOL_QUESTION), tools_to_call_from=[tool(get_weather)], tool_choice="auto")
    (call,) = reply.tool_calls
    assert (call.function.name, call.function.arguments) == ("get_weather", '{"city": "Bangkok"}')


def check_required_tool_call() -> None:
    """What its agents send: a call has to come."""
    reply = small.generate(asked("What is the weather in Paris?"), tools_to_call_from=[tool(get_weather)])
    assert reply.tool_calls[0].function.name == "get_weather"


def check_agent() -> None:
    agent = ToolCallingAgent(tools=[tool(get_weather)], model=small, max_steps=1, verbosity_level=0)
    agent.run("What is the weather in Paris?")
    (step,) = (step for step in agent.memory.steps if getattr(step, "tool_calls", None))
    assert step.tool_calls[0].name in ("get_weather", "final_answer")


run_checks(globals())
