"""A request gives the same through the ensemble and on a session, whatever its output is and however it comes."""

from __future__ import annotations

import importlib
import itertools
import sys
from collections.abc import Iterator, Sequence
from types import ModuleType, SimpleNamespace
from typing import Any, NamedTuple, get_args

import msgspec
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nemotron_serving.engine import Delta, Sampling, TokenLogprob
from nemotron_serving.engine.simulated import Script
from nemotron_serving.errors import ServingError, told
from nemotron_serving.generation.settings import GenerationSettings
from nemotron_serving.output.assembler import OutputRules
from nemotron_serving.output.detokenizer import Vocabulary
from nemotron_serving.output.reasoning import Start
from nemotron_serving.seal import Seal
from nemotron_serving.stages.postprocess import Postprocessor
from tests.unit.serving.generation.conftest import PROMPT, PlayedEngine, Service, Subscriber, played_service
from tests.unit.serving.generation.conftest import Start as StartServices
from tests.unit.serving.output.reading import TOOLS
from tests.unit.serving.support import FAMILY, byte_tokenizer, ids_of, joined, vocabulary_of
from tests.unit.serving.support import settings as settings_of

INTERVAL_MS = 10
TIMEOUT_MS = 90_000  # in virtual time; longer than any output here takes
CALL = '<TOOLCALL>[{"name": "f", "arguments": {"x": "é"}}]</TOOLCALL>'


class Output(NamedTuple):
    """What the engine has for a request."""

    ids: list[int]
    logprobs: tuple[TokenLogprob, ...]
    last: Delta | None
    """None: it gives nothing more, and does not end."""
    stopped: bool = False


class Answer(NamedTuple):
    """All that a caller has read."""

    fields: dict[str, Any]
    error: str | None


class Ensemble:
    """The ensemble's way: responses of the generating model as Triton gets them, which postprocessing reads."""

    def __init__(self, service: Service, vocabulary: Vocabulary) -> None:
        self._service = service
        self._seal = Seal("stream_event", "secret", "tensorrt_llm")
        self._postprocessor = Postprocessor(vocabulary, 100, clock=service.clock.monotonic)
        self._sink_of: Any = sys.modules["nemotron_serving.stages.generate"].ResponseSink

    def ask(self, client_id: str, settings: GenerationSettings) -> None:
        self._id = client_id
        self._sent: list[tuple[dict[str, npt.NDArray[Any]], int]] = []
        sender = SimpleNamespace(send=lambda tensors, flags: self._sent.append((tensors, flags)))
        request = SimpleNamespace(request_id=lambda: client_id, get_response_sender=lambda: sender)
        self._service.submit(client_id, PROMPT, settings, self._sink_of(request, self._seal))

    def stop(self) -> None:
        self._service.stop(self._id)

    def has_ended(self) -> bool:
        return bool(self._sent) and self._sent[-1][1] == 1

    def answer(self) -> Answer:
        responses: list[dict[str, Any]] = []
        for tensors, _ in self._sent:
            ids, sealed = tensors.pop("output_ids"), tensors.pop("stream_event").item()
            try:
                values = self._postprocessor.accept(self._seal.open(sealed, ids.tobytes()), ids.ravel().tolist())
            except ServingError as error:
                return Answer(joined(responses), told(error, repr(self._id)))
            counts = {name: values_of(name, array) for name, array in tensors.items()}
            responses.append(values | counts)
        assert [flags for _, flags in self._sent] == [0] * (len(self._sent) - 1) + [1]
        return Answer(joined(responses), None)


def values_of(name: str, array: npt.NDArray[Any]) -> Any:
    return array.ravel().tolist() if name == "output_log_probs" else array.item()


class OnSession:
    """A session's way, and another one's when that has sent as much as it may."""

    def __init__(self, subscriber: Subscriber) -> None:
        self._subscriber = subscriber

    def ask(self, client_id: str, settings: GenerationSettings) -> None:
        self._id = client_id
        if self._subscriber.drains:
            self._subscriber = self._subscriber.service.subscribe()
        self._subscriber.service.submit_to_session(self._subscriber.key, client_id, PROMPT, settings)

    def stop(self) -> None:
        self._subscriber.stop(self._id)

    def has_ended(self) -> bool:
        return self._subscriber.has_ended(self._id)

    def answer(self) -> Answer:
        responses = self._subscriber.responses(self._id)
        assert [bool(one.get("finish_reason") or one.get("error")) for one in responses[:-1]] == [False] * (
            len(responses) - 1
        )
        assert ["error" not in one or one.keys() == {"id", "error"} for one in responses] == [True] * len(responses)
        totals = [one["num_output_tokens"] for one in responses if "error" not in one]
        assert totals == sorted(totals)
        error = responses[-1].get("error")
        fields = [{k: v for k, v in one.items() if k != "id"} for one in responses if "error" not in one]
        for one in fields:  # as the tensors of the ensemble hold them
            if "output_log_probs" in one:
                one["output_log_probs"] = np.array(one["output_log_probs"], np.float32).tolist()
                one["cum_log_probs"] = np.float32(one["cum_log_probs"]).item()
        return Answer(joined(fields), error)


