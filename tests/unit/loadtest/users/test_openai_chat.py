"""OpenAI's words: what is sent, what of a stream is known and what is not, and what errors come to. Time is told."""

from __future__ import annotations

import json
from typing import Any

import pytest

from nemotron_client import NemotronError, ServerError, ServerUnavailableError
from nemotron_loadtest.scenario import OpenAI
from nemotron_loadtest.users.asker import Answer
from nemotron_loadtest.users.openai_chat import ChunkReader, error_in, error_of, request_of
from nemotron_loadtest.workload import RequestSpec

HI = ({"role": "user", "content": "Hi"},)
TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}


def body_of(spec: RequestSpec, **way: Any) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(request_of(spec, "m", OpenAI(**way))[1])
    return found


def delta(finish_reason: str | None = None, usage: Any = None, **more: Any) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": more, "finish_reason": finish_reason}], "usage": usage}


def usage(output: int, **more: Any) -> dict[str, Any]:
    return {"prompt_tokens": 9, "completion_tokens": output, "total_tokens": 9 + output, **more}


def read(*events: tuple[float, dict[str, Any] | str], ended: bool = True) -> Answer:
    """What comes of chunks at these seconds."""
    reader, answer = ChunkReader(0.0, request_id="r", url="http://h/v1"), Answer()
    for at_s, event in events:
        reader.take(event.encode() if isinstance(event, str) else json.dumps(event).encode(), at_s)
    if ended:
        reader.end()
    reader.fill(answer, 9.0)
    return answer


def totals(answer: Answer) -> list[tuple[float, int]]:
    return [(arrival.at_s, arrival.output_tokens) for arrival in answer.arrivals]


def test_options_have_openais_names() -> None:
    options = {"max_tokens": 9, "stop_words": ["a"], "temperature": 0.5, "seed": 3, "tools": [TOOL], "top_k": 4}
    body = body_of(RequestSpec(messages=HI, options=options | {"tool_choice": "required", "timeout_ms": 5000}))
    assert body == {
        "model": "m",
        "stream": True,
        "stream_options": {"include_usage": True, "continuous_usage_stats": True},
        "messages": list(HI),
        "max_tokens": 9,
        "stop": ["a"],
        "temperature": 0.5,
        "seed": 3,
        "top_k": 4,
        "tools": [TOOL],
        "tool_choice": "required",
        "chat_template_kwargs": {"enable_thinking": False},
    }


def test_a_deadline_is_the_users_and_is_not_sent() -> None:
    spec = RequestSpec(messages=HI, options={"timeout_ms": 1500})
    path, _, timeout_s = request_of(spec, "m", OpenAI())
    assert (path, timeout_s) == ("/chat/completions", 1.5)


def test_an_exact_length_is_said_in_both_ways() -> None:
    body = body_of(RequestSpec(messages=HI, options={"max_tokens": 9, "min_tokens": 9}))
    assert (body["max_tokens"], body["min_tokens"], body["ignore_eos"]) == (9, 9, True)
    assert "ignore_eos" not in body_of(RequestSpec(messages=HI, options={"max_tokens": 9, "min_tokens": 3}))


def test_a_complete_prompt_goes_to_completions() -> None:
    path, content, _ = request_of(RequestSpec(prompt="<s>Say", thinking=True), "m", OpenAI())
    body = json.loads(content)
    assert (path, body["prompt"]) == ("/completions", "<s>Say")
    assert not {"messages", "chat_template_kwargs", "raw_prompt", "text_input"} & body.keys()


@pytest.mark.parametrize("thinking", [True, False])
def test_spellings_of_thinking(thinking: bool) -> None:
    spec = RequestSpec(messages=HI, thinking=thinking)
    line = f"detailed thinking {'on' if thinking else 'off'}"
    assert body_of(spec)["chat_template_kwargs"] == {"enable_thinking": thinking}
    assert body_of(spec, thinking="reasoning_effort")["reasoning_effort"] == ("high" if thinking else "none")
    assert body_of(spec, thinking="system")["messages"] == [{"role": "system", "content": line}, *HI]
    own = ({"role": "system", "content": "Be brief."}, *HI)
    system = body_of(RequestSpec(messages=own, thinking=thinking), thinking="system")["messages"]
    assert system == [{"role": "system", "content": f"{line}\n\nBe brief."}, *HI]
    nothing = body_of(spec, thinking="nothing", counts="end")
    assert nothing.keys() == {"model", "messages", "stream", "stream_options"}
    assert nothing["stream_options"] == {"include_usage": True}


