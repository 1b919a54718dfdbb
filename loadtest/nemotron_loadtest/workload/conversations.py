"""Conversations without end, as a scenario asks for them: `open_workload(scenario)`.

How a conversation goes is a generator for each kind of workload: it is sent the answers and gives the requests.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Iterator
from itertools import islice, repeat
from random import Random
from typing import TYPE_CHECKING, Any

import msgspec

from nemotron_loadtest.arrivals import BLOCK_TOKENS, TraceRequest, check_trace, read_trace
from nemotron_loadtest.errors import ScenarioError
from nemotron_loadtest.scenario import (
    Chat,
    Lines,
    Made,
    Rag,
    Scenario,
    Synthetic,
    Tools,
    TraceLengths,
    TraceReplay,
    draw_delay,
    draw_length,
)
from nemotron_loadtest.workload.lines import RequestLines, check_options
from nemotron_loadtest.workload.material import RESULTS, TOOLS
from nemotron_loadtest.workload.requests import Conversation, Drawn, RequestSpec
from nemotron_loadtest.workload.text import TextMaker, measure_of

if TYPE_CHECKING:
    from nemotron_client import Reply


_TRIAL = "Hi"
_LOOKED_AT = 20

Turns = Generator[RequestSpec, "Reply", None]


def open_workload(scenario: Scenario) -> ConversationSource:
    """Read what a workload needs (tokenizer, file, trace), and check it.

    Imports the client, and with it threads and sockets: only after gevent's patching, where there is any.

    Raises:
        ScenarioError: one of the files cannot be used, with the line; or an option that the client does not know.
    """
    try:
        check_options(scenario.workload.options)
    except ValueError as error:
        raise ScenarioError(f"workload.options: {error}") from None
    if scenario.trace is not None:
        # A trace may go on for days after the run.
        replay = scenario.arrivals if isinstance(scenario.arrivals, TraceReplay) else None
        check_trace(scenario.trace, scenario.duration_s * replay.speed if replay else math.inf)
    return ConversationSource(scenario)


class ConversationSource:
    """Makes the conversations of a scenario.

    Attributes:
        measured_with: For the report: what has counted the tokens of prompts; None where none are made to measure.
    """

    def __init__(self, scenario: Scenario) -> None:
        self._scenario = scenario
        self.measured_with: str | None = None
        self._turns = self._make_turns()

    def conversations(self, *, worker: int = 0, workers: int = 1) -> Iterator[Conversation]:
        """The conversations of one worker, without end. In an open loop each arrival begins the next one.

        Conversation k belongs to worker k % workers, and is the same whatever worker has it. Its text is made when its
        first request is asked for.

        Args:
            worker: Number of this worker, from 0.
            workers: How many there are.
        """
        for number, request in islice(enumerate(self._trace()), worker, None, workers):
            drawn = Drawn(self._scenario.workload, self._scenario.cancel, self._scenario.seed, number)
            yield Going(self._turns(drawn, request))

    def trial(self) -> RequestSpec:
        """A request like those that come, without their text; with thinking, where some of them think."""
        firsts = [conversation.next_request() for conversation in islice(self.conversations(), _LOOKED_AT)]
        requests = [first for first in firsts if first is not None]
        chosen = next((request for request in requests if request.thinking), requests[0])
        if chosen.prompt is not None:
            return msgspec.structs.replace(chosen, prompt=_TRIAL, cancel_after_s=None)
        return msgspec.structs.replace(chosen, messages=(_user(_TRIAL),), cancel_after_s=None)

    def _trace(self) -> Iterator[TraceRequest | None]:
        """For each conversation the request of the trace that it comes from, where there is one."""
        if not isinstance(self._scenario.workload, TraceLengths) or self._scenario.trace is None:
            yield from repeat(None)
        else:
            while True:
                yield from read_trace(self._scenario.trace)

    def _make_turns(self) -> Callable[[Drawn, TraceRequest | None], Turns]:
        workload, seed = self._scenario.workload, self._scenario.seed
        if isinstance(workload, Lines):
            lines = RequestLines(workload.path)
            return lambda drawn, _: own(workload, drawn, lines)
        measure = measure_of(self._scenario.package)
        self.measured_with = measure.description
        text = TextMaker(measure.count)
        if isinstance(workload, Synthetic):
            return lambda drawn, _: synthetic(workload, drawn, text)
        if isinstance(workload, Chat):
            return lambda drawn, _: chat(workload, drawn, text, seed)
        if isinstance(workload, Rag):
            return lambda drawn, _: rag(workload, drawn, text, seed)
        if isinstance(workload, Tools):
            return lambda drawn, _: tools(workload, drawn, text)
        return lambda drawn, request: traced(workload, drawn, text, seed, request)


class Going:
    """A `Conversation` that goes as a generator says."""

    def __init__(self, turns: Turns) -> None:
        self._turns = turns
        self._begun = False

    def next_request(self, previous: Reply | None = None) -> RequestSpec | None:
        """See `Conversation`."""
        try:
            if not self._begun:
                self._begun = True
                return next(self._turns)
            if previous is not None:
                return self._turns.send(previous)
        except StopIteration:
            pass
        self._turns.close()
        return None


def synthetic(workload: Synthetic, drawn: Drawn, text: TextMaker) -> Turns:
    """One message."""
    content = text.text(drawn.length(workload.input_tokens), drawn.random, ending=workload.ask)
    yield drawn.request((_user(content),), _limits(workload, drawn.output_tokens(workload)))


def chat(workload: Chat, drawn: Drawn, text: TextMaker, seed: int) -> Turns:
    """Turns below one of the shared system prompts."""
    system = drawn.random.randrange(workload.systems)
    history = [{"role": "system", "content": _shared(text, seed, "system", system, workload.system_tokens)}]
    wait_s = 0.0
    for _ in range(drawn.length(workload.turns)):
        content = text.text(drawn.length(workload.input_tokens), drawn.random, ending=workload.ask)
        history.append(_user(content))
        limits = _limits(workload, drawn.output_tokens(workload))
        reply = yield drawn.request(tuple(history), limits, wait_s=wait_s)
        history.append(reply.as_message())
        wait_s = draw_delay(workload.think_time_s, drawn.random)


def rag(workload: Rag, drawn: Drawn, text: TextMaker, seed: int) -> Turns:
    """A question below one of the documents."""
    number = drawn.random.randrange(workload.documents)
    length = Random(f"{seed}/document_tokens/{number}")  # noqa: S311 - not for secrets
    document = _shared(text, seed, "document", number, draw_length(workload.document_tokens, length))
    question = text.text(drawn.length(workload.input_tokens), drawn.random, ending=workload.ask)
    messages = (_user(f"{document}\n\n{question}"),)
    yield drawn.request(messages, _limits(workload, drawn.output_tokens(workload)))


def tools(workload: Tools, drawn: Drawn, text: TextMaker) -> Turns:
    """A question with functions; results follow calls."""
    content = text.text(drawn.length(workload.input_tokens), drawn.random, ending=workload.ask)
    history: list[dict[str, Any]] = [_user(content)]
    for _ in range(workload.max_calls + 1):
        limits = _limits(workload, drawn.output_tokens(workload))
        reply = yield drawn.request(tuple(history), limits | {"tools": list(TOOLS[: workload.tools])})
        if not reply.tool_calls:
            return
        history.append(reply.as_message())
        for call in reply.tool_calls:
            history.append({"role": "tool", "tool_call_id": call.id, "content": RESULTS.get(call.name, "{}")})


def own(workload: Lines, drawn: Drawn, lines: RequestLines) -> Turns:
    """A line of the user's file."""
    random_line = workload.order == "random"
    line = lines[drawn.random.randrange(len(lines)) if random_line else drawn.number % len(lines)]
    options = dict(line.options)
    thinking = options.pop("thinking", None)
    yield drawn.request(line.messages, options, prompt=line.prompt, thinking=thinking)


