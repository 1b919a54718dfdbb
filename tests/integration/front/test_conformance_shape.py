"""The shape of a chat completion that is not streamed."""

from __future__ import annotations

import json
import urllib.request

import openai
import pytest

from tests.integration.conftest import Front
from tests.integration.front.asking import NVIDIA_ID, OFF, ON, Got, ask_all, user

BODIES = {
    "plain": user("Hi"),
    "on": {**user("[sim:think]"), **ON},
    "off": {**user("[sim:think]"), **OFF},
    "one": {**user("Hi"), **OFF, "max_tokens": 1},
    "both limits": {**user("[sim:random]"), **OFF, "max_tokens": 5, "max_completion_tokens": 9},
    "random": {**user("[sim:random]"), **OFF, "max_tokens": 6},
    "two": {**user("[sim:random]"), **OFF, "n": 2, "seed": 1, "max_tokens": 12},
    "continued": {
        "messages": [*user("[sim:random]")["messages"], {"role": "assistant", "content": "Once"}],
        **{"continue_final_message": True, "add_generation_prompt": False, "max_tokens": 3},
    },
    "unknown": {**user("Hi"), "model": "x"},
    "length cut in thinking": {**user("[sim:think]"), **ON, "max_tokens": 8},
}


@pytest.fixture(scope="module")
def asked(front: Front) -> dict[str, Got]:
    return ask_all(front, BODIES)


def test_a_plain_answer_has_openai_s_keys(asked: dict[str, Got]) -> None:
    answer = asked["plain"].json
    assert answer.keys() == {"id", "object", "created", "model", "system_fingerprint", "choices", "usage"}
    assert answer["object"] == "chat.completion"
    assert type(answer["created"]) is int
    message = asked["plain"].message
    assert message["role"] == "assistant"
    assert message["content"]


def test_thinking_comes_under_both_names_and_without_tags(asked: dict[str, Got]) -> None:
    message = asked["on"].message
    assert message["reasoning_content"]
    assert message["reasoning_content"] == message["reasoning"]
    assert "think>" not in message["reasoning"] + message["content"]


def test_without_thinking_neither_name_is_there(asked: dict[str, Got]) -> None:
    assert '"reasoning' not in asked["off"].text.replace('"reasoning_tokens"', "")


@pytest.mark.parametrize("thinking", ["on", "off"])
def test_counts_add_up(asked: dict[str, Got], thinking: str) -> None:
    usage = asked[thinking].usage
    reasoning = usage["completion_tokens_details"]["reasoning_tokens"]
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]
    assert usage["completion_tokens"] >= reasoning
    assert (reasoning >= 1) is (thinking == "on")


def test_one_token_is_one_token(asked: dict[str, Got]) -> None:
    assert asked["one"].usage["completion_tokens"] == 1
    assert asked["one"].choice["finish_reason"] == "length"


def test_of_two_limits_openai_s_new_name_holds(asked: dict[str, Got]) -> None:
    assert asked["both limits"].usage["completion_tokens"] == 9


def test_without_a_limit_the_answer_comes_to_its_end(asked: dict[str, Got]) -> None:
    assert asked["on"].usage["completion_tokens"] > 16
    assert asked["on"].choice["finish_reason"] == "stop"


def test_several_answers_have_their_indexes_and_are_counted_together(asked: dict[str, Got]) -> None:
    answer = asked["two"].json
    first, second = answer["choices"]
    assert (first["index"], second["index"]) == (0, 1)
    assert first["message"]["content"] != second["message"]["content"]  # each has a seed of its own
    assert answer["usage"]["completion_tokens"] == 24


def test_thinking_that_is_cut_off_leaves_an_empty_content(asked: dict[str, Got]) -> None:
    assert asked["length cut in thinking"].message["content"] == ""
    assert asked["length cut in thinking"].choice["finish_reason"] == "length"


def test_every_model_that_is_listed_answers_by_its_name(front: Front) -> None:
    with urllib.request.urlopen(f"{front.url}/v1/models", timeout=10) as response:
        names = [model["id"] for model in json.load(response)["data"]]
    assert NVIDIA_ID in names
    asked = ask_all(front, {name: {**user("Hi"), "model": name, "max_tokens": 1} for name in names})
    assert {name: got.json["model"] for name, got in asked.items()} == {name: name for name in names}


def test_an_answer_is_continued(asked: dict[str, Got]) -> None:
    assert asked["continued"].usage["completion_tokens"] == 3
    assert "reasoning" not in asked["continued"].message


def test_another_model_is_not_there(asked: dict[str, Got]) -> None:
    assert asked["unknown"].status == 404
    assert asked["unknown"].error["code"] == "model_not_found"


def test_openai_s_client_reads_it(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(
        model=NVIDIA_ID, messages=[{"role": "user", "content": "Hi"}], max_completion_tokens=5
    )
    assert answer.choices[0].message.role == "assistant"
    assert answer.usage is not None
    assert answer.usage.completion_tokens == 5
