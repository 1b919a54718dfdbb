"""Conversations without end, as a scenario asks for them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from itertools import islice, repeat
from typing import TYPE_CHECKING

from nemotron_loadtest.arrivals.kinds import TraceReplay
from nemotron_loadtest.arrivals.trace_lines import TraceRequest
from nemotron_loadtest.arrivals.traces import check_trace, read_trace
from nemotron_loadtest.errors import ScenarioError
from nemotron_loadtest.workload.conversations import Going, Turns, chat, own, rag, synthetic, tools, traced
from nemotron_loadtest.workload.drawn import Drawn
from nemotron_loadtest.workload.kinds import Chat, Lines, Rag, Synthetic, Tools, TraceLengths
from nemotron_loadtest.workload.lines import RequestLines
from nemotron_loadtest.workload.options import check_options
from nemotron_loadtest.workload.requests import Conversation
from nemotron_loadtest.workload.text import TextMaker
from nemotron_loadtest.workload.tokenizer import measure_of

if TYPE_CHECKING:
    from nemotron_loadtest.scenario import Scenario


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
