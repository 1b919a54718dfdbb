"""Which session a request rides on: a pool of sessions that stand, fail and refuse when a test says so."""

from __future__ import annotations

import json
from typing import Any

from tritonclient.grpc import service_pb2

from nemotron_client._transports.base import Call, Connection
from nemotron_client._transports.session_codec import Session, Terms
from nemotron_client._transports.session_pool import SessionPool
from nemotron_client._transports.session_request import Command, Item, Note, SessionRequest


class Pretend(Session):
    """A session without a stream."""

    def __init__(self, terms: Terms) -> None:
        super().__init__(terms)
        self.started = False
        self.sent: list[Command] = []

    def start(self) -> None:
        self.started = True

    def send(self, command: Command) -> None:
        self.sent.append(command)

    def began(self) -> None: ...

    def abandon(self) -> None: ...

    def stands(self) -> None:
        """Its first frame has come."""
        text = json.dumps({"frame": 0, "session": "key"}).encode()
        response = service_pb2.ModelStreamInferResponse()
        response.infer_response.id = self.opening().id
        response.infer_response.raw_output_contents.append(len(text).to_bytes(4, "little") + text)
        self.take(response.SerializeToString())


class Request(SessionRequest):
    """A request, and what it hears."""

    def __init__(self, number: int, **headers: str) -> None:
        super().__init__(Call("ensemble", f"{number}", {"text_input": "Hi"}, ("content",), headers))
        self.heard: list[Item] = []

    def put(self, item: Item) -> None:
        self.heard.append(item)


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class World:
    """A pool and all that it has made."""

    def __init__(self, **connection: Any) -> None:
        self.clock = Clock()
        self.made: list[Pretend] = []
        self.pool: SessionPool[Pretend] = SessionPool(self._make, "grpc://a:1", Connection(**connection), self.clock)
        self._numbers = iter(range(10_000))

    def _make(self, terms: Terms) -> Pretend:
        self.made.append(Pretend(terms))
        return self.made[-1]

    def add(self, **headers: str) -> Session | None:
        request = Request(next(self._numbers), **headers)
        added = self.pool.add(request)
        return next(one for one in self.made if one is request.session) if added else None


def test_sessions_open_one_after_another() -> None:
    world = World(sessions=3)
    ridden = [world.add() for _ in range(6)]
    first, second, third = world.made
    assert ridden == [first, second, third] * 2
    assert (first.started, second.started, third.started) == (True, False, False)
    first.stands()
    assert (second.started, third.started) == (True, False)
    second.stands()
    assert third.started


def test_where_one_fails_the_others_do_not_wait_for_each_other() -> None:
    world = World(sessions=3)
    for _ in range(3):
        world.add()
    world.made[0].ended()
    assert all(session.started for session in world.made)
    world.add()
    assert len(world.made) == 4, "the one that has failed is replaced"


def test_a_server_without_sessions_is_asked_again_after_a_minute_and_when_it_was_lost() -> None:
    world = World()
    world.add()
    world.made[-1].end(None)
    assert world.add() is None
    world.clock.now = 61.0
    assert world.add() is world.made[-1]
    world.made[-1].end(None)
    assert world.add() is None
    world.pool.connection_lost()
    assert world.add() is world.made[-1]
    assert len(world.made) == 3


def test_further_sets_of_headers_get_sessions_once_one_was_idle_for_a_minute() -> None:
    world = World()
    for number in range(4):
        assert world.add(tenant=f"{number}") is world.made[number]
        world.made[number].stands()
    assert world.add(tenant="4") is None
    world.clock.now = 61.0
    for number in (1, 2, 3):
        assert world.add(tenant=f"{number}") is world.made[number]
    assert world.add(tenant="4") is world.made[4]
    assert not world.made[0].accepting
    assert not world.made[0].over, "what rides on it goes on"


def test_a_stop_goes_on_the_session_of_those_who_may_send_it() -> None:
    world = World()
    request = Request(1, authorization="one's")
    assert world.pool.add(request)

    def stop(**headers: str) -> bool:
        return world.pool.stop(Call("tensorrt_llm", "1", {"stop": True}, (), headers), lambda: None)

    assert not stop(authorization="another's")
    assert not stop()
    assert [command for command in world.made[0].sent if command is not request] == []
    assert stop(authorization="one's", traceparent="00-1-2-01")
    assert len(world.made[0].sent) == 2


def test_old_sessions_retire_one_at_a_time_and_keep_their_places_until_they_have_ended() -> None:
    world = World(sessions=2, session_max_age_s=100)
    for _ in range(2):
        world.add()
        world.made[-1].stands()
    world.clock.now = 101.0
    stays = world.add()
    assert [session.accepting for session in world.made].count(False) == 1
    (retired,) = (session for session in world.made if not session.accepting)
    assert Note.END not in retired.sent, "what rides on it goes on"
    assert world.add() is stays
    retired.ended()
    world.add()
    assert len(world.made) == 3
    assert Note.END not in world.made[-1].sent


def test_where_half_of_the_sessions_are_leaving_another_one_opens() -> None:
    world = World(sessions=1, session_max_age_s=100)
    world.add()
    world.made[0].stands()
    world.clock.now = 101.0
    assert world.add() is world.made[1]
    assert not world.made[0].accepting
    assert Note.END not in world.made[0].sent, "what rides on it goes on"


def test_half_of_the_sessions_take_requests_however_many_leave() -> None:
    world = World(sessions=4)
    for _ in range(4):
        world.add()
        world.made[-1].stands()
    for session in world.made[:3]:
        session.retire()
    for _ in range(3):
        world.add()
    assert [session.accepting for session in world.made] == [False] * 3 + [True] * 2
