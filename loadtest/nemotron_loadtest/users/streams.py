"""Users who read the answer while it is written, over gRPC or HTTP."""

from __future__ import annotations

from nemotron_client import ChatStream, Client, ReasoningDelta
from nemotron_loadtest.run.clock import RunClock
from nemotron_loadtest.samples import Arrival
from nemotron_loadtest.scenario import UserKind
from nemotron_loadtest.users.asker import Answer, Asker, OnSample, Running
from nemotron_loadtest.workload import RequestSpec


class StreamAsker(Asker):
    """All requests of a process share one client, as a program's would. Its retries are off: a failure is a result."""

    def __init__(self, client: Client, kind: UserKind, clock: RunClock, on_sample: OnSample, worker: str = "0") -> None:
        super().__init__(kind, clock, on_sample, worker)
        self._client = client.with_options(max_retries=0)

    def close(self) -> None:
        """See `Asker.close`. Cancels that are under way are sent."""
        self._client.close()

    def _send(self, spec: RequestSpec, running: Running, answer: Answer) -> None:
        with self._open(spec, running.request_id) as stream:
            running.abort = stream.close
            if running.left is not None:  # before there was something to abort
                return
            try:
                for event in stream:
                    if answer.first_answer_s is None and not isinstance(event, ReasoningDelta):
                        answer.first_answer_s = self._clock.now()
                answer.reply = stream.get_final()
            finally:
                answer.arrivals = tuple(Arrival(self._clock.at(at), tokens) for at, tokens in stream.arrivals)
                answer.usage = stream.usage_so_far

    def _open(self, spec: RequestSpec, request_id: str) -> ChatStream:
        options = {**spec.options, "request_id": request_id}
        if spec.prompt is not None:
            return self._client.stream_generate(spec.prompt, **options)
        return self._client.stream_chat(spec.messages, thinking=spec.thinking, **options)