def test_spellings_of_the_budget() -> None:
    spec = RequestSpec(messages=HI, thinking=True, options={"max_thinking_tokens": 7})
    assert body_of(spec)["thinking_token_budget"] == 7
    assert body_of(spec, budget="nvext")["nvext"] == {"max_thinking_tokens": 7}


def test_an_option_of_the_wrong_type() -> None:
    with pytest.raises(TypeError, match="max_tokens"):
        body_of(RequestSpec(messages=HI, options={"max_tokens": "many"}))


@pytest.mark.parametrize("names", [("reasoning_content",), ("reasoning",), ("reasoning_content", "reasoning")])
def test_counts_with_every_chunk(names: tuple[str, ...]) -> None:
    thought = dict.fromkeys(names, "Let me see.")
    details = {"completion_tokens_details": {"reasoning_tokens": 3}, "prompt_tokens_details": {"cached_tokens": 4}}
    answer = read(
        (0.1, delta(role="assistant", content="", usage=usage(0))),
        (0.5, delta(**thought, usage=usage(3))),
        (1.5, delta(content="It is", usage=usage(5))),
        (2.0, delta(content=" Paris.", usage=usage(8))),
        (2.1, delta("stop", usage=usage(9))),
        (2.2, {"choices": [], "usage": usage(9, **details)}),
        (2.2, "[DONE]"),
    )
    assert totals(answer) == [(0.5, 3), (1.5, 5), (2.0, 8)]
    assert (answer.first_answer_s, answer.counted) == (1.5, "each")
    assert (answer.prompt_tokens, answer.output_tokens, answer.reasoning_tokens, answer.cached_tokens) == (9, 9, 3, 4)
    assert answer.reply is not None
    assert (answer.reply.reasoning_content, answer.reply.content) == ("Let me see.", "It is Paris.")
    assert answer.finish_reason == "stop"


def test_a_count_at_the_end_is_spread_over_the_chunks() -> None:
    chunks = [(at_s, delta(content="word")) for at_s in (1.0, 2.0, 3.0, 4.0)]
    last = (5.0, {"choices": [], "usage": usage(10)})
    answer = read(*chunks, (4.0, delta("length")), last)
    assert totals(answer) == [(1.0, 2), (2.0, 5), (3.0, 7), (4.0, 10)]
    assert (answer.counted, answer.output_tokens) == ("end", 10)
    one_each = read(*chunks, (4.0, delta("stop")), (5.0, {"choices": [], "usage": usage(4)}))
    assert totals(one_each) == [(1.0, 1), (2.0, 2), (3.0, 3), (4.0, 4)]


def test_what_the_server_does_not_say_has_no_value() -> None:
    answer = read((1.0, delta(reasoning="Hm.")), (2.0, delta(content="Hi.")), (2.0, delta("stop")))
    assert (answer.counted, totals(answer), answer.output_tokens) == ("never", [(1.0, 1), (2.0, 2)], 2)
    assert (answer.prompt_tokens, answer.reasoning_tokens, answer.cached_tokens) == (0, None, None)


def test_what_came_of_a_stream_that_was_left() -> None:
    answer = read((1.0, delta(content="It")), (2.0, delta(content=" is")), ended=False)
    assert (answer.reply, answer.counted, totals(answer)) == (None, "never", [(1.0, 1), (2.0, 2)])
    counted = read((1.0, delta(content="It", usage=usage(5))), ended=False)
    assert (counted.counted, counted.output_tokens, totals(counted)) == ("each", 5, [(1.0, 5)])


def test_tool_calls_come_in_fragments() -> None:
    def fragment(index: int, **more: Any) -> dict[str, Any]:
        return delta(tool_calls=[{"index": index, **more}])

    answer = read(
        (1.0, fragment(0, id="c-1", type="function", function={"name": "f", "arguments": ""})),
        (2.0, fragment(0, function={"arguments": '{"a":'})),
        (3.0, fragment(0, function={"arguments": " 1}"})),
        (4.0, fragment(1, id="c-2", type="function", function={"name": "g", "arguments": {"b": 2}})),
        (5.0, delta("tool_calls")),
    )
    assert answer.first_answer_s == 1.0
    assert answer.reply is not None
    calls = [(call.id, call.name, json.loads(call.arguments)) for call in answer.reply.tool_calls]
    assert calls == [("c-1", "f", {"a": 1}), ("c-2", "g", {"b": 2})]
    assert answer.reply.as_message()["tool_calls"][0]["function"]["name"] == "f"