def traced(workload: TraceLengths, drawn: Drawn, text: TextMaker, seed: int, request: TraceRequest | None) -> Turns:
    """A prompt of the length that a trace has; blocks of the same name are the same text."""
    assert request is not None  # noqa: S101 - the source gives this kind one
    left = float(min(request.input_tokens, workload.max_input_tokens or request.input_tokens))
    output_tokens = min(request.output_tokens, workload.max_output_tokens or request.output_tokens)
    left -= text.cost(f"\n{workload.ask}")
    parts: list[str] = []
    for number, block in enumerate(request.hash_ids, start=1):
        random = Random(f"{seed}/block/{block}")  # noqa: S311 - not for secrets
        size = left if number == len(request.hash_ids) else min(left, BLOCK_TOKENS)
        part, tokens = text.part(size, random, first=not parts)
        parts.append(part)
        left -= tokens
    if not request.hash_ids:
        parts = [text.part(left, drawn.random, first=True)[0]]
    content = "\n".join(part for part in (" ".join(filter(None, parts)), workload.ask) if part)
    yield drawn.request((_user(content),), _limits(workload, output_tokens))


def _user(content: str) -> dict[str, Any]:
    return {"role": "user", "content": content}


def _limits(workload: Made, output_tokens: int) -> dict[str, Any]:
    # A form says itself when the answer ends; servers refuse min_tokens with one.
    exact = workload.exact_output and "response_format" not in workload.options
    return {"max_tokens": output_tokens} | ({"min_tokens": output_tokens} if exact else {})


def _shared(text: TextMaker, seed: int, what: str, number: int, tokens: int) -> str:
    """A text that many conversations have."""
    return text.text(tokens, Random(f"{seed}/{what}/{number}"))  # noqa: S311 - not for secrets
