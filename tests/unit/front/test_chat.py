"""How chat completions are written, streamed and whole: each rule is one that a real client breaks without."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from nemotron_client import ToolCall, Usage
from nemotron_client.testing import Fault, ScriptedReply, random_pieces
from tests.unit.front.conftest import FrontOf, InProcess

PATH = "/v1/chat/completions"
HI = {"messages": [{"role": "user", "content": "Hi"}]}
CALLS = (ToolCall("c1", "add", '{"a": "é"}'), ToolCall("c2", "sub", "{}"))
USAGE = Usage(prompt_tokens=7, output_tokens=9, reasoning_tokens=4, cached_tokens=3)
TEXT = "Grüße \u2028 สวัสดี 👩‍👩‍👧 \x85 end"
THINKING = "First,\nthen."


def answer(front: InProcess, **body: Any) -> Any:
    response = front.post(PATH, {**HI, **body})
    assert response.status_code == 200, response.text
    return response.json()


def chunks(front: InProcess, **body: Any) -> list[Any]:
    """The chunks of a stream that ends as it should."""
    *events, (_, last) = front.stream(PATH, {**HI, **body})
    assert last == "[DONE]"
    assert {name for name, _ in events} == {""}
    return [data for _, data in events]


def deltas(chunks: list[Any], index: int = 0) -> Iterator[dict[str, Any]]:
    return (choice["delta"] for chunk in chunks for choice in chunk["choices"] if choice["index"] == index)


def joined(chunks: list[Any], key: str) -> str:
    return "".join(delta.get(key, "") for delta in deltas(chunks))


def test_the_keys_of_a_whole_answer(front_of: FrontOf) -> None:
    whole = answer(front_of(ScriptedReply("Hello.", usage=USAGE)))
    assert whole.keys() == {"id", "object", "created", "model", "system_fingerprint", "choices", "usage"}
    assert whole["id"].startswith("chatcmpl-")
    assert whole["choices"] == [
        {
            "index": 0,
            "message": {"role": "assistant", "content": "Hello."},
            "logprobs": None,
            "finish_reason": "stop",
        }
    ]
    assert whole["usage"] == {
        "prompt_tokens": 7,
        "completion_tokens": 9,
        "total_tokens": 16,
        "completion_tokens_details": {"reasoning_tokens": 4},
        "prompt_tokens_details": {"cached_tokens": 3},
    }


def test_the_fingerprint_is_the_package_that_answers(front_of: FrontOf) -> None:
    """In each chunk and in the whole answer, once for all choices of one package."""
    front = front_of(ScriptedReply("Hello there.", reasoning_content="Hm.", usage=USAGE, package="nano-fp8", times=4))
    asked = {"stream": True, "n": 2, "stream_options": {"include_usage": True}}
    assert {chunk["system_fingerprint"] for chunk in chunks(front, **asked)} == {"nano-fp8"}
    assert answer(front, n=2)["system_fingerprint"] == "nano-fp8"


def test_choices_of_replicas_with_different_packages(front_of: FrontOf) -> None:
    replies = [ScriptedReply("a", package=name, match="Hi", times=1) for name in ("nano-bf16", "nano-fp8")]
    seen = {
        (choice["index"], chunk["system_fingerprint"])
        for chunk in chunks(front_of(replies), stream=True, n=2)
        for choice in chunk["choices"]
    }
    assert {name for _, name in seen} == {"nano-bf16", "nano-fp8"}
    assert len(seen) == 2
    assert set(answer(front_of(replies), n=2)["system_fingerprint"].split(", ")) == {"nano-bf16", "nano-fp8"}


def test_counts_that_the_server_does_not_know_are_left_out(front_of: FrontOf) -> None:
    usage = answer(front_of(ScriptedReply("a", usage=Usage(1, 1, 0))))["usage"]
    assert "prompt_tokens_details" not in usage


def test_the_id_is_that_of_the_request(front_of: FrontOf) -> None:
    front = front_of("a")
    assert answer(front)["id"] == f"chatcmpl-{front.transport.requests[0].request_id}"


@pytest.mark.parametrize("seed", range(5))
def test_a_stream_says_what_the_whole_answer_says(front_of: FrontOf, seed: int) -> None:
    script = ScriptedReply(
        TEXT, reasoning_content=THINKING, tool_calls=CALLS, usage=USAGE, split=random_pieces(seed), times=2
    )
    front = front_of([script])
    whole = answer(front)["choices"][0]
    streamed = chunks(front)
    assert joined(streamed, "content") == whole["message"]["content"] == TEXT
    assert joined(streamed, "reasoning") == joined(streamed, "reasoning_content") == whole["message"]["reasoning"]
    assert streamed[-1]["choices"][0]["finish_reason"] == whole["finish_reason"] == "tool_calls"
    calls: dict[int, dict[str, str]] = {}
    for delta in deltas(streamed):
        for part in delta.get("tool_calls", ()):
            calls.setdefault(part["index"], {"arguments": ""})
            calls[part["index"]]["arguments"] += part["function"]["arguments"]
            if "id" in part:
                calls[part["index"]] |= {"id": part["id"], "name": part["function"]["name"]}
    made = {
        number: {"arguments": call["function"]["arguments"], "id": call["id"], "name": call["function"]["name"]}
        for number, call in enumerate(whole["message"]["tool_calls"])
    }
    assert calls == made


def test_the_role_comes_once_and_the_end_says_nothing_else(front_of: FrontOf) -> None:
    streamed = chunks(front_of(ScriptedReply("a b c", reasoning_content="t u")))
    said = list(deltas(streamed))
    assert said[0] == {"role": "assistant", "content": ""}
    assert [delta for delta in said if "role" in delta] == said[:1]
    ends = [chunk for chunk in streamed if chunk["choices"][0]["finish_reason"] is not None]
    assert ends == streamed[-1:]
    assert said[-1] == {}
    assert len({(chunk["id"], chunk["created"], chunk["model"], chunk["object"]) for chunk in streamed}) == 1


def test_an_answer_of_nothing_has_its_role_and_its_end(front_of: FrontOf) -> None:
    said = list(deltas(chunks(front_of(ScriptedReply("")))))
    assert said == [{"role": "assistant", "content": ""}, {}]


def test_no_delta_has_an_empty_text_or_both_kinds(front_of: FrontOf) -> None:
    first, *rest, end = deltas(chunks(front_of(ScriptedReply("a b", reasoning_content="t u"))))
    assert first["content"] == end.get("content", "") == ""
    for delta in rest:
        assert delta.keys() in ({"content"}, {"reasoning", "reasoning_content"})
        assert all(delta.values())


@pytest.mark.parametrize("stream", [True, False])
def test_without_thinking_there_is_no_word_of_it(front_of: FrontOf, stream: bool) -> None:
    text = front_of("Hello.").post(PATH, {**HI, "stream": stream}).text
    assert '"reasoning' not in text.replace('"reasoning_tokens"', "")


def test_every_event_is_one_line_for_every_reader(front_of: FrontOf) -> None:
    text = front_of(ScriptedReply([TEXT])).post(PATH, {**HI, "stream": True}).text
    assert {line.partition(":")[0] for line in text.splitlines()} == {"data", ""}


def test_tool_calls_are_named_once(front_of: FrontOf) -> None:
    said = [
        delta["tool_calls"]
        for delta in deltas(chunks(front_of(ScriptedReply(tool_calls=CALLS))))
        if "tool_calls" in delta
    ]
    assert said == [
        [{"index": 0, "id": "c1", "type": "function", "function": {"name": "add", "arguments": ""}}],
        [{"index": 0, "function": {"arguments": '{"a": "é"}'}}],
        [{"index": 1, "id": "c2", "type": "function", "function": {"name": "sub", "arguments": ""}}],
        [{"index": 1, "function": {"arguments": "{}"}}],
    ]


def test_the_content_beside_calls_is_a_string(front_of: FrontOf) -> None:
    message = answer(front_of(ScriptedReply(tool_calls=CALLS[:1])))["choices"][0]["message"]
    assert message["content"] == ""
    assert message["tool_calls"] == [
        {"id": "c1", "type": "function", "function": {"name": "add", "arguments": '{"a": "é"}'}}
    ]


def test_openai_s_helper_joins_what_comes(front_of: FrontOf) -> None:
    front = front_of(ScriptedReply(TEXT, reasoning_content=THINKING, tool_calls=CALLS))
    with front.openai() as client, client.chat.completions.stream(model="nano", **HI) as stream:  # type: ignore[arg-type]
        message: Any = stream.get_final_completion().choices[0].message
    assert (message.role, message.content, message.reasoning) == ("assistant", TEXT, THINKING)
    assert [(call.id, call.function.name) for call in message.tool_calls] == [("c1", "add"), ("c2", "sub")]


def test_without_being_asked_a_stream_has_no_counts(front_of: FrontOf) -> None:
    assert "usage" not in front_of("a b").post(PATH, {**HI, "stream": True}).text


def test_asked_for_counts_come_last_and_alone(front_of: FrontOf) -> None:
    front = front_of([ScriptedReply("a b c", usage=USAGE, times=2)])
    *others, last = chunks(front, stream_options={"include_usage": True})
    assert {json.dumps(chunk["usage"]) for chunk in others} == {"null"}
    assert last["choices"] == []
    assert last["usage"] == answer(front)["usage"]


def test_continuous_counts_never_fall_and_end_at_the_total(front_of: FrontOf) -> None:
    front = front_of(ScriptedReply("a b c d"))
    both = {"include_usage": True, "continuous_usage_stats": True}
    streamed = chunks(front, n=2, stream_options=both)
    counts = [chunk["usage"]["completion_tokens"] for chunk in streamed if chunk["usage"]]
    assert counts == sorted(counts)
    assert len(counts) > 4
    assert counts[-1] == counts[-2] == 2 * 4


def test_several_answers_have_their_indexes_and_share_the_prompt(front_of: FrontOf) -> None:
    front = front_of([ScriptedReply("a", usage=USAGE, times=4)])
    whole = answer(front, n=2)
    assert [choice["index"] for choice in whole["choices"]] == [0, 1]
    assert (whole["usage"]["prompt_tokens"], whole["usage"]["completion_tokens"]) == (7, 18)
    streamed = chunks(front, n=2)
    for index in (0, 1):
        own = [choice for chunk in streamed for choice in chunk["choices"] if choice["index"] == index]
        assert own[0]["delta"]["role"] == "assistant"
        assert [choice["finish_reason"] for choice in own if choice["finish_reason"]] == ["stop"]


LOGPROBS = [
    {"token": token, "logprob": -0.5, "bytes": list(token.encode()), "top_logprobs": []} for token in ("a", " b", " c")
]


@pytest.mark.parametrize("asked", [{"logprobs": True}, {"return_log_probs": True}])
def test_log_probabilities_are_those_of_the_whole_answer(front_of: FrontOf, asked: dict[str, bool]) -> None:
    front = front_of([ScriptedReply("a b c", logprobs=LOGPROBS, times=2)])
    whole = answer(front, **asked)["choices"][0]["logprobs"]
    assert whole == {"content": LOGPROBS, "refusal": None}
    entries = [
        entry
        for chunk in chunks(front, **asked)
        for entry in chunk["choices"][0].get("logprobs", {"content": []})["content"]
    ]
    assert entries == LOGPROBS


@pytest.mark.parametrize(
    ("reason", "finish"),
    [
        ("stop", {"finish_reason": "stop"}),
        ("length", {"finish_reason": "length"}),
        ("repetition", {"finish_reason": "length", "stop_reason": "repetition"}),
        ("timeout", {"finish_reason": "length", "stop_reason": "timeout"}),
        ("cancelled", {"finish_reason": "length", "stop_reason": "cancelled"}),
    ],
)
def test_the_reason_is_one_of_openai_s(front_of: FrontOf, reason: str, finish: dict[str, str]) -> None:
    front = front_of([ScriptedReply("a", finish_reason=reason, times=2)])
    known = ("finish_reason", "stop_reason", "thinking_budget_reached")
    for choice in (answer(front)["choices"][0], chunks(front)[-1]["choices"][0]):
        assert {name: choice[name] for name in known if name in choice} == finish


def test_a_budget_that_was_reached_is_said(front_of: FrontOf) -> None:
    script = ScriptedReply("a", reasoning_content="t", thinking_budget_reached=True, times=2)
    front = front_of([script])
    assert answer(front)["choices"][0]["thinking_budget_reached"] is True
    assert chunks(front)[-1]["choices"][0]["thinking_budget_reached"] is True


SHOWN = [
    ({"include_reasoning": False}, "a b"),
    ({"reasoning": {"exclude": True}}, "a b"),
    ({"separate_reasoning": False}, f"<think>\n{THINKING}\n</think>\n\na b"),
]


@pytest.mark.parametrize(("body", "content"), SHOWN, ids=str)
def test_callers_say_how_they_want_the_thinking(front_of: FrontOf, body: dict[str, Any], content: str) -> None:
    front = front_of([ScriptedReply("a b", reasoning_content=THINKING, times=2)])
    assert answer(front, **body)["choices"][0]["message"] == {"role": "assistant", "content": content}
    streamed = chunks(front, **body)
    assert joined(streamed, "content") == content
    assert joined(streamed, "reasoning") == ""


@pytest.mark.parametrize("name", ["reasoning", "reasoning_content"])
def test_a_front_may_have_one_name_for_the_thinking(front_of: FrontOf, name: str) -> None:
    front = front_of([ScriptedReply("a", reasoning_content="t u", times=2)], reasoning_name=name)
    assert answer(front)["choices"][0]["message"] == {"role": "assistant", "content": "a", name: "t u"}
    assert {key for delta in deltas(chunks(front)) for key in delta} == {"role", "content", name}


def test_thinking_within_the_content_is_closed_before_a_call(front_of: FrontOf) -> None:
    front = front_of([ScriptedReply(reasoning_content="t", tool_calls=CALLS[:1], times=2)])
    content = "<think>\nt\n</think>\n\n"
    assert answer(front, separate_reasoning=False)["choices"][0]["message"]["content"] == content
    assert joined(chunks(front, separate_reasoning=False), "content") == content


def test_thinking_that_was_cut_off_is_not_closed(front_of: FrontOf) -> None:
    front = front_of([ScriptedReply(reasoning_content="t", finish_reason="length", times=2)])
    assert answer(front, separate_reasoning=False)["choices"][0]["message"]["content"] == "<think>\nt"
    assert joined(chunks(front, separate_reasoning=False), "content") == "<think>\nt"


def test_a_failure_on_the_way_is_an_event_and_an_end(front_of: FrontOf) -> None:
    *events, (_, error), (_, done) = front_of(ScriptedReply("a b", fault=Fault.internal())).stream(PATH, HI)
    assert events
    assert error["error"].keys() == {"message", "type", "param", "code"}
    assert done == "[DONE]"
