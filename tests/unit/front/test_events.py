"""Whatever events an answer has, in whatever order: what is streamed of them makes the answer that comes whole."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import pairwise, zip_longest
from typing import Any

import httpx2
import openai
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nemotron_client import (
    ContentDelta,
    Event,
    LogprobsDelta,
    ReasoningDelta,
    Reply,
    Timings,
    ToolCall,
    ToolCallDelta,
    Usage,
)
from nemotron_front.answering import Api
from nemotron_front.anthropic import MESSAGES
from nemotron_front.chat import CHAT
from nemotron_front.completions import COMPLETIONS
from nemotron_front.responses import RESPONSES
from tests.unit.front import folded

ID = "0" * 32
HI: Any = {"model": "m", "messages": [{"role": "user", "content": "Hi"}]}
PROMPT: Any = {"model": "m", "prompt": "Hi"}
INPUT: Any = {"model": "m", "input": "Hi"}
COUNTS: Any = {"stream": True, "stream_options": {"include_usage": True}}

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8)
Events = st.SearchStrategy[list[Event]]
THOUGHTS: st.SearchStrategy[Event] = st.builds(ReasoningDelta, TEXTS)
WRITTEN: st.SearchStrategy[Event] = st.builds(ContentDelta, TEXTS)
CALLS: st.SearchStrategy[Event] = st.builds(
    lambda number: ToolCallDelta(ToolCall(f"call_{number}", "add", f'{{"a":{number}}}')), st.uuids().map(int)
)
ANY_ORDER: Events = st.lists(THOUGHTS | WRITTEN | CALLS, max_size=12)
THOUGHTS_FIRST: Events = st.tuples(st.lists(THOUGHTS, max_size=4), st.lists(WRITTEN | CALLS, max_size=8)).map(
    lambda parts: parts[0] + parts[1]
)
NO_CALLS: Events = st.lists(THOUGHTS | WRITTEN, max_size=12)

Answer = tuple[list[Event], Reply]
"""The events of a choice, and the reply that they make."""


@st.composite
def answer(draw: st.DrawFn, events: Events, *, logprobs: bool = True, finish: bool = False) -> Answer:
    """An answer of such events.

    Args:
        draw: Hypothesis's.
        events: What it says.
        logprobs: Whether it has those of its tokens, the last of which says nothing.
        finish: Whether it ends as OpenAI's helpers take it.
    """
    made: list[Event] = []
    for event in draw(events):
        if logprobs and isinstance(event, (ContentDelta, ReasoningDelta)):
            made.append(logprobs_of(event.text))
        made.append(event)
    if logprobs:
        made.append(logprobs_of("<end>"))
    calls = tuple(event.call for event in made if isinstance(event, ToolCallDelta))
    whole = "tool_calls" if calls else "stop"
    reply = Reply(
        content="".join(event.text for event in made if isinstance(event, ContentDelta)),
        reasoning_content="".join(event.text for event in made if isinstance(event, ReasoningDelta)),
        tool_calls=calls,
        finish_reason=whole if finish else draw(st.sampled_from([whole, "length", "repetition"])),
        thinking_budget_reached=not finish and draw(st.booleans()),
        usage=Usage(prompt_tokens=7, output_tokens=len(made), reasoning_tokens=0),
        timings=Timings(1.0, None, None, None),
        request_id=ID,
        logprobs=tuple(entry for event in made if isinstance(event, LogprobsDelta) for entry in event.entries),
    )
    return made, reply


def logprobs_of(text: str) -> LogprobsDelta:
    return LogprobsDelta(({"token": text, "logprob": -0.5, "bytes": list(text.encode()), "top_logprobs": []},))


def written(api: Api, body: Any, answers: list[Answer]) -> tuple[str, Any]:
    """The answer to a request, as a stream, whose choices take turns, and whole."""
    replies = [reply for _, reply in answers]
    shape = api.shape(api.read(dict(body)), ID)
    data = [shape.begin(choice, None, "") for choice in range(len(answers))]
    for events in zip_longest(*(events for events, _ in answers)):
        data += [shape.event(choice, event, None) for choice, event in enumerate(events) if event is not None]
    data += [shape.end(choice, reply) for choice, reply in enumerate(replies)]
    data.append(shape.done(replies))
    whole = api.shape(api.read(dict(body)), ID).whole(replies, [events for events, _ in answers])
    return b"".join(data).decode(), json.loads(whole)


@contextmanager
def client_of(stream: str) -> Iterator[openai.OpenAI]:
    """OpenAI's own client, which gets this stream whatever it asks for."""
    response = httpx2.Response(200, headers={"content-type": "text/event-stream"}, text=stream)
    http = httpx2.Client(transport=httpx2.MockTransport(lambda _: response))
    with openai.OpenAI(base_url="http://127.0.0.1/v1", api_key="none", http_client=http) as client:
        yield client


