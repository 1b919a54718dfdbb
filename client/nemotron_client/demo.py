"""What `make demo` shows: answers with and without thinking, a thinking budget, a JSON answer; and a tool call.

Talks to the server that NEMOTRON_URL names (nemotron-serve sets it), else to grpc://127.0.0.1:8001. Where
NEMOTRON_OPENAI_URL names OpenAI's API (nemotron-serve --openai-port sets it), it is asked there as well.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import urllib.request
from http.client import HTTPException
from typing import Any

from nemotron_client._client import Client
from nemotron_client._errors import NemotronError
from nemotron_client._types import ContentDelta, Event, ReasoningDelta, Reply, ToolCallDelta, ToolCallErrorDelta

_OPENAI_VARIABLE = "NEMOTRON_OPENAI_URL"
_OPENAI_TIMEOUT_S = 120
_DIM, _PLAIN = "\033[2m", "\033[0m"
_QUESTION = "What is the capital of France?"
_THINKING_QUESTION = "How do plants make food?"
# The marker makes the simulated engine call the tool; a model needs none.
_TOOL_QUESTION = "What is the weather like in Bangkok? [sim:think-tool]"
_CITY = {
    "type": "object",
    "properties": {
        "city": {"type": "string", "maxLength": 30},
        "country": {"type": "string", "maxLength": 30},
        "is_capital": {"type": "boolean"},
    },
    "required": ["city", "country", "is_capital"],
}
_TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "get_weather",
            "description": "The weather in a city",
            "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
        },
    }
]


def main(argv: list[str] | None = None) -> int:
    """Run the demo; the exit status says whether all answers came."""
    parser = argparse.ArgumentParser(prog="python -m nemotron_client.demo", description=__doc__)
    parser.add_argument("question", nargs="?", help="in place of the ones that it brings")
    parser.add_argument("--url", help="default: what NEMOTRON_URL names, else grpc://127.0.0.1:8001")
    parser.add_argument("--tools", action="store_true", help="show a tool call, as the simulated engine makes it")
    options = parser.parse_args(argv)
    try:
        with Client(options.url) as client:
            if options.tools:
                _show_tool_call(client)
            else:
                _show_answers(client, options.question)
        if openai_url := os.environ.get(_OPENAI_VARIABLE):
            _show_openai(openai_url, options.question or _QUESTION)
    except (OSError, HTTPException) as error:
        sys.stderr.write(f"{os.environ[_OPENAI_VARIABLE]}: {error}\n")
        return 1
    except (NemotronError, ValueError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


def _show_answers(client: Client, question: str | None) -> None:
    conversation = [{"role": "user", "content": question or _QUESTION}]
    _show(client, "thinking off", conversation, thinking=False)
    worth_a_thought = [{"role": "user", "content": question or _THINKING_QUESTION}]
    _show(client, "thinking on, with a budget of 24 tokens", worth_a_thought, thinking=True, max_thinking_tokens=24)
    answer_format = {"type": "json_schema", "json_schema": {"name": "city", "schema": _CITY}}
    reply = _show(client, "a JSON answer by a schema", conversation, thinking=False, response_format=answer_format)
    _write(_dim(f"[read as JSON: {json.loads(reply.content)}]") + "\n")


def _show_openai(url: str, question: str) -> None:
    """The way of every program that knows OpenAI's API, shown as curl would go it."""
    body = json.dumps({"messages": [{"role": "user", "content": question}], "max_tokens": 160}, ensure_ascii=False)
    _write(f"\n── OpenAI's API ──\n$ curl {url}/chat/completions -d '{body}'\n")
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with direct.open(f"{url}/chat/completions", body.encode(), _OPENAI_TIMEOUT_S) as response:
        answer = json.load(response)
    _write(f"A: {answer['choices'][0]['message']['content']}\n{_dim(str(answer['usage']))}\n")


def _show_tool_call(client: Client) -> None:
    """A round trip: the model asks for a function, we call it, and the model answers with what it returned."""
    conversation: list[dict[str, Any]] = [{"role": "user", "content": _TOOL_QUESTION}]
    reply = _show(client, "a tool call, from the simulated engine", conversation, thinking=True, tools=_TOOLS)
    calls = [call.as_message_part() for call in reply.tool_calls]
    conversation.append({"role": "assistant", "content": reply.content, "tool_calls": calls})
    for call in reply.tool_calls:
        result = _get_weather(**json.loads(call.arguments))
        _write(f"We call {call.name}({call.arguments}) and it returns {result}\n")
        conversation.append({"role": "tool", "tool_call_id": call.id, "content": json.dumps(result)})
    _show(client, "the answer, with the tool's result", conversation, thinking=True, tools=_TOOLS)


def _get_weather(city: str) -> dict[str, Any]:
    return {"city": city, "temperature_c": 31, "sky": "sunny"}


def _show(client: Client, title: str, conversation: list[dict[str, Any]], **options: Any) -> Reply:
    _write(f"\n── {title} ──\n")
    if conversation[-1]["role"] == "user":
        _write(f"Q: {conversation[-1]['content']}\n")
    shown: type[Event] | None = None
    with client.stream_chat(conversation, max_tokens=160, **options) as stream:
        for event in stream:
            _show_event(event, shown)
            shown = type(event)
        reply = stream.get_final()
    _write(f"\n{_dim(_summary(reply))}\n")
    return reply


def _show_event(event: Event, before: type[Event] | None) -> None:
    if isinstance(event, ReasoningDelta):
        _write(_dim(event.text))
        return
    if before is not type(event):
        _write("\n" if before else "")
        _write("A: " if isinstance(event, ContentDelta) else "The model calls a tool: ")
    if isinstance(event, ContentDelta):
        _write(event.text)
    elif isinstance(event, ToolCallDelta):
        _write(f"{event.call.name}({event.call.arguments})")
    elif isinstance(event, ToolCallErrorDelta):
        _write(f"one that cannot be read: {event.error.reason}")


def _summary(reply: Reply) -> str:
    usage, timings = reply.usage, reply.timings
    budget = ", ended by the budget" if reply.thinking_budget_reached else ""
    return (
        f"[{usage.prompt_tokens} prompt tokens, {usage.output_tokens} output tokens of which "
        f"{usage.reasoning_tokens} thinking{budget}; first token after {1000 * (timings.ttft_s or 0):.0f} ms, "
        f"{usage.output_tokens / timings.total_s:.0f} tokens/s; finish_reason {reply.finish_reason}]"
    )


def _dim(text: str) -> str:
    return f"{_DIM}{text}{_PLAIN}" if sys.stdout.isatty() else text


def _write(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()


if __name__ == "__main__":
    raise SystemExit(main())