def test_completions_have_text_in_the_place_of_a_delta() -> None:
    answer = read((1.0, {"choices": [{"text": "Hi"}]}), (2.0, {"choices": [{"text": "", "finish_reason": "length"}]}))
    assert answer.reply is not None
    assert (answer.reply.content, answer.finish_reason, totals(answer)) == ("Hi", "length", [(1.0, 1)])


def test_the_true_reason_of_an_end_before_its_time() -> None:
    ended = {"choices": [{"delta": {}, "finish_reason": "length", "stop_reason": "timeout"}]}
    assert read((1.0, delta(content="It")), (2.0, ended)).finish_reason == "timeout"
    stopped = {"choices": [{"delta": {}, "finish_reason": "stop", "stop_reason": 128009}]}
    assert read((2.0, stopped)).finish_reason == "stop"


def test_a_stream_that_breaks_off() -> None:
    with pytest.raises(ServerUnavailableError):
        read((1.0, delta(content="It")), (2.0, "[DONE]"))


@pytest.mark.parametrize("event", ["no json", "[1]", '{"choices": 3}'])
def test_what_is_no_chunk(event: str) -> None:
    with pytest.raises(ServerError):
        read((1.0, event))


def test_an_error_within_a_stream_keeps_what_came() -> None:
    reader, answer = ChunkReader(0.0, request_id="r", url="http://h/v1"), Answer()
    reader.take(json.dumps(delta(content="It is", usage=usage(2))).encode(), 1.0)
    with pytest.raises(NemotronError, match="the engine died"):
        reader.take(b'{"error": {"message": "the engine died", "type": "server_error", "code": "internal"}}', 2.0)
    reader.fill(answer, 2.0)
    assert (answer.output_tokens, answer.reply) == (2, None)


@pytest.mark.parametrize(
    ("status", "error", "expected"),
    [
        (429, {"message": "full", "code": "server_overloaded"}, "OverloadedError"),
        (429, "slow down", "OverloadedError"),
        (503, "busy", "OverloadedError"),
        (503, {"message": "busy", "type": "server_error", "code": None}, "OverloadedError"),
        (503, {"message": "no", "type": "server_error", "code": "not_ready"}, "ModelNotReadyError"),
        (503, {"message": "Loading model", "type": "unavailable_error", "code": 503}, "ModelNotReadyError"),
        (503, {"message": "no", "type": "server_error", "code": "shutting_down"}, "ServerUnavailableError"),
        (502, "<html>", "ServerUnavailableError"),
        (504, {"message": "late", "code": "deadline_exceeded"}, "RequestTimeoutError"),
        (408, "late", "RequestTimeoutError"),
        (401, "Unauthorized", "AuthenticationError"),
        (403, "no", "AuthenticationError"),
        (400, {"message": "temperature: too hot", "type": "invalid_request_error"}, "InvalidRequestError"),
        (404, {"message": "no such model", "code": "model_not_found"}, "InvalidRequestError"),
        (422, "extra_forbidden", "InvalidRequestError"),
        (500, {"message": "oh"}, "ServerError"),
        (0, {"message": "full", "code": "server_overloaded"}, "OverloadedError"),
        (0, {"message": "late", "code": "deadline_exceeded"}, "RequestTimeoutError"),
        (0, {"message": "bad", "code": 400}, "InvalidRequestError"),
        (0, {"message": "oh", "type": "InternalServerError", "code": 500}, "ServerError"),
        (0, "oh", "ServerError"),
    ],
)
def test_errors_come_to_the_clients_kinds(status: int, error: Any, expected: str) -> None:
    assert type(error_of(status, error, request_id="r", url="u")).__name__ == expected


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{"error": {"message": "too long", "code": "x"}}', "too long"),
        (b'{"object": "error", "message": "too long", "code": 400}', "too long"),
        (b'{"detail": "too long"}', "too long"),
        (b'{"error": "too long"}', "too long"),
        (b"<h1>too long</h1>", "too long"),
        (b"", "HTTP status 400"),
    ],
)
def test_bodies_of_errors_in_all_their_shapes(content: bytes, message: str) -> None:
    assert message in str(error_of(400, error_in(content), request_id="r", url="u"))
