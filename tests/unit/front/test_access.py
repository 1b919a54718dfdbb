"""Who may ask."""

from __future__ import annotations

import asyncio
import hashlib
import time
from pathlib import Path
from typing import Any

import pytest

from nemotron_front.access import KeyFileError
from nemotron_front.app import App
from tests.unit.front.caller import Caller, ask, get
from tests.unit.front.scripts import CHAT, HI, app_of

KEYS = f"first # Anna's\n\n# a comment\n #another\n  second\nwith#in\nsha256:{hashlib.sha256(b'third').hexdigest()}\n"
HOLDERS: list[dict[str, str]] = [
    {"authorization": "Bearer first"},
    {"authorization": "bearer second"},
    {"x_api_key": "third"},
    {"authorization": "Bearer third"},
    {"x_api_key": "with#in"},
    {"authorization": "Bearer fourth", "x_api_key": "first"},
    {"authorization": "Bearer first", "x_api_key": "fourth"},
]
STRANGERS: list[dict[str, str]] = [
    {},
    {"authorization": "Bearer"},
    {"authorization": "Bearer fourth"},
    {"authorization": "Basic first"},
    {"authorization": "Bearer first second"},
    {"authorization": f"Bearer {hashlib.sha256(b'third').hexdigest()}"},
    {"authorization": "Bearer f\xefrst"},
    {"x_api_key": ""},
    {"x_api_key": "firs"},
    {"x_api_key": "with"},
    {"authorization": "Bearer fourth", "x_api_key": "fifth"},
]


def statuses(app: App, *headers: dict[str, str]) -> list[int]:
    """What comes of requests with these headers."""

    async def run() -> list[int]:
        return [(await ask(app, CHAT, HI, **one)).status for one in headers]

    return asyncio.run(run())


def keyed(tmp_path: Path, **options: Any) -> App:
    file = tmp_path / "keys"
    file.write_text(KEYS)
    return app_of("Hello.", api_key_file=file, **options)[0]


@pytest.mark.parametrize("headers", HOLDERS)
def test_each_key_opens(tmp_path: Path, headers: dict[str, str]) -> None:
    assert asyncio.run(ask(keyed(tmp_path), CHAT, HI, **headers)).status == 200


@pytest.mark.parametrize("headers", STRANGERS)
def test_nothing_else_does(tmp_path: Path, headers: dict[str, str]) -> None:
    caller = asyncio.run(ask(keyed(tmp_path), CHAT, HI, **headers))
    assert caller.status == 401
    assert caller.error["type"] == "authentication_error"
    assert caller.error["code"] == "invalid_api_key"
    assert caller.headers["www-authenticate"] == "Bearer"


def test_all_is_closed_but_for_probes_and_the_page(tmp_path: Path) -> None:
    app = keyed(tmp_path)

    async def gotten(*paths: str) -> dict[str, int]:
        return {path: (await get(app, path)).status for path in paths}

    open_paths = ("/", "/health", "/v1/health/live", "/v1/health/ready")
    closed = ("/v1/models", "/v1/models/m", "/metrics", "/v1/metrics", "/version", "/v1/nothing", "/page/render", CHAT)
    assert asyncio.run(gotten(*open_paths)) == dict.fromkeys(open_paths, 200)
    assert asyncio.run(gotten(*closed)) == dict.fromkeys(closed, 401)
    assert asyncio.run(ask(app, "/health")).status == 401  # what is open is so for reading


def test_without_keys_any_is_taken() -> None:
    app, _ = app_of("Hello.")
    headers = ("Bearer **********", "Bearer", "Bearer NO_API_KEY_PROVIDED", "Basic x")
    assert statuses(app, *({"authorization": header} for header in headers)) == [200] * 4


def test_keys_come_from_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NEMOTRON_API_KEY", "one")
    monkeypatch.setenv("NEMOTRON_API_KEYS", "two, three,")
    app, beside_a_file = app_of("Hello.")[0], keyed(tmp_path)
    keys = ("one", "two", "three", "", "four")
    assert statuses(app, *({"x_api_key": key} for key in keys)) == [200, 200, 200, 401, 401]
    assert statuses(beside_a_file, {"x_api_key": "one"}, {"x_api_key": "second"}) == [200, 200]


def test_keys_are_read_again(tmp_path: Path) -> None:
    app = keyed(tmp_path)
    (tmp_path / "keys").write_text("new")
    app.access.keys.read()
    assert statuses(app, {"x_api_key": "first"}, {"x_api_key": "new"}) == [401, 200]


@pytest.mark.parametrize("text", ["", "# all of them are gone\n", "two words", "sha256:12", "tab\tin"])
def test_a_file_that_is_wrong_changes_nothing(tmp_path: Path, text: str) -> None:
    app = keyed(tmp_path)
    (tmp_path / "keys").write_text(text)
    with pytest.raises(KeyFileError, match="--api-key-file") as failed:
        app.access.keys.read()
    assert "two words" not in str(failed.value)
    assert statuses(app, {"x_api_key": "first"}) == [200]


def test_a_file_that_is_not_there_is_no_way_in(tmp_path: Path) -> None:
    with pytest.raises(KeyFileError, match="cannot be read"):
        app_of(api_key_file=tmp_path / "none")


