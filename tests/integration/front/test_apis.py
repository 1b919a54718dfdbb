"""Every API against the real server: the same thinking, text and calls in each, whole and streamed."""

from __future__ import annotations

import http.client
import json
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.integration.conftest import Front

SCRIPTS = ["[sim:think] Hi", "[sim:tool] Hi", "[sim:think-tool] Hi", "[sim:unicode] Hi", "Hi"]
PARAMETERS = {"type": "object", "properties": {"city": {"type": "string"}}}
WEATHER = {"name": "get_weather", "parameters": PARAMETERS}
Said = tuple[str, str, list[tuple[str, Any]], str]
"""Thinking, text, calls, and why it has ended."""


def events(front: Front, path: str, body: dict[str, Any]) -> list[Any]:
    """The data of a stream's events."""
    status, headers, text = front.post(path, {**body, "stream": True})
    assert (status, headers["content-type"]) == (200, "text/event-stream; charset=utf-8"), text
    lines = [line.removeprefix("data: ") for line in text.split("\n") if line.startswith("data: ")]
    return [json.loads(line) for line in lines if line != "[DONE]"]


def whole(front: Front, path: str, body: dict[str, Any]) -> Any:
    status, _, text = front.post(path, body)
    assert status == 200, text
    return json.loads(text)


def by_chat(front: Front, prompt: str, thinking: bool, limit: int) -> Said:
    body = {
        "messages": [{"role": "user", "content": prompt}],
        "chat_template_kwargs": {"enable_thinking": thinking},
        "tools": [{"type": "function", "function": WEATHER}],
        "max_tokens": limit,
    }
    (choice,) = whole(front, "/v1/chat/completions", body)["choices"]
    message = choice["message"]
    calls = [call["function"] for call in message.get("tool_calls", ())]
    named = [(call["name"], json.loads(call["arguments"])) for call in calls]
    return message.get("reasoning_content", ""), message["content"], named, choice["finish_reason"]


def by_responses(front: Front, prompt: str, thinking: bool, limit: int) -> Iterator[Said]:
    body = {
        "input": prompt,
        "reasoning": {"enabled": thinking},
        "tools": [{"type": "function", **WEATHER}],
        "max_output_tokens": limit,
    }
    for response in (
        whole(front, "/v1/responses", body),
        events(front, "/v1/responses", body)[-1]["response"],
    ):
        said = {"reasoning": "", "message": ""}
        calls = []
        for item in response["output"]:
            if item["type"] == "function_call":
                calls.append((item["name"], json.loads(item["arguments"])))
            else:
                said[item["type"]] += item["content"][0]["text"]
        reason = "tool_calls" if calls else "stop"
        yield said["reasoning"], said["message"], calls, reason if response["status"] == "completed" else "length"


def by_messages(front: Front, prompt: str, thinking: bool, limit: int) -> Iterator[Said]:
    body = {
        "messages": [{"role": "user", "content": prompt}],
        "thinking": {"type": "enabled" if thinking else "disabled"},
        "tools": [{"name": "get_weather", "input_schema": PARAMETERS}],
        "max_tokens": limit,
    }
    reasons = {"end_turn": "stop", "max_tokens": "length", "tool_use": "tool_calls"}
    message = whole(front, "/v1/messages", body)
    texts = {kind: "".join(block.get(kind, "") for block in message["content"]) for kind in ("thinking", "text")}
    calls = [(block["name"], block["input"]) for block in message["content"] if block["type"] == "tool_use"]
    yield texts["thinking"], texts["text"], calls, reasons[message["stop_reason"]]

    said, names, arguments, reason = {"thinking": "", "text": ""}, [], [], ""
    for event in events(front, "/v1/messages", body):
        delta = event.get("delta", {})
        match event["type"], delta.get("type"):
            case "content_block_start", _ if event["content_block"]["type"] == "tool_use":
                names.append(event["content_block"]["name"])
            case "content_block_delta", "input_json_delta":
                arguments.append(json.loads(delta["partial_json"]))
            case "content_block_delta", "text_delta" | "thinking_delta":
                kind = delta["type"].removesuffix("_delta")
                said[kind] += delta[kind]
            case "message_delta", _:
                reason = reasons[delta["stop_reason"]]
    yield said["thinking"], said["text"], list(zip(names, arguments, strict=True)), reason


