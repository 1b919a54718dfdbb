"""The answers that streams make, put together from their events in the way of clients, which checks the events too.

An event is its name, empty for those without, and its data: of JSON what it says.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from openai.types import Completion
from openai.types.responses import ResponseStreamEvent
from pydantic import TypeAdapter

_EVENTS: TypeAdapter[Any] = TypeAdapter(ResponseStreamEvent)


def events_of(text: str) -> list[tuple[str, Any]]:
    """The events in the text of a stream."""
    assert text.endswith("\n\n")
    return [_event_of(block) for block in text[:-2].split("\n\n") if not block.startswith(":")]


def _event_of(block: str) -> tuple[str, Any]:
    lines = dict(line.split(": ", 1) for line in block.split("\n"))
    assert lines.keys() <= {"event", "data"}
    data = lines["data"]
    return lines.get("event", ""), data if data == "[DONE]" else json.loads(data)


def completion(events: Sequence[tuple[str, Any]]) -> list[dict[str, Any]]:
    """The choices that a stream's chunks make."""
    assert events[-1] == ("", "[DONE]")
    choices: dict[int, dict[str, Any]] = {}
    for _, data in events[:-1]:
        Completion.model_validate_json(json.dumps({**data, "choices": []}), strict=True)
        for chunk in data["choices"]:
            choice = choices.setdefault(chunk["index"], {"index": chunk["index"], "text": "", "logprobs": None})
            assert choice.get("finish_reason") is None
            for name in ("text", "reasoning", "reasoning_content"):
                if name in chunk:
                    choice[name] = choice.get(name, "") + chunk[name]
            for name, values in (chunk["logprobs"] or {}).items():
                choice["logprobs"] = choice["logprobs"] or {}
                choice["logprobs"][name] = choice["logprobs"].get(name, []) + values
            rest = {"index", "text", "reasoning", "reasoning_content", "logprobs"}
            choice |= {name: value for name, value in chunk.items() if name not in rest}
    return [choices[index] for index in sorted(choices)]


def response(events: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    """The response at the end of a stream whose events are right by themselves and in their order."""
    opened: dict[int, dict[str, Any]] = {}
    texts: dict[int, str] = {}
    finished: list[dict[str, Any]] = []
    for number, (name, data) in enumerate(events):
        _EVENTS.validate_json(json.dumps(data), strict=True)
        assert data["type"] == name
        assert data["sequence_number"] == number
        index = data.get("output_index")
        match name:
            case "response.output_item.added":
                assert index == len(opened) == len(finished)  # one is open at a time
                opened[index] = data["item"]
            case "response.output_item.done":
                assert data["item"]["id"] == opened[index]["id"]
                finished.append(data["item"])
            case "response.content_part.added":
                assert data["part"]["text"] == texts.setdefault(index, "") == ""
            case _ if name.endswith(".delta"):
                assert data["delta"]
                texts[index] = texts.get(index, "") + data["delta"]
            case "response.function_call_arguments.done":
                assert data["arguments"] == texts[index]
            case "response.content_part.done":
                assert data["part"]["text"] == texts[index]
            case _ if name.endswith("_text.done"):
                assert data["text"] == texts[index]
        if "item_id" in data:
            assert data["item_id"] == opened[index]["id"]
    names = [name for name, _ in events]
    assert names[:2] == ["response.created", "response.in_progress"]
    assert names[-1] in ("response.completed", "response.incomplete", "response.failed")
    whole: dict[str, Any] = events[-1][1]["response"]
    assert whole["output"] == finished
    assert whole["status"] == names[-1].removeprefix("response.")
    assert len({event["response"]["id"] for _, event in events if "response" in event}) == 1
    return whole


def message(events: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    """The message that a stream's events make, in the way of Anthropic's own client."""
    assert all(data["type"] == name for name, data in events)
    names = [name for name, _ in events if name != "ping"]
    assert (names[0], names[-2:]) == ("message_start", ["message_delta", "message_stop"])
    whole: dict[str, Any] = dict(events[0][1]["message"])
    assert (whole["content"], whole["stop_reason"]) == ([], None)
    opened, partial = False, ""
    for name, data in events:
        match name:
            case "content_block_start":
                assert not opened
                assert data["index"] == len(whole["content"])
                opened, partial = True, ""
                whole["content"].append(data["content_block"])
            case "content_block_delta":
                assert opened
                block, delta = whole["content"][data["index"]], data["delta"]
                match delta["type"]:
                    case "text_delta" | "thinking_delta":
                        kind = delta["type"].removesuffix("_delta")
                        assert delta[kind]
                        block[kind] += delta[kind]
                    case "signature_delta":
                        block["signature"] = delta["signature"]
                    case "input_json_delta":
                        partial += delta["partial_json"]
            case "content_block_stop":
                opened = False
                if whole["content"][data["index"]]["type"] == "tool_use":
                    whole["content"][data["index"]]["input"] = json.loads(partial)
            case "message_delta":
                whole |= data["delta"]
                whole["usage"] |= data["usage"]
    assert not opened
    return whole