@pytest.mark.parametrize(
    "host", ["127.0.0.1:9000", "localhost", "LOCALHOST:1", "[::1]:9000", "a.localhost", "chat.test"]
)
def test_a_local_name_is_taken(host: str) -> None:
    app, _ = app_of("Hello.", allowed_host=("Chat.Test",))
    assert asyncio.run(get(app, "/v1/models", host=host)).status == 200


@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1.evil.example", "10.0.0.1:9000", "[::2]", "[", "localhost.evil.example"]
)
def test_on_loopback_a_foreign_name_is_refused(host: str) -> None:
    app, _ = app_of("Hello.")
    caller = asyncio.run(ask(app, CHAT, HI, host=host))
    assert caller.status == 403
    assert caller.error["type"] == "permission_error"


@pytest.mark.parametrize(("address", "status"), [("127.0.1.1", 403), ("::ffff:127.0.0.1", 403), ("192.0.2.1", 200)])
def test_a_name_listens_where_its_address_is(address: str, status: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("socket.getaddrinfo", lambda *_, **__: [(2, 1, 6, "", (address, 0))])
    app, _ = app_of("Hello.", bind="Box")
    assert asyncio.run(get(app, "/v1/models", host="box:9000")).status == 200
    assert asyncio.run(get(app, "/v1/models", host="evil.example")).status == status


def test_probes_may_come_by_any_name() -> None:
    app, _ = app_of("Hello.")
    assert asyncio.run(get(app, "/v1/health/ready", host="cluster-of-a-balancer")).status == 200


def test_elsewhere_any_name_is_taken() -> None:
    app, _ = app_of("Hello.", bind="0.0.0.0")  # noqa: S104 - nothing listens
    assert asyncio.run(get(app, "/v1/models", host="llm.example")).status == 200


@pytest.mark.parametrize(
    "origin", ["https://evil.example", "null", "http://127.0.0.1:1", "http://localhost", "file://"]
)
def test_a_page_from_elsewhere_is_refused(origin: str) -> None:
    app, _ = app_of("Hello.")
    caller = asyncio.run(ask(app, CHAT, HI, origin=origin, content_type="text/plain"))
    assert caller.status == 403
    assert "access-control-allow-origin" not in caller.headers
    preflight = asyncio.run(ask(app, CHAT, method="OPTIONS", origin=origin, access_control_request_method="POST"))
    assert preflight.status == 403
    assert "access-control-allow-origin" not in preflight.headers


@pytest.mark.parametrize("origin", ["null", "https://"])
def test_no_origin_is_that_of_no_host(origin: str) -> None:
    app, _ = app_of("Hello.")
    assert statuses(app, {"host": "", "origin": origin}) == [403]


def test_who_has_no_key_takes_no_room_and_is_not_waited_for(tmp_path: Path) -> None:
    app = keyed(tmp_path, max_requests=1)

    async def run() -> tuple[list[Caller], Caller]:
        stuck = [Caller(app, CHAT, [b"{"], stuck=True, content_length="9").start() for _ in range(3)]
        for caller in stuck:
            await caller.read_until(lambda one: one.body)
        holder = await ask(app, CHAT, HI, x_api_key="first")
        assert not any(caller.over for caller in stuck)
        return [await caller.end() for caller in stuck], holder

    began = time.monotonic()
    strangers, holder = asyncio.run(run())
    assert holder.status == 200
    for caller in strangers:
        assert (caller.status, caller.over, caller.headers["connection"]) == (401, True, "close")
    assert time.monotonic() - began < 4  # who has a key gets 5 s to send the rest


def test_the_page_itself_is_not_from_elsewhere() -> None:
    app, _ = app_of("Hello.")
    own = {"host": "127.0.0.1:9000", "origin": "http://127.0.0.1:9000"}
    behind_tls = {"host": "127.0.0.1", "origin": "https://127.0.0.1"}
    assert statuses(app, own, behind_tls) == [200, 200]


@pytest.mark.parametrize(("allowed", "told"), [("https://chat.example", "https://chat.example"), ("*", "*")])
def test_a_listed_page_is_let_in(tmp_path: Path, allowed: str, told: str) -> None:
    app = keyed(tmp_path, cors_origin=("https://other.example", allowed))
    origin = "https://chat.example"

    async def run() -> list[Caller]:
        preflight = {"access_control_request_method": "POST", "access_control_request_headers": "authorization"}
        return [
            await ask(app, CHAT, method="OPTIONS", origin=origin, **preflight),
            await ask(app, CHAT, HI, origin=origin, x_api_key="first"),
            await ask(app, CHAT, HI, origin=origin),
        ]

    preflight, answer, refused = asyncio.run(run())
    assert (preflight.status, answer.status, refused.status) == (200, 200, 401)
    for caller in (preflight, answer, refused):
        assert caller.headers["access-control-allow-origin"] == told
    assert preflight.headers["access-control-allow-headers"] == "authorization"
    assert "POST" in preflight.headers["access-control-allow-methods"]
    assert "x-request-id" in answer.headers["access-control-expose-headers"]