def test_all_apis_say_the_same(front: Front) -> None:
    # The shorter limit cuts most of them: in the thinking, in the text, in a call.
    requests = [(prompt, thinking, limit) for prompt in SCRIPTS for thinking in (True, False) for limit in (200, 40)]

    def said(request: tuple[str, bool, int]) -> tuple[Said, list[Said]]:
        return by_chat(front, *request), [*by_responses(front, *request), *by_messages(front, *request)]

    with ThreadPoolExecutor(len(requests)) as pool:
        for request, (expected, others) in zip(requests, pool.map(said, requests), strict=True):
            assert "think>" not in expected[0] + expected[1], request
            assert others == [expected] * 4, request


def test_counts_are_those_of_the_answers(front: Front) -> None:
    messages = [{"role": "system", "content": "Be short."}, {"role": "user", "content": "[sim:think] Grüße"}]
    counts = whole(front, "/v1/chat/completions/input_tokens", {"messages": messages})["input_tokens"]
    answer = whole(front, "/v1/chat/completions", {"messages": messages, "max_tokens": 5})
    assert answer["usage"]["prompt_tokens"] == counts
    body = {"system": "Be short.", "messages": messages[1:]}
    assert whole(front, "/v1/messages/count_tokens", body)["input_tokens"] == counts
    started = events(front, "/v1/messages", {**body, "max_tokens": 5})[0]
    assert started["message"]["usage"]["input_tokens"] == counts
    assert whole(front, "/tokenize", {"messages": messages})["count"] == counts


def test_tokens_there_and_back(front: Front) -> None:
    found = whole(front, "/tokenize", {"prompt": "Grüße 😀 ไทย"})
    assert len(found["tokens"]) == found["count"] <= found["max_model_len"]
    assert whole(front, "/detokenize", {"tokens": found["tokens"]})["prompt"].endswith("Grüße 😀 ไทย")
    bare = whole(front, "/tokenize", {"prompt": "Grüße 😀 ไทย", "add_special_tokens": False})
    assert whole(front, "/detokenize", {"tokens": bare["tokens"]})["prompt"] == "Grüße 😀 ไทย"


def test_completions_are_the_same_streamed(front: Front) -> None:
    body = {"prompt": ["[sim:unicode] a", "b"], "max_tokens": 60, "logprobs": 0, "n": 2}
    answer = whole(front, "/v1/completions", body)
    texts = {choice["index"]: "" for choice in answer["choices"]}
    tokens: dict[int, list[str]] = {index: [] for index in texts}
    for chunk in events(front, "/v1/completions", body):
        for choice in chunk["choices"]:
            texts[choice["index"]] += choice["text"]
            tokens[choice["index"]] += (choice["logprobs"] or {"tokens": []})["tokens"]
    assert texts == {choice["index"]: choice["text"] for choice in answer["choices"]}
    assert tokens == {choice["index"]: choice["logprobs"]["tokens"] for choice in answer["choices"]}


@pytest.mark.parametrize("n", [1, 2])
def test_the_answer_is_wanted_now(front: Front, n: int) -> None:
    """The thinking of an answer that is being written ends, of each of its choices."""
    address = front.url.removeprefix("http://")
    body = {
        "messages": [{"role": "user", "content": "[sim:think] Hi"}],
        "chat_template_kwargs": {"enable_thinking": True},
        "stream": True,
        "n": n,
    }
    connection = http.client.HTTPConnection(address, timeout=60)
    connection.request("POST", "/v1/chat/completions", json.dumps(body))
    response = connection.getresponse()
    first = json.loads(response.readline().removeprefix(b"data: "))
    control = {"id": first["id"], "action": "reasoning_end"}
    assert whole(front, "/v1/chat/completions/control", control)["success"] is True
    chunks = [json.loads(line[6:]) for line in response if line.startswith(b"data: {")]
    connection.close()
    ends = [choice for chunk in chunks for choice in chunk["choices"] if choice["finish_reason"]]
    assert [choice.get("thinking_budget_reached") for choice in ends] == [True] * n
    assert whole(front, "/v1/chat/completions/control", control)["success"] is False


def test_models_by_their_names(front: Front) -> None:
    with urllib.request.urlopen(f"{front.url}/v1/models", timeout=60) as response:
        listed = json.load(response)["data"]
    for entry in listed:
        with urllib.request.urlopen(f"{front.url}/v1/models/{entry['id'].replace('/', '%2F')}") as response:
            assert json.load(response) == entry
        body = {"model": entry["id"], "input": "Hi", "max_output_tokens": 1}
        assert whole(front, "/v1/responses", body)["model"] == entry["id"]
