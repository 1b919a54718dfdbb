"""Counting and tokenizing, and the end of a thinking, beside answers."""

from __future__ import annotations

from typing import Any

import pytest

from nemotron_client import InvalidRequestError, NemotronError
from tests.unit.front.conftest import FrontOf, InProcess

# The script's token is a word.
MESSAGES = [{"role": "user", "content": "One two three"}]


@pytest.mark.parametrize(
    ("path", "body", "count"),
    [
        ("/v1/chat/completions/input_tokens", {"messages": MESSAGES}, 3),
        ("/v1/messages/count_tokens", {"messages": MESSAGES, "system": "Be short."}, 5),
        ("/v1/responses/input_tokens", {"input": "One two three", "instructions": "Be short."}, 5),
        ("/v1/completions/input_tokens", {"prompt": "One two"}, 2),
    ],
)
def test_the_tokens_of_a_request_are_counted(front_of: FrontOf, path: str, body: dict[str, Any], count: int) -> None:
    assert front_of().post(path, body).json() == {"object": "response.input_tokens", "input_tokens": count}


def test_what_cannot_be_asked_cannot_be_counted(front_of: FrontOf) -> None:
    front = front_of()
    response = front.post("/v1/messages/count_tokens", {"messages": MESSAGES, "foo": 1})
    assert (response.status_code, response.json()["type"]) == (400, "error")
    assert front.post("/v1/responses/input_tokens", {"input": 3}).json()["error"]["param"] == "input"
    several = front.post("/v1/completions/input_tokens", {"prompt": ["a", "b"]})
    assert (several.status_code, several.json()["error"]["param"]) == (400, "prompt")


def test_there_and_back(front_of: FrontOf) -> None:
    front = front_of()
    found = front.post("/tokenize", {"prompt": "One two three two"}).json()
    assert (found["count"], found["max_model_len"], found["token_strs"]) == (4, 4096, None)
    assert front.post("/detokenize", {"tokens": found["tokens"]}).json() == {"prompt": "One two three two"}
    assert front.post("/detokenize", {"tokens": found["tokens"][1:2]}).json() == {"prompt": " two"}


def test_a_conversation(front_of: FrontOf) -> None:
    body = {"messages": MESSAGES, "add_generation_prompt": True, "model": "nano"}
    assert front_of().post("/tokenize", body).json()["count"] == 3


def test_what_asks_nothing_of_a_conversation_is_taken(front_of: FrontOf) -> None:
    body = {"messages": MESSAGES, "add_special_tokens": False, "return_token_strs": False}
    assert front_of().post("/tokenize", body).json()["count"] == 3
    response = front_of().post("/tokenize", {**body, "return_token_strs": True})
    assert (response.status_code, response.json()["error"]["param"]) == (400, "return_token_strs")


@pytest.mark.parametrize(
    ("path", "body", "question", "told", "param"),
    [
        ("/tokenize", {"prompt": ""}, "tokenize", "text_input", "prompt"),
        ("/detokenize", {"tokens": [9]}, "detokenize", "input_ids", "tokens"),
        ("/v1/completions/input_tokens", {"prompt": "a"}, "count_tokens", "text_input", "prompt"),
        ("/v1/responses/input_tokens", {"input": ""}, "count_tokens", "messages[0].content", "input"),
    ],
)
def test_errors_of_the_server_name_what_the_caller_wrote(
    front_of: FrontOf,
    monkeypatch: pytest.MonkeyPatch,
    path: str,
    body: dict[str, Any],
    question: str,
    told: str,
    param: str,
) -> None:
    front: InProcess = front_of()

    async def refuse(*_: object, **__: object) -> int:
        raise InvalidRequestError(f"{told}: empty", request_id="", url="")

    monkeypatch.setattr(front.app.front.client, question, refuse)
    error = front.post(path, body).json()["error"]
    assert (error["param"], error["message"]) == (param, f"{param}: empty")


