"""The shape of a chat completion that is not streamed."""

from __future__ import annotations

import json

import openai
import pytest

from tests.integration.conftest import Front

MODEL = "nvidia/llama-3.1-nemotron-nano-8b-v1"

THINK = [{"role": "user", "content": "[sim:think] Well?"}]


def test_a_plain_answer_has_openai_s_keys(front: Front) -> None:
    status, _, text = front.post("/v1/chat/completions", {"messages": [{"role": "user", "content": "Hi"}]})
    answer = json.loads(text)
    assert status == 200
    assert answer.keys() == {"id", "object", "created", "model", "choices", "usage"}
    assert answer["object"] == "chat.completion"
    assert type(answer["created"]) is int
    message = answer["choices"][0]["message"]
    assert message["role"] == "assistant"
    assert message["content"]


def test_thinking_comes_under_both_names_and_without_tags(client: openai.OpenAI) -> None:
    on = {"chat_template_kwargs": {"enable_thinking": True}}
    answer = client.chat.completions.create(model=MODEL, messages=THINK, extra_body=on)  # type: ignore[arg-type]
    message = answer.choices[0].message.model_dump()
    assert message["reasoning_content"]
    assert message["reasoning_content"] == message["reasoning"]
    assert "think>" not in message["reasoning"] + message["content"]


def test_without_thinking_neither_name_is_there(front: Front) -> None:
    off = {"messages": THINK, "chat_template_kwargs": {"enable_thinking": False}}
    _, _, text = front.post("/v1/chat/completions", off)
    assert '"reasoning' not in text.replace('"reasoning_tokens"', "")


@pytest.mark.parametrize("thinking", [True, False])
def test_counts_add_up(client: openai.OpenAI, thinking: bool) -> None:
    switch = {"chat_template_kwargs": {"enable_thinking": thinking}}
    answer = client.chat.completions.create(model=MODEL, messages=THINK, extra_body=switch)  # type: ignore[arg-type]
    usage = answer.usage
    assert usage is not None
    assert usage.completion_tokens_details is not None
    assert usage.total_tokens == usage.prompt_tokens + usage.completion_tokens
    assert usage.completion_tokens_details.reasoning_tokens is not None
    assert usage.completion_tokens >= usage.completion_tokens_details.reasoning_tokens
    assert (usage.completion_tokens_details.reasoning_tokens >= 1) is thinking
