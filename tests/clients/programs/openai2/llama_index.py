"""llama-index's OpenAILike, with openai 2.x: chat, completion, streams, tools, typed answers."""

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
from llama_index.core.agent.workflow import FunctionAgent
from llama_index.core.base.llms.types import ChatMessage, ThinkingBlock
from llama_index.core.program import FunctionCallingProgram
from llama_index.core.tools import FunctionTool
from llama_index.llms.openai_like import OpenAILike
from pydantic import BaseModel

THINK = {"extra_body": {"chat_template_kwargs": {"enable_thinking": True}}}
ASKED = [ChatMessage(role="system", content="Be brief."), ChatMessage(role="user", content=QUESTION)]


class Capital(BaseModel):
    """The capital of a country."""

    city: Literal["Paris", "London", "Rome"]
    is_large: bool


def llm(url: str = FRONT_URL, model: str = MODEL, **more: Any) -> OpenAILike:
    settings = {"is_chat_model": True, "is_function_calling_model": True, "context_window": 32_768, **more}
    return OpenAILike(model=model, api_base=f"{url}/v1", api_key="none", **settings)


def thinking(message: ChatMessage) -> str:
    return "".join(block.content or "" for block in message.blocks if isinstance(block, ThinkingBlock))


def check_chat() -> None:
    reply = llm(additional_kwargs=THINK).chat(ASKED)
    assert reply.message.content == ANSWER
    assert thinking(reply.message) == THINKING


def check_stream() -> None:
    pieces = list(llm(additional_kwargs=THINK).stream_chat(ASKED))
    assert "".join(piece.delta or "" for piece in pieces) == ANSWER
    assert pieces[-1].message.content == ANSWER
    assert thinking(pieces[-1].message) == THINKING


def check_completion() -> None:
    """/v1/completions, which it asks unless it is told of a chat model."""
    bare = llm(is_chat_model=False, max_tokens=200)
    text = bare.complete("Once upon a time [sim:think]").text
    assert text
    assert "".join(piece.delta for piece in bare.stream_complete("Once upon a time [sim:think]")) == text


async def check_agent() -> None:
    agent = FunctionAgent(tools=[get_weather], llm=llm())
    assert str(await agent.run(TOOL_QUESTION)) == TOOL_ANSWER


def check_required_tool_call() -> None:
    small = llm(MODEL_URL, SMALL_MODEL, max_tokens=200)
    tool = FunctionTool.from_defaults(get_weather)
    reply = small.chat_with_tools([tool], user_msg="What is the weather in Paris?", tool_required=True)
    (call,) = small.get_tool_calls_from_response(reply)
    assert call.tool_name == "get_weather"
    assert isinstance(call.tool_kwargs["city"], str)


def check_typed_answer() -> None:
    small = llm(MODEL_URL, SMALL_MODEL, max_tokens=200)
    program = FunctionCallingProgram.from_defaults(
        Capital, prompt_template_str="Describe the capital of France.", llm=small, tool_required=True
    )
    assert isinstance(program(), Capital)
    by_schema = llm(MODEL_URL, SMALL_MODEL, max_tokens=200, should_use_structured_outputs=True)
    assert isinstance(by_schema.as_structured_llm(Capital).complete("Describe the capital of France.").raw, Capital)


run_checks(globals())