@pytest.mark.parametrize(
    ("path", "body", "param"),
    [
        ("/tokenize", {}, "prompt"),
        ("/tokenize", {"prompt": ["a"]}, "prompt"),
        ("/tokenize", {"prompt": "a", "return_token_strs": True}, "return_token_strs"),
        ("/tokenize", {"messages": MESSAGES, "chat_template": "x"}, "chat_template"),
        ("/detokenize", {"tokens": ["a"]}, "tokens"),
        ("/detokenize", {"tokens": [-1]}, "tokens"),
        ("/detokenize", {"tokens": [2**40]}, "tokens"),
        ("/v1/chat/completions/control", {"action": "reasoning_end"}, "id"),
        ("/v1/chat/completions/control", {"id": "chatcmpl-1"}, "action"),
        ("/v1/chat/completions/control", {"id": "chatcmpl-1", "action": "stop"}, "action"),
    ],
)
def test_what_is_wrong_is_named(front_of: FrontOf, path: str, body: dict[str, Any], param: str) -> None:
    response = front_of().post(path, body)
    assert (response.status_code, response.json()["error"]["param"]) == (400, param)


def test_a_model_that_is_not_there(front_of: FrontOf) -> None:
    assert front_of().post("/tokenize", {"prompt": "a", "model": "gpt"}).status_code == 404


def test_nothing_is_detokenized(front_of: FrontOf) -> None:
    assert front_of().post("/detokenize", {"tokens": []}).json() == {"prompt": ""}


def test_the_thinking_of_what_is_not_there_does_not_end(front_of: FrontOf) -> None:
    body = {"id": "chatcmpl-1", "action": "reasoning_end"}
    answer = front_of().post("/v1/chat/completions/control", body).json()
    assert answer == {"object": "chat.completion.control", "success": False, **body}


@pytest.mark.parametrize("prefix", ["chatcmpl-", "cmpl-", "resp_", "msg_", ""])
@pytest.mark.parametrize("own", ["0123456789abcdef" * 2, f"{'0123456789abcdef' * 2}-11"])
def test_the_server_is_told_its_own_name_of_an_answer(
    front_of: FrontOf, monkeypatch: pytest.MonkeyPatch, prefix: str, own: str
) -> None:
    front: InProcess = front_of()
    told: list[str] = []

    async def end_thinking(request_id: str) -> bool:
        told.append(request_id)
        return True

    monkeypatch.setattr(front.app.front.client, "end_thinking", end_thinking)
    body = {"id": prefix + own, "action": "reasoning_end"}
    assert front.post("/v1/chat/completions/control", body).json()["success"] is True
    # None of this process is called so: another may have it, with one choice or several.
    assert told == [own, *(f"{own}-{choice}" for choice in range(16))]


@pytest.mark.parametrize("name", ["my-job-1", "chatcmpl-1", "", f"x{'a' * 32}", f"{'A' * 32}", f"{'a' * 32}\n"])
def test_no_other_name_is_asked_for(front_of: FrontOf, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    front: InProcess = front_of()

    async def end_thinking(request_id: str) -> bool:
        pytest.fail(f"asked for {request_id}")

    monkeypatch.setattr(front.app.front.client, "end_thinking", end_thinking)
    body = {"id": name, "action": "reasoning_end"}
    assert front.post("/v1/chat/completions/control", body).json()["success"] is False


def test_a_server_that_cannot_be_asked(front_of: FrontOf, monkeypatch: pytest.MonkeyPatch) -> None:
    front: InProcess = front_of()

    async def count_tokens(*_: object, **__: object) -> int:
        raise NemotronError("broken", request_id="", url="")

    monkeypatch.setattr(front.app.front.client, "count_tokens", count_tokens)
    assert front.post("/v1/messages/count_tokens", {"messages": MESSAGES}).status_code == 500


@pytest.mark.parametrize("path", ["/v1/embeddings", "/v1/nothing"])
def test_other_paths_are_not_found_as_json(front_of: FrontOf, path: str) -> None:
    response = front_of().post(path, {"input": "x"})
    assert (response.status_code, response.json()["error"]["code"]) == (404, "unknown_url")