Way = Ensemble | OnSession


class Ways:
    """Both ways into one service."""

    def __init__(self, service: Service, vocabulary: Vocabulary) -> None:
        self.service = service
        self.ensemble = Ensemble(service, vocabulary)
        self.session = OnSession(service.subscribe())
        self._ids = itertools.count()

    def new_id(self) -> str:
        return str(next(self._ids))

    def answer(self, way: Way) -> Answer:
        """What came in one way, when it has ended."""
        assert self.service.clock.run_until(way.has_ended, 2 * TIMEOUT_MS / 1000)
        assert self.service.until(lambda: self.service.stats().in_flight == 0)
        return way.answer()


class PlayedWays(Ways):
    """On an engine whose output a test says."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self._engine = PlayedEngine()
        super().__init__(played_service(self._engine, vocabulary, INTERVAL_MS), vocabulary)

    def play(
        self, way: Way, client_id: str, settings: GenerationSettings, output: Output, sizes: Sequence[int] = (1,)
    ) -> Answer:
        """Ask in one way, and have the output come in chunks of these sizes, over and over; 0 is a pause."""
        number = len(self._engine.receivers)
        way.ask(client_id, settings)
        assert self.service.until(lambda: len(self._engine.receivers) > number)
        receive, begin = self._engine.receivers[number], 0
        for size in itertools.cycle(sizes):
            if begin >= len(output.ids):
                break
            if size == 0:
                self.service.clock.advance(INTERVAL_MS / 1000)
            chunk = slice(begin, begin + size)
            receive(Delta(output.ids[chunk], logprobs=output.logprobs[chunk], cached_tokens=1))
            begin += size
        self.service.clock.advance(0)
        if output.last is not None:
            receive(output.last)
        elif output.stopped:
            way.stop()
        return self.answer(way)


@pytest.fixture(scope="module")
def generate_module() -> Iterator[None]:
    """`nemotron_serving.stages.generate` as a model's process imports it, with a stand-in for Triton's own module."""
    pb_utils: Any = ModuleType("triton_python_backend_utils")
    pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL = 1
    pb_utils.Tensor = lambda name, array: (name, array)
    pb_utils.InferenceResponse = dict
    names = [f"nemotron_serving.stages.{name}" for name in ("triton", "generate")]
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "triton_python_backend_utils", pb_utils)
        for name in names:
            patch.delitem(sys.modules, name, raising=False)
        for name in names:
            importlib.import_module(name)
        yield
        for name in names:
            sys.modules.pop(name)


@pytest.fixture(scope="module")
def played(generate_module: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[PlayedWays]:  # noqa: ARG001
    made = PlayedWays(vocabulary_of(byte_tokenizer(), tmp_path_factory.mktemp("vocabulary")))
    yield made
    made.service.close()


FRAGMENTS = [
    "<think>\n", "\n</think>\n\n", "Let me think.", "2 + 2 = 4", " So", ", four.", "\n", "STOP", "STO", "{", "é", "ก",
    FAMILY, "<TOOL", "</thi", CALL, '<TOOLCALL>[{"name": "f", "arguments": {', "</TOOLCALL>", "x" * 300,
    '<TOOLCALL>[{"name": "unknown"}]</TOOLCALL>', '<TOOLCALL>[{"name": "get_weather", "arguments": {}}, {"name": "f"',
]  # fmt: skip
BURNT = Delta([], error="The engine burnt.")
ENDS: list[tuple[Delta | None, bool]] = [
    (Delta([], "stop"), False),
    (Delta([], "length"), False),
    (BURNT, False),
    (Delta([], error="no such form", refused=True), False),
    (None, True),  # the caller's stop
    (None, False),  # the deadline
]


def asked(rules: OutputRules, *, stream: bool, logprobs: int | None = None) -> GenerationSettings:
    return GenerationSettings(
        sampling=Sampling(logprobs=logprobs),
        max_tokens=4000,
        stream=stream,
        timeout_ms=TIMEOUT_MS,
        stop_token_ids=(),
        output=rules,
    )


@st.composite
def outputs(draw: st.DrawFn, logprobs: int | None) -> Output:
    ids = ids_of("".join(draw(st.lists(st.sampled_from(FRAGMENTS), max_size=10))))
    if draw(st.booleans()):  # in the middle of a character, too
        ids = ids[: draw(st.integers(0, len(ids)))]
    return Output(ids, chosen(len(ids), logprobs), *draw(st.sampled_from(ENDS)))


def chosen(tokens: int, logprobs: int | None) -> tuple[TokenLogprob, ...]:
    top = tuple((60 + index, -0.25 - index) for index in range(logprobs or 0))
    return () if logprobs is None else tuple(TokenLogprob(-index / 8, top) for index in range(tokens))


@st.composite
def all_settings(draw: st.DrawFn) -> GenerationSettings:
    stream = draw(st.booleans())
    rules = OutputRules(
        draw(st.sampled_from(get_args(Start))),
        draw(st.sampled_from([(), ("STOP",), ("STOP", "four", "\n")])),
        draw(st.sampled_from([None, TOOLS])),
        "" if stream else draw(st.sampled_from(["", "Hi"])),
    )
    return asked(rules, stream=stream, logprobs=draw(st.sampled_from([None, 0, 2])))


CHUNKINGS = st.lists(st.sampled_from([0, 0, 1, 2, 3, 7, 40, 300]), min_size=1, max_size=6).filter(any)


@given(data=st.data(), settings=all_settings(), chunkings=st.tuples(CHUNKINGS, CHUNKINGS))
def test_the_same_output_gives_the_same_whatever_the_way_and_the_chunks(
    played: PlayedWays, data: st.DataObject, settings: GenerationSettings, chunkings: tuple[list[int], list[int]]
) -> None:
    output, client_id = data.draw(outputs(settings.sampling.logprobs)), played.new_id()
    expected = played.play(played.ensemble, client_id, settings, output, chunkings[0])
    assert played.play(played.session, client_id, settings, output, chunkings[1]) == expected


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize(("last", "stopped"), ENDS)
def test_a_long_output_gives_the_same(played: PlayedWays, stream: bool, last: Delta | None, stopped: bool) -> None:
    """A session has it in several responses."""
    settings, client_id = asked(OutputRules(tools=TOOLS), stream=stream, logprobs=20), played.new_id()
    ids = ids_of("0123456789" * 150 + CALL)
    output = Output(ids, chosen(len(ids), 20), last, stopped)
    expected = played.play(played.ensemble, client_id, settings, output, [2000])
    assert played.play(played.session, client_id, settings, output, [2000]) == expected


@pytest.mark.parametrize("size", [1, 65_536, 65_537, 1_000_000])
@pytest.mark.parametrize("last", [Delta([], "stop"), BURNT])
def test_a_long_prompt_that_is_wanted_back_gives_the_same(played: PlayedWays, size: int, last: Delta) -> None:
    settings, client_id = asked(OutputRules(prompt="ก" * size), stream=False), played.new_id()
    output = Output(ids_of(CALL), (), last)
    expected = played.play(played.ensemble, client_id, settings, output)
    assert played.play(played.session, client_id, settings, output) == expected


SCRIPT = Script(match="", thinking="Let me think\nabout it " * 10, answer=f"Four. {CALL} " * 10, token_ms=3)


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("budget", [None, (8, 5), (60, 6)])
@pytest.mark.parametrize("more", [{}, {"fail_after_tokens": 0}, {"fail_after_tokens": 100}, {"answer": "0" * 700}])
@pytest.mark.usefixtures("generate_module")
def test_what_the_service_itself_writes_and_ends_gives_the_same(
    start: StartServices, stream: bool, budget: tuple[int, int] | None, more: dict[str, Any]
) -> None:
    service = start(msgspec.structs.replace(SCRIPT, **more), interval_ms=20)
    ways = Ways(service, service.vocabulary)
    settings = settings_of(
        max_tokens=900, stream=stream, thinking=True, budget=budget, logprobs=0, repetition_guard=True
    )
    answers = []
    for way in (ways.ensemble, ways.session):
        way.ask("id", settings)
        answers.append(ways.answer(way))
    assert answers[0] == answers[1]
    if budget and "fail_after_tokens" not in more:
        assert answers[0].fields["thinking_budget_reached"] is True
