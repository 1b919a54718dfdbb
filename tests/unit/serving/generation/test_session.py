"""What holds of sessions: whose they are, what they may hold back, and how they end. See docs/sessions.md."""

from __future__ import annotations

import collections
import functools
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import AddedToken

from nemotron_serving.engine import Delta, OnDelta
from nemotron_serving.engine.simulated import Script
from nemotron_serving.errors import InvalidRequestError, UnavailableError
from nemotron_serving.guide import StockGuide
from nemotron_serving.host import StopRule
from nemotron_serving.output.assembler import OutputRules
from nemotron_serving.output.fields import TextFields
from tests.unit.serving.generation.conftest import PROMPT, PlayedEngine, Service, Start, Subscriber, played_service
from tests.unit.serving.output.reading import TOOLS
from tests.unit.serving.support import byte_tokenizer, ids_of, settings, text_of, vocabulary_of

MIB = 1 << 20
WINDOW_FRAMES, WINDOW_BYTES, STALL_S = 64, 4 * MIB, 30  # what docs/sessions.md says
SHORT = Script(match="", answer="Four.", token_ms=3)
LONG = Script(match="", answer="0123456789" * 50, token_ms=3)
HELD = Script(match="", answer=LONG.answer, token_ms=3, stall_after_tokens=40, stall_ms=600_000)  # until it is ended


# The way of a request


def test_the_first_frame_is_the_key_and_nothing_else(start: Start) -> None:
    service = start(SHORT)
    clients = [service.subscribe() for _ in range(20)]
    for client in clients:
        assert client.frames == [{"frame": 0, "session": client.key}]
    keys = {client.key for client in clients}
    assert len(keys) == 20
    assert min(map(len, keys)) >= 32, "128 bits in hex"


def test_a_session_takes_no_place_and_has_no_deadline(start: Start) -> None:
    service = start(SHORT, max_batch_size=1, max_waiting=0)
    clients = [service.subscribe() for _ in range(50)]
    service.clock.advance(120)  # twice the longest deadline that a request has by default
    assert (service.stats().in_flight, service.stats().sessions) == (0, 50)
    clients[0].ask("a")
    assert clients[0].wait("a")["finish_reason"] == "stop"
    assert not any(client.ended for client in clients)


def test_frames_are_numbered_and_hold_what_is_new_of_all_streams(start: Start) -> None:
    service = start(LONG, interval_ms=40)
    client = service.subscribe()
    for client_id in "abc":
        client.ask(client_id, max_tokens=200)
    for client_id in "abc":
        assert client.wait(client_id)["finish_reason"] == "length"
        assert client.text(client_id) == LONG.answer[:200]
    assert [frame["frame"] for frame in client.frames] == list(range(len(client.frames)))
    assert len(client.frames) < 2 + 600 / 40 + 2 * 3, "a frame at a time, not one for each stream"
    assert any(len(frame["responses"]) == 3 for frame in client.frames[1:])


def test_the_first_token_and_the_end_wait_for_no_interval(start: Start) -> None:
    service = start(Script(match="", answer="0123456789", token_ms=1000), interval_ms=600_000)
    client = service.subscribe()
    client.ask("a")
    assert service.until(lambda: client.responses("a"))
    assert client.responses("a")[0]["num_output_tokens"] == 1
    client.ask("b")
    assert service.until(lambda: client.responses("b"))
    assert client.wait("a")["num_output_tokens"] == 10
    assert len(client.responses("a")) <= 3


def test_a_request_needs_an_id_that_no_other_of_its_session_has(start: Start) -> None:
    service = start(HELD)
    client, other = service.subscribe(), service.subscribe()
    with pytest.raises(InvalidRequestError, match=r"^id: missing"):
        client.ask("")
    client.ask("a", max_tokens=400)
    with pytest.raises(InvalidRequestError, match=r"^id: 'a' is that of another request of this session"):
        client.ask("a")
    other.ask("a", max_tokens=400)  # which is another session's
    assert service.stats().in_flight == 2
    assert client.stop("a")
    assert client.wait("a")["finish_reason"] == "cancelled"
    assert not other.has_ended("a")
    client.ask("a", max_tokens=5)  # which is free again
    assert service.until(lambda: client.responses("a")[-1].get("finish_reason") == "length")


