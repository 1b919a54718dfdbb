from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from nemotron_serving.generation.admission import Admission
from nemotron_serving.generation.delivery import OwnOutlet
from nemotron_serving.generation.stream import Stream
from tests.unit.serving.generation.test_stream import make_stream
from tests.unit.serving.support import Collector


@dataclass(eq=False)
class EndingOutlet(OwnOutlet):
    """Has another thread end a stream as soon as it is here, as the pump does when a session ends."""

    end: Callable[[Stream], None] = lambda _: None
    ending: list[threading.Thread] = field(default_factory=list)
    failures: list[Exception] = field(default_factory=list)

    def add(self, stream: Stream) -> None:
        super().add(stream)
        self.ending.append(threading.Thread(target=self._end, args=(stream,)))
        self.ending[0].start()
        self.ending[0].join(0.05)

    def _end(self, stream: Stream) -> None:
        try:
            self.end(stream)
        except Exception as error:
            self.failures.append(error)


def test_a_stream_may_be_ended_while_it_enters(tmp_path: Path) -> None:
    admission = Admission(1, "any", None, lambda: 0.0)
    stream, engine = make_stream(tmp_path)
    outlet = EndingOutlet(Collector(), end=admission.leave)
    stream.outlet, stream.slot = outlet, admission.take_place(stream.names)
    admission.enter(stream)
    outlet.ending[0].join()
    engine.close()
    assert not outlet.failures
    assert not admission.streams
    assert admission.in_flight == 0