def without(value: Mapping[str, Any], *names: str) -> dict[str, Any]:
    return {name: one for name, one in value.items() if name not in names}


def given_to(value: Any) -> Any:
    """A value without its nulls, which OpenAI's client adds and leaves out."""
    if isinstance(value, dict):
        return {name: given_to(one) for name, one in value.items() if one is not None}
    return [given_to(one) for one in value] if isinstance(value, list) else value


@pytest.mark.parametrize(
    ("shown", "events"),
    [({}, ANY_ORDER), ({"separate_reasoning": False}, THOUGHTS_FIRST), ({"include_reasoning": False}, ANY_ORDER)],
    ids=["apart", "within", "hidden"],
)
@settings(max_examples=15, deadline=None)
@given(data=st.data())
def test_chat_completions(shown: Any, events: Events, data: st.DataObject) -> None:
    logprobs = "include_reasoning" not in shown
    answers = data.draw(st.lists(answer(events, logprobs=logprobs, finish=True), min_size=1, max_size=2))
    body = {**HI, **shown, "n": len(answers), "logprobs": logprobs}
    text, whole = written(CHAT, {**body, **COUNTS}, answers)
    with client_of(text) as client, client.chat.completions.stream(model="m", messages=HI["messages"]) as stream:
        made: Any = stream.get_final_completion().to_dict()
    for choice in made["choices"]:
        for call in choice["message"].get("tool_calls") or ():
            del call["index"]  # which streams alone have
    assert without(given_to(made), "created") == without(given_to(whole), "created")


@settings(max_examples=20, deadline=None)
@given(answer(ANY_ORDER, finish=True))
def test_responses_in_openais_client(one: Answer) -> None:
    text, whole = written(RESPONSES, {**INPUT, "include": ["message.output_text.logprobs"]}, [one])
    with client_of(text) as client, client.responses.stream(model="m", input="Hi") as stream:
        deltas = [event for event in stream if event.type == "response.output_text.delta"]
        made = stream.get_final_response().to_dict()
    assert "".join(event.delta for event in deltas) == one[1].content
    assert without(given_to(made), "created_at", "completed_at") == without(
        given_to(whole), "created_at", "completed_at"
    )


@pytest.mark.parametrize("shown", [{}, {"include_reasoning": False}], ids=["apart", "hidden"])
@settings(max_examples=20, deadline=None)
@given(one=answer(ANY_ORDER))
def test_responses(shown: Any, one: Answer) -> None:
    text, whole = written(RESPONSES, {**INPUT, **shown}, [one])
    made = folded.response(folded.events_of(text))
    assert without(made, "created_at", "completed_at") == without(whole, "created_at", "completed_at")


@pytest.mark.parametrize("shown", [{}, {"include_reasoning": False}], ids=["apart", "hidden"])
@settings(max_examples=20, deadline=None)
@given(one=answer(ANY_ORDER))
def test_messages(shown: Any, one: Answer) -> None:
    text, whole = written(MESSAGES, {**HI, "max_tokens": 9, **shown}, [one])
    assert folded.message(folded.events_of(text)) == whole
    kinds = [block["type"] for block in whole["content"]]
    assert all(before != kind or kind == "tool_use" for before, kind in pairwise(kinds))


@pytest.mark.parametrize(
    ("shown", "events"),
    [({}, NO_CALLS), ({"separate_reasoning": False}, THOUGHTS_FIRST), ({"include_reasoning": False}, NO_CALLS)],
    ids=["apart", "within", "hidden"],
)
@settings(max_examples=15, deadline=None)
@given(data=st.data())
def test_completions(shown: Any, events: Events, data: st.DataObject) -> None:
    logprobs = "include_reasoning" not in shown
    answers = data.draw(st.lists(answer(events, logprobs=logprobs), min_size=1, max_size=2))
    more = {"logprobs": 0} if logprobs else {}
    text, whole = written(COMPLETIONS, {**PROMPT, **shown, **more, **COUNTS, "n": len(answers)}, answers)
    assert folded.completion(folded.events_of(text)) == whole["choices"]