def test_a_request_for_token_ids_alone_is_refused(start: Start) -> None:
    client = start(SHORT).subscribe()
    with pytest.raises(InvalidRequestError, match=r"^session: it is for requests of the model `session`"):
        client.ask("a", token_level=True)
    assert client.service.stats().in_flight == 0


@pytest.mark.parametrize("output", ["!", "!bad", "ba!d", "bad!"])
def test_an_output_that_cannot_be_read_fails_its_request_alone(
    start: Start, output: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever it may be: first, later, or with the end."""
    read = TextFields.of_response

    def read_no_exclamation(self: TextFields, token_ids: Sequence[int], *more: Any) -> dict[str, Any]:
        assert ids_of("!")[0] not in token_ids
        return read(self, token_ids, *more)

    monkeypatch.setattr(TextFields, "of_response", read_no_exclamation)
    service = start(Script(match="good", answer="Four."), Script(match="", answer=output, token_ms=3))
    client = service.subscribe()
    client.ask("bad", max_tokens=len(output))
    client.ask("good", ids_of("good"))
    assert client.wait("bad")["error"] == "request 'bad': unexpected error, see the server's log (INTERNAL)"
    assert client.wait("good")["finish_reason"] == "stop"
    assert service.idle()
    assert len([one for one in client.responses("bad") if "error" in one]) == 1
    assert not client.ended
    assert "request 'bad'" in caplog.text


def test_a_key_that_no_session_has_is_refused(start: Start) -> None:
    service = start(SHORT)
    client = service.subscribe()
    guesses = ["", "0" * len(client.key), client.key[:-1], client.key.upper() + "0"]
    for guess in guesses:
        for refused in (
            functools.partial(service.submit_to_session, guess, "a", PROMPT, settings()),
            functools.partial(service.acknowledge, guess, 1),
        ):
            with pytest.raises(UnavailableError, match=r"^This session has ended, or is another server's; open a new"):
                refused()
    assert service.stats().in_flight == 0


# Stops


def test_a_stop_with_the_key_ends_the_request_of_that_session_alone(start: Start) -> None:
    service = start(HELD)
    mine, others = service.subscribe(), service.subscribe()
    for client in (mine, others):
        client.ask("id", max_tokens=400)
    beside = service.ask("id", max_tokens=400)
    assert mine.stop("id") is True
    assert mine.wait("id")["finish_reason"] == "cancelled"
    assert not others.has_ended("id")
    assert not beside.responses or not beside.responses[-1].final
    assert service.until(lambda: service.stats().in_flight == 2)


@pytest.mark.parametrize(("rule", "caller"), [("any", ""), ("bound", "mine")])
def test_a_stop_from_elsewhere_needs_what_it_needs_without_sessions(start: Start, rule: StopRule, caller: str) -> None:
    service = start(HELD, stops=rule)
    client = service.subscribe()
    client.ask("id", max_tokens=400, caller=caller)
    assert service.stop("another", "mine") is False
    if rule == "bound":
        assert service.stop("id", "somebody") is False
    assert service.stop("id", caller) is True
    assert client.wait("id")["finish_reason"] == "cancelled"


def test_a_bound_stop_with_the_key_needs_no_caller(start: Start) -> None:
    service = start(HELD, stops="bound")
    client = service.subscribe()
    client.ask("id", max_tokens=400)
    assert client.stop("id") is True
    assert client.wait("id")["finish_reason"] == "cancelled"


def test_a_stop_with_a_key_that_no_session_has_is_not_remembered(start: Start) -> None:
    service = start(SHORT)
    refused = 0
    for guess in range(70_000):  # more than may be remembered
        try:
            service.stop("id", session_key=f"{guess:032x}")
        except UnavailableError as error:
            refused += str(error).startswith("This session has ended")
    assert refused == 70_000
    assert service.stop("early") is False
    assert service.ask("early").wait().finish_reason == "cancelled"


def test_a_stop_that_overtakes_its_request_cancels_it(start: Start) -> None:
    service = start(SHORT)
    client, other = service.subscribe(), service.subscribe()
    assert client.stop("a") is False
    other.ask("a")
    client.ask("a")
    assert client.wait("a")["finish_reason"] == "cancelled"
    assert other.wait("a")["finish_reason"] == "stop"


def test_a_stop_after_the_end_does_not_meet_the_next_request_with_the_id(start: Start) -> None:
    client = start(SHORT).subscribe()
    client.ask("a")
    client.wait("a")
    assert client.stop("a") is False
    client.ask("a")
    assert client.service.until(lambda: client.text("a") == "Four." * 2)
    assert {one.get("finish_reason", "stop") for one in client.responses("a")} == {"stop"}


# The window


def until_full(client: Subscriber) -> None:
    """Have a client that acknowledges nothing asked for more than its window takes."""
    client.ask("long", max_tokens=400)
    assert client.service.until(lambda: len(client.frames) == WINDOW_FRAMES)


def test_frames_that_are_not_acknowledged_are_limited_and_their_session_alone_waits(start: Start) -> None:
    service = start(LONG)
    slow, quick = service.subscribe(acknowledges=False), service.subscribe()
    until_full(slow)
    quick.ask("long", max_tokens=400)
    assert quick.wait("long")["finish_reason"] == "length"
    assert len(slow.frames) == WINDOW_FRAMES
    slow.ask("more", max_tokens=3)  # its answer waits like the other's
    slow.acknowledge()
    assert slow.wait("long")["finish_reason"] == "length"
    assert slow.text("long") == LONG.answer[:400]
    assert slow.wait("more")["finish_reason"] == "length"


def test_a_session_that_acknowledges_nothing_any_more_is_ended(start: Start) -> None:
    service = start(LONG)
    slow, quick = service.subscribe(acknowledges=False), service.subscribe()
    until_full(slow)
    service.clock.advance(STALL_S - 1)
    assert not slow.ended
    service.clock.advance(2)
    assert slow.ended
    assert isinstance(slow.error, UnavailableError)
    assert "not acknowledged" in str(slow.error)
    assert service.idle()
    assert not quick.ended
    with pytest.raises(UnavailableError, match="session has ended"):
        slow.ask("another")


def test_the_patience_begins_when_the_window_is_full(start: Start) -> None:
    service = start(Script(match="", answer=LONG.answer, token_ms=1000))
    client = service.subscribe(acknowledges=False)
    client.ask("a", max_tokens=400, timeout_ms=600_000)
    assert service.clock.run_until(lambda: len(client.frames) == WINDOW_FRAMES, 100)
    service.clock.advance(STALL_S - 1)
    assert not client.ended
    client.acknowledges = True
    client.acknowledge()
    assert service.clock.run_until(lambda: client.text("a") == LONG.answer[:100], 100)


@pytest.mark.parametrize("streams", [1, 16])
def test_frames_are_small_and_the_window_holds_for_their_bytes_too(
    start: Start, caplog: pytest.LogCaptureFixture, streams: int
) -> None:
    """With tokens of 128 characters, which models have, and log probabilities, where each byte is a number."""
    tokenizer = byte_tokenizer()
    tokenizer.add_tokens([AddedToken("0" * 128, normalized=False)])
    script = Script(match="", answer="0" * 128 * 1500)
    service = start(script, tokenizer=tokenizer, max_seq_len=4000, max_batch_size=16)
    client = service.subscribe(acknowledges=False)
    names = [str(number) for number in range(streams)]
    for name in names:
        client.ask(name, max_tokens=3000, stream=False, logprobs=0)
    assert service.until(lambda: len(service.engine.requests) == streams and not service.engine.stats().running)
    waiting, begin = [name for name in names if not client.has_ended(name)], len(client.frames)
    read = 1
    while not all(map(client.has_ended, names)):
        service.clock.advance(0.1)
        assert sum(client.sizes[read:]) <= WINDOW_BYTES + MIB + 1000
        if len(client.frames) > read:
            read = len(client.frames)
            client.acknowledge()
    for name in names:
        assert client.text(name) == script.answer
    turns = collections.Counter[str]()
    for frame in client.frames[begin:]:
        turns.update(one["id"] for one in frame.get("responses", []))
        assert max(turns.values(), default=0) <= 1 or len(turns) == len(waiting), "all have their turn"
    assert max(client.sizes) <= MIB + 1000
    assert not caplog.records


def test_a_session_that_has_nothing_to_read_is_never_too_slow(start: Start) -> None:
    service = start(SHORT)
    client = service.subscribe(acknowledges=False)
    client.ask("a")
    client.wait("a")
    service.clock.advance(10 * STALL_S)
    assert not client.ended
    client.ask("b")
    assert client.wait("b")["finish_reason"] == "stop"


@pytest.mark.parametrize("number", [-1, 10**9])
def test_an_acknowledgement_of_frames_that_never_came_does_no_harm(start: Start, number: int) -> None:
    service = start(LONG)
    client = service.subscribe(acknowledges=False)
    service.acknowledge(client.key, number)
    until_full(client)
    client.acknowledges = True
    client.acknowledge()
    assert client.wait("long")["num_output_tokens"] == 400


class Reader:
    """A client that asks, and reads when it likes."""

    def __init__(self, service: Service, engine: PlayedEngine) -> None:
        self.service = service
        self.subscriber = service.subscribe(acknowledges=False)
        self.said: dict[str, list[int]] = {}
        self._engine = engine
        self._receivers: dict[str, OnDelta] = {}
        self._acknowledged = 0

    def ask(self) -> None:
        name, number = str(len(self.said)), len(self._engine.receivers)
        self.subscriber.ask(name, timeout_ms=10**9, max_tokens=4000)
        assert self.service.until(lambda: len(self._engine.receivers) > number)
        self.said[name], self._receivers[name] = [], self._engine.receivers[number]

    def say(self, share: float, tokens: int, times: int) -> None:
        """Have one of the streams say something, again and again."""
        name = list(self._receivers)[int(share * len(self._receivers))]
        ids = ids_of("0123456789" * 100)[:tokens]
        for _ in range(times):
            self.said[name] += ids
            self._receivers[name](Delta(ids))
            self.service.clock.advance(0.002)

    def acknowledge(self, share: float) -> None:
        """Read a share of what has come."""
        last = self.subscriber.frames[-1]["frame"]
        self._acknowledged += int(share * (last - self._acknowledged))
        self.service.acknowledge(self.subscriber.key, self._acknowledged)

    def end(self) -> None:
        for receive in self._receivers.values():
            receive(Delta([], "stop"))

    @property
    def unread(self) -> int:
        return int(self.subscriber.frames[-1]["frame"]) - self._acknowledged


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Service, PlayedEngine]]:
    engine = PlayedEngine()
    service = played_service(engine, vocabulary_of(byte_tokenizer(), tmp_path_factory.mktemp("vocabulary")), 1)
    yield service, engine
    service.close()


SHARES = st.floats(0, 1, exclude_max=True)
STEPS = st.one_of(
    st.tuples(st.just("say"), SHARES, st.sampled_from([1, 2, 300]), st.sampled_from([1, 5, 40])),
    st.tuples(st.just("acknowledge"), st.sampled_from([0.0, 0.1, 0.5, 1.0])),
)


@given(steps=st.lists(STEPS, min_size=5, max_size=20), streams=st.integers(1, 8))
def test_however_a_client_reads_it_gets_all_in_order_and_never_more_than_the_window(
    played: tuple[Service, PlayedEngine], steps: list[tuple[Any, ...]], streams: int
) -> None:
    service, engine = played
    reader = Reader(service, engine)
    for _ in range(streams):
        reader.ask()
    for name, *values in steps:
        getattr(reader, name)(*values)
        service.clock.advance(0.002)
        assert reader.unread <= WINDOW_FRAMES
    reader.end()
    client = reader.subscriber
    while not all(map(client.has_ended, reader.said)):
        reader.acknowledge(1)
        service.clock.advance(0.002)
        assert reader.unread <= WINDOW_FRAMES
    assert {name: client.text(name) for name in reader.said} == {n: text_of(ids) for n, ids in reader.said.items()}
    assert [frame["frame"] for frame in client.frames] == list(range(len(client.frames)))
    client.left = True
    assert service.until(lambda: client.ended)
    assert (service.stats().in_flight, service.stats().sessions) == (0, 0)


def test_a_long_prompt_that_is_wanted_back_comes_in_pieces(start: Start) -> None:
    service = start(SHORT)
    client = service.subscribe()
    prompt = "\x01ก" * 500_000  # each takes 9 bytes of JSON
    asked = msgspec.structs.replace(settings(stream=False), output=OutputRules(prompt=prompt))
    service.submit_to_session(client.key, "a", PROMPT, asked)
    assert client.wait("a")["finish_reason"] == "stop"
    assert client.text("a") == f"{prompt}Four."
    assert max(client.sizes) <= MIB + 1000
    assert [one.get("content", "") for one in client.responses("a")] == [""] * (len(client.responses("a")) - 1) + [
        "Four."
    ]


def test_a_response_that_no_frame_can_hold_fails_its_request_alone(start: Start) -> None:
    """A call that never ends is text in the end, all of it at once."""
    tokenizer = byte_tokenizer()
    tokenizer.add_tokens([AddedToken("0" * 1000, normalized=False)])
    endless = Script(match="endless", answer="<TOOLCALL>" + "0" * 1000 * 3500)
    service = start(endless, SHORT, tokenizer=tokenizer, max_seq_len=8000)
    client = service.subscribe()
    asked = msgspec.structs.replace(settings(max_tokens=7000), output=OutputRules(tools=TOOLS))
    service.submit_to_session(client.key, "endless", ids_of("endless"), asked)
    client.ask("short")
    assert re.match(r"request 'endless': .* 3 MiB.* \(INTERNAL\)$", client.wait("endless")["error"])
    assert client.wait("short")["finish_reason"] == "stop"
    assert service.idle()
    assert not client.ended


# The end


@pytest.mark.parametrize("age_s", [0, 1, 100])
def test_a_client_that_left_frees_its_places(start: Start, age_s: float) -> None:
    service = start(HELD, engine={"max_batch_size": 4})
    left, stays = service.subscribe(), service.subscribe()
    service.clock.advance(age_s)
    for number in range(10):
        left.ask(str(number), max_tokens=400, stream=number % 2 == 0)
    stays.ask("mine", max_tokens=400)
    assert service.until(lambda: left.text("0"))
    left.left, begin = True, service.clock.monotonic()
    assert service.until(lambda: service.stats().in_flight == 1)
    assert service.clock.monotonic() - begin < 0.2
    assert left.ended
    assert service.until(lambda: stays.text("mine"))
    assert not stays.ended


def test_a_client_whose_frames_cannot_be_delivered_has_left(start: Start) -> None:
    service = start(LONG)
    lost, stays = service.subscribe(), service.subscribe()
    for client in (lost, stays):
        client.ask("a", max_tokens=400)
    assert service.until(lambda: lost.text("a"))
    lost.lost = True
    assert service.until(lambda: lost.ended)
    assert stays.wait("a")["finish_reason"] == "length"
    assert service.idle()


def test_a_session_whose_end_cannot_be_told_is_over_all_the_same(
    start: Start, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(_: object) -> None:
        raise RuntimeError("no way to the client")

    service = start(HELD)
    client = service.subscribe()
    client.ask("a", max_tokens=400)
    monkeypatch.setattr(client, "end", fail)
    client.left = True
    assert service.idle()
    assert service.stats().sessions == 0
    assert "end not delivered" in caplog.text
    assert service.ask(max_tokens=3).wait().finish_reason == "length"


def test_a_session_whose_first_frame_cannot_be_delivered_is_over(start: Start) -> None:
    service = start(SHORT)
    lost = Subscriber(service)
    lost.lost = True
    service.open_session(lost)
    assert service.until(lambda: lost.ended)


def test_a_request_that_comes_after_its_session_is_refused_and_takes_no_place(start: Start) -> None:
    service = start(SHORT)
    client = service.subscribe()
    client.left = True
    assert service.until(lambda: client.ended)
    with pytest.raises(UnavailableError, match=r"^This session has ended"):
        client.ask("late")
    assert service.stats().in_flight == 0


def test_a_session_that_ends_while_a_request_of_it_is_prepared_takes_it_no_more(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = start(SHORT, max_batch_size=1, max_waiting=0)
    client = service.subscribe()

    def compile_slowly(_: StockGuide) -> str:
        client.left = True
        assert service.until(lambda: client.ended)
        return 'root ::= "a"'

    monkeypatch.setattr(StockGuide, "grammar", compile_slowly)
    asked = msgspec.structs.replace(settings(), guide=StockGuide("json", "{}"))
    with pytest.raises(UnavailableError, match=r"^This session has ended"):
        service.submit_to_session(client.key, "a", PROMPT, asked)
    assert service.stats().in_flight == 0
    assert service.ask("a").wait().finish_reason == "stop"


def test_a_drain_is_told_lets_what_runs_finish_and_ends_the_session(start: Start, tmp_path: Path) -> None:
    service = start(LONG)
    busy, idle = service.subscribe(), service.subscribe()
    busy.ask("a", max_tokens=300)
    assert service.until(lambda: busy.text("a"))
    (tmp_path / "drain").touch()
    assert service.until(lambda: idle.ended)
    assert idle.frames[1:] == [{"frame": 1, "draining": True}]
    assert idle.error is None
    with pytest.raises(UnavailableError, match=r"shutting down and takes no new requests; try another one\.$"):
        busy.ask("b")
    with pytest.raises(UnavailableError, match="shutting down"):
        service.open_session(Subscriber(service))
    assert busy.wait("a")["finish_reason"] == "length"
    assert busy.text("a") == LONG.answer[:300]
    assert service.until(lambda: busy.ended)
    assert busy.error is None
    assert [frame["frame"] for frame in busy.frames if frame.get("draining")] != []
    assert sum("draining" in frame for frame in busy.frames) == 1


def test_before_a_drain_sessions_are_told_in_turn_and_take_what_is_under_way(start: Start, tmp_path: Path) -> None:
    """Clients open others meanwhile: where they land here again, they have a second until they are told."""
    service = start(LONG)
    first = service.subscribe()
    service.clock.advance(1)
    (tmp_path / "leave").touch()
    assert service.until(lambda: first.drains)
    first.ask("under way", max_tokens=1)
    assert first.wait("under way")["finish_reason"] == "length"
    second = service.subscribe()
    service.clock.advance(0.5)
    second.ask("a", max_tokens=1)
    assert second.wait("a")["finish_reason"] == "length"
    assert not second.drains
    service.clock.advance(0.5)
    assert service.until(lambda: second.drains)
    service.clock.advance(5)
    assert service.until(lambda: first.ended and second.ended)
    assert (first.error, second.error) == (None, None)


def test_a_session_that_cannot_be_told_of_a_drain_is_ended_once(start: Start, tmp_path: Path) -> None:
    service = start(SHORT)
    lost = service.subscribe()
    lost.lost = True
    (tmp_path / "drain").touch()
    assert service.until(lambda: lost.ended)
    assert lost.ends == 1


def test_a_session_that_has_sent_much_drains_alone(start: Start) -> None:
    """Requests that are under way are still taken, and what runs goes on to its end."""
    service = start(HELD, engine={"max_batch_size": 4})
    client, other = service.subscribe(), service.subscribe()
    client.ask("held", max_tokens=400, timeout_ms=10**9)
    wordy = msgspec.structs.replace(settings(max_tokens=1), output=OutputRules("answer", prompt="x" * MIB))
    while not client.drains:
        number = f"{len(client.frames)}"
        service.submit_to_session(client.key, number, PROMPT, wordy)
        client.wait(number)
        service.clock.advance(0.1)
    assert 15 * MIB < sum(client.sizes) < 18 * MIB
    service.clock.advance(4)
    client.ask("under way", max_tokens=1)
    assert client.wait("under way")["finish_reason"] == "length"
    service.clock.advance(2)
    with pytest.raises(UnavailableError, match="open a new one"):
        client.ask("late")
    assert not client.ended
    client.stop("held")
    assert client.wait("held")["finish_reason"] == "cancelled"
    assert service.until(lambda: client.ended)
    assert client.error is None
    assert not other.ended
    assert not other.drains


def test_a_stop_is_heard_while_draining(start: Start, tmp_path: Path) -> None:
    service = start(HELD)
    client = service.subscribe()
    client.ask("a", max_tokens=400)
    assert service.until(lambda: client.text("a"))
    (tmp_path / "drain").touch()
    assert client.stop("a")
    assert client.wait("a")["finish_reason"] == "cancelled"
    assert service.until(lambda: client.ended)


def test_the_cancel_file_ends_what_runs_with_a_reason(start: Start, tmp_path: Path) -> None:
    service = start(HELD)
    client = service.subscribe()
    client.ask("a", max_tokens=400)
    assert service.until(lambda: client.text("a"))
    for name in ("drain", "cancel"):
        (tmp_path / name).touch()
    assert client.wait("a")["finish_reason"] == "cancelled"
    assert service.until(lambda: client.ended)
    assert client.error is None


def test_closing_ends_the_sessions_also_one_that_is_not_read(start: Start) -> None:
    service = start(LONG)
    idle, busy, stalled = service.subscribe(), service.subscribe(), service.subscribe(acknowledges=False)
    until_full(stalled)
    busy.ask("a", max_tokens=400)
    assert service.until(lambda: busy.text("a"))
    service.close()
    assert [client.ended for client in (idle, busy, stalled)] == [True] * 3
    assert busy.responses("a")[-1]["finish_reason"] == "cancelled"
    with pytest.raises(UnavailableError):
        service.open_session(Subscriber(service))


def test_a_launcher_that_stops_the_server_has_the_sessions_ended(start: Start, tmp_path: Path) -> None:
    service = start(LONG)
    client = service.subscribe()
    (tmp_path / "close").touch()
    assert service.until(lambda: not (tmp_path / "engine").exists())
    assert service.until(lambda: client.ended)
    assert client.error is None


def test_there_is_a_limit_of_sessions(start: Start) -> None:
    service = start(SHORT)
    clients = [Subscriber(service) for _ in range(1024)]
    for client in clients:
        service.open_session(client)
    with pytest.raises(UnavailableError, match=r"^This server has 1024 sessions, which is its limit; try again later"):
        service.open_session(Subscriber(service))
    assert service.until(lambda: all(client.frames for client in clients))
    clients[7].left = True
    assert service.until(lambda: clients[7].ended)
    assert service.subscribe().frames
