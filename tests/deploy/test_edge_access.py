"""Who may call the edge of deploy/envoy, how often, and what for: a real Envoy before replicas that run nothing."""

from __future__ import annotations

import itertools
import json
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from tritonclient.grpc import service_pb2

from tests.balancer.echo import SILENCE
from tests.balancer.envoy import CONFIGURATION, KEYS, KEYS_DIRECTORY, PROGRAM, Config, filters
from tests.deploy.edge import CHAT, GENERATE, NEXT_OF_TEAM_A, SERVICE, STREAM, TEAM_A, TEAM_B, Edge, edge
from tests.integration.conftest import status
from tests.waiting import wait_until

KEY_NAME = "x-nemotron-key-name"
OPEN_CALLS = (
    *(f"Server{what}" for what in ("Live", "Ready", "Metadata")),
    *(f"Model{what}" for what in ("Ready", "Metadata", "Config", "Infer", "StreamInfer")),
)
CLOSED_CALLS = sorted(
    set(service_pb2.DESCRIPTOR.services_by_name["GRPCInferenceService"].methods_by_name) - {*OPEN_CALLS}
)
OPEN_PATHS = [
    *(("POST", f"/v1/{path}") for path in ("chat/completions", "completions", "responses", "messages")),
    *(("POST", f"/v1/{path}/input_tokens") for path in ("chat/completions", "completions", "responses")),
    ("POST", "/v1/chat/completions/control"),
    ("POST", "/v1/messages/count_tokens"),
    *(("POST", path) for path in ("/tokenize", "/detokenize", "/page/render")),
    *(
        ("GET", f"/v1/{path}")
        for path in ("models", "models/nvidia/nano", "models/nvidia%2Fnano", "version", "metadata")
    ),
    *(("GET", path) for path in ("/version", "/openapi.json")),
    *(
        ("POST", f"/v2/models/{name}/{how}")
        for name in ("ensemble", "tensorrt_llm")
        for how in ("generate", "generate_stream")
    ),
    ("POST", "/v2/models/ensemble/versions/1/generate"),
    ("POST", "/v2/models/unary/infer"),
    *(
        ("GET", f"/v2{path}")
        for path in ("", "/health/live", "/health/ready", "/models/ensemble", "/models/ensemble/config")
    ),
    ("GET", "/v2/models/ensemble/ready"),
]
WITHOUT_A_KEY = [
    *(
        ("GET", path)
        for path in ("/", "/page/0123456789abcdef/main.js", "/health", "/v1/health/live", "/v1/health/ready")
    ),
    ("HEAD", "/"),
]
ADMIN = [
    ("POST", "/v2/repository/index"),
    ("POST", "/v2/repository/models/ensemble/load"),
    ("POST", "/v2/repository/models/ensemble/unload"),
    ("GET", "/v2/trace/setting"),
    ("POST", "/v2/models/ensemble/trace/setting"),
    ("GET", "/v2/logging"),
    ("POST", "/v2/systemsharedmemory/region/x/register"),
    ("GET", "/v2/cudasharedmemory/status"),
    ("GET", "/v2/models/stats"),
    ("GET", "/v2/models/ensemble/stats"),
    ("POST", "/v2/models/preprocessing/generate"),
    ("POST", "/v2/models/ensemble/infer"),
    ("GET", "/metrics"),
    ("GET", "/v1/metrics"),
]


def tricks(path: str) -> Iterator[str]:
    """Other ways to write a path, such as a server behind may read as the same."""
    first, *rest = path.removeprefix("/").split("/")
    behind = "/".join(("", *rest))
    middle = path.replace("/", "/./", 1)
    yield from (path.replace("/", "//"), f"/{path}", f"{path}/", f"{path}//", f"/.{path}", middle, f"/x/..{path}")
    yield from (
        path.replace("/", "%2f")[3:].join(("/", "")),
        f"/%2e%2e{path}",
        f"/x/%2e%2e{path}",
        f"/x%2f..%2f..{path}",
    )
    yield from (f"/{first[:-1]}%{ord(first[-1]):02x}{behind}", f"/%{ord(first[0]):02X}{first[1:]}{behind}")
    yield from (
        path.upper(),
        path.title(),
        f"{path};x=1",
        f"/{first};a=b{behind}",
        f"{path}%00",
        f"{path}%20",
        f"{path}?",
        f"{path}#",
    )
    yield from (path.replace("/", "\\"), f"{path}/..%2f{first}", f"/v1/models/..{path}", f"/v1/models/../..{path}")
    yield from (f"/v1/models/%2e%2e/%2e%2e{path}", f"/v1/models/..%2f..{path.replace('/', '%2f')}", f"/health/..{path}")
    yield from (
        f"/page/x/..{path}",
        f"/v2/models/ensemble/generate/../../../..{path}",
        f"/%252e%252e{path}",
        f"//{path[1:]}/.",
    )
    yield from (f"{GENERATE}%2f..%2f..%2f..%2f..{path}", f"{path}/generate", f"{path}%3fx", f"http://127.0.0.1{path}")


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Edge]:
    def without_limits(config: Config) -> None:
        for limits in filters(config, "limits"):
            limits["descriptors"][0]["token_bucket"] |= {"max_tokens": 100_000, "tokens_per_fill": 100_000}

    with edge(tmp_path_factory.mktemp("edge"), without_limits) as running:
        yield running


@pytest.fixture
def the_edge(shared: Edge) -> Edge:
    shared.clear()
    return shared


def test_envoy_takes_the_files_without_a_warning(tmp_path: Path) -> None:
    (tmp_path / "keys.yaml").write_text(KEYS.read_text())
    config = tmp_path / "envoy.yaml"
    config.write_text(CONFIGURATION.read_text().replace(KEYS_DIRECTORY, str(tmp_path)))
    done = subprocess.run([PROGRAM, "--mode", "validate", "-c", config], capture_output=True, text=True, check=False)
    said = done.stdout + done.stderr
    assert done.returncode == 0, said
    assert not any(word in said.lower() for word in ("warning", "deprecat", "[critical]", "[error]")), said


def test_it_does_not_start_without_keys(tmp_path: Path) -> None:
    config = tmp_path / "envoy.yaml"
    config.write_text(CONFIGURATION.read_text().replace(KEYS_DIRECTORY, str(tmp_path)))
    done = subprocess.run([PROGRAM, "--mode", "validate", "-c", config], capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert f"{tmp_path}/keys.yaml" in done.stdout + done.stderr


@pytest.mark.parametrize("key", [None, "example-key-of-team-", "example-key-of-team-a2", "team-a"])
def test_who_has_no_key_is_refused(the_edge: Edge, key: str | None) -> None:
    answer = the_edge.ask(key=key)
    assert (answer.status, answer.code, answer.headers["www-authenticate"]) == (401, "invalid_api_key", "Bearer")
    assert the_edge.ask(GENERATE, key=key).status == 401
    assert the_edge.ask("/v2/repository/index", key=key).status == 401
    assert the_edge.ask("/page/render", key=key).status == 401
    assert the_edge.ask("/", key=key, method="POST").status == 401
    assert the_edge.call(f"{SERVICE}ModelInfer", key=key).status == "UNAUTHENTICATED"
    assert the_edge.call(f"{SERVICE}RepositoryIndex", key=key).status == "UNAUTHENTICATED"
    assert the_edge.seen() == 0


@pytest.mark.parametrize(("key", "name"), [(TEAM_A, "team-a"), (NEXT_OF_TEAM_A, "team-a"), (TEAM_B, "team-b")])
@pytest.mark.parametrize("header", ["authorization", "x-api-key"])
def test_replicas_get_the_name_of_a_key_and_never_the_key(the_edge: Edge, key: str, name: str, header: str) -> None:
    given = {header: f"Bearer {key}" if header == "authorization" else key, KEY_NAME: "forged"}
    for path in (CHAT, GENERATE, STREAM):
        the_edge.clear()
        if path == STREAM:
            assert the_edge.call(path, given, key=None).status == "OK"
        else:
            assert the_edge.ask(path, given, key=None).status == 200
        headers = the_edge.last().headers
        assert headers[KEY_NAME] == name
        assert key not in json.dumps(headers)
        assert not headers.keys() & {"authorization", "x-api-key"}


def test_what_holds_no_secret_needs_no_key(the_edge: Edge) -> None:
    for method, path in WITHOUT_A_KEY:
        the_edge.clear()
        assert the_edge.ask(path, {KEY_NAME: "forged"}, key=None, method=method, body=b"").status == 200
        assert the_edge.last().path == path
        assert KEY_NAME not in the_edge.last().headers
    preflight = {"origin": "https://a.example", "access-control-request-method": "POST"}
    assert the_edge.ask(CHAT, preflight, key=None, method="OPTIONS", body=b"").status == 200
    assert the_edge.ask(CHAT, key=None, method="OPTIONS", body=b"").status == 401


def test_keys_are_read_again_without_a_restart(tmp_path: Path) -> None:
    text = KEYS.read_text()
    with edge(tmp_path) as running:
        running.balancer.set_keys(text.replace(TEAM_A, "another-key"))
        wait_until(lambda: running.ask(key="another-key").status == 200)
        assert running.ask(key=TEAM_A).status == 401
        assert running.ask(key=NEXT_OF_TEAM_A).status == 200
        for wrong in (text.replace(TEAM_B, TEAM_A), "resources: ["):  # one key for two names; no YAML
            running.balancer.set_keys(wrong)
            time.sleep(0.5)
            assert [running.ask(key=key).status for key in ("another-key", TEAM_A)] == [200, 401]
        assert running.call(f"{SERVICE}ModelInfer", key="another-key").status == "OK"


def test_a_key_that_calls_too_often_is_refused_and_others_are_not(tmp_path: Path) -> None:
    def five(config: Config) -> None:
        for limits in filters(config, "limits"):
            bucket = limits["descriptors"][0]["token_bucket"]
            assert bucket["fill_interval"] == f"{limits['response_headers_to_add'][0]['header']['value']}s"
            bucket |= {"max_tokens": 5, "tokens_per_fill": 1, "fill_interval": "3600s"}

    with edge(tmp_path, five) as running:
        both = itertools.cycle([TEAM_A, NEXT_OF_TEAM_A])  # of one name
        assert [running.ask(key=next(both)).status for _ in range(7)] == [200] * 5 + [429] * 2
        answer = running.ask()
        assert (answer.code, answer.json["error"]["type"]) == ("rate_limit_exceeded", "rate_limit_error")
        assert (answer.headers["retry-after"], answer.headers["x-should-retry"]) == ("1", "true")
        assert [running.ask(GENERATE, key=key).status for key in (TEAM_A, TEAM_B)] == [429, 200]
        call = f"{SERVICE}ModelInfer"
        statuses = [running.call(call, key=next(both)).status for _ in range(7)]
        assert statuses == ["OK"] * 5 + ["RESOURCE_EXHAUSTED"] * 2
        assert running.call(call).metadata["retry-after"] == "1"
        assert running.call(call, key=TEAM_B).status == "OK"
        assert running.ask("/health", key=None, method="GET", body=b"").status == 200
        assert running.ask("/health", {KEY_NAME: "team-a"}, key=None, method="GET", body=b"").status == 200


def test_many_names_have_a_limit_of_their_own_each(tmp_path: Path) -> None:
    """Envoy keeps twenty if nothing else is said, and forgets the others' calls."""

    def one(config: Config) -> None:
        for limits in filters(config, "limits"):
            limits["descriptors"][0]["token_bucket"] |= {
                "max_tokens": 1,
                "tokens_per_fill": 1,
                "fill_interval": "3600s",
            }

    first = "        - {client: team-a, key: example-key-of-team-a}\n"
    many = "".join(f"        - {{client: team-{number}, key: key-{number}}}\n" for number in range(60))
    with edge(tmp_path, one) as running:
        running.balancer.set_keys(KEYS.read_text().replace(first, many))
        wait_until(lambda: running.ask("/health/x", key="key-0").status != 401)
        for expected in ({200}, {429}):
            assert {running.ask(key=f"key-{number}").status for number in range(1, 60)} == expected


def test_all_that_clients_need_is_open(the_edge: Edge) -> None:
    for method, path in OPEN_PATHS:
        the_edge.clear()
        assert the_edge.ask(path, method=method).status == 200, path
        assert the_edge.last().path == path.replace("%2F", "/")
    the_edge.clear()
    assert the_edge.ask(f"//v1/{CHAT.removeprefix('/v1')}").status == 200  # of a base URL that ends in a slash
    assert the_edge.last().path == CHAT
    for name in OPEN_CALLS:
        assert the_edge.call(f"{SERVICE}{name}").status == "OK"
    assert the_edge.call("/grpc.health.v1.Health/Check").status == "OK"


@pytest.mark.parametrize(("method", "path"), ADMIN)
def test_no_spelling_of_an_admin_path_reaches_a_replica(the_edge: Edge, method: str, path: str) -> None:
    spellings = [path, *tricks(path)]
    assert len(spellings) > 30
    for spelling in spellings:
        for one in {method, "GET", "POST"}:
            the_edge.clear()
            status = the_edge.ask(spelling.replace("#", "%23"), {"nemotron-admin-key": "k"}, method=one).status
            arrived = [seen.path for echo in the_edge.echoes for seen in echo.seen]
            # Under another name it may be a request for a model, or a file of the page, that is not there.
            harmless = [found for found in arrived if found.startswith(("/v1/models/", "/page/"))]
            assert not any(sign in found for found in harmless for sign in ("..", "%", "//")), (spelling, arrived)
            assert status in {400, 403, 404} or arrived == harmless != [], (spelling, status, arrived)
            assert arrived == harmless, (spelling, arrived)
    assert the_edge.ask(path, method=method).code == "forbidden"


def test_no_admin_call_reaches_a_replica(the_edge: Edge) -> None:
    assert len(CLOSED_CALLS) >= 10
    reflection = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo"
    others = [reflection, "/grpc.health.v1.Health/List", "/inference.GRPCInferenceService", "/x/ModelInfer", "/"]
    spellings = [f"/inference.GRPCInferenceService//{name}" for name in CLOSED_CALLS]
    spellings += [f"{SERVICE}ModelInfer/../{name}" for name in CLOSED_CALLS]
    spellings += [f"{SERVICE}%2f{name}" for name in CLOSED_CALLS] + [
        f"{SERVICE}{name.lower()}" for name in CLOSED_CALLS
    ]
    for path in [*(f"{SERVICE}{name}" for name in CLOSED_CALLS), *others, *spellings]:
        metadata = {"triton-grpc-protocol-nemotron-admin-key": "k"}
        assert the_edge.call(path, metadata).status == "PERMISSION_DENIED", path
    assert the_edge.seen() == 0


def test_headers_that_rule_triton_or_envoy_do_not_get_through(the_edge: Edge) -> None:
    given = {
        "nemotron-admin-key": "k",
        "triton-grpc-protocol-nemotron-admin-key": "k",
        "triton_grpc_error": "true",  # ends Triton 2.51
        "x-envoy-upstream-rq-timeout-ms": "1",
        "x-envoy-retry-on": "5xx",
        "x-envoy-max-retries": "9",
        SILENCE: "0.3",
    }
    assert the_edge.ask(CHAT, given).status == 200
    assert not the_edge.last().headers.keys() & (given.keys() - {SILENCE})
    the_edge.clear()
    assert the_edge.call(STREAM, given).status == "OK"
    assert not the_edge.last().headers.keys() & (given.keys() - {SILENCE})


@pytest.mark.parametrize(("path", "most"), [(CHAT, 8 << 20), (GENERATE, 4 << 20)])
@pytest.mark.parametrize("session", [{}, {"x-session-id": "s"}], ids=["", "in a session"])
def test_a_body_that_is_too_long_is_refused(the_edge: Edge, path: str, most: int, session: dict[str, str]) -> None:
    for body in (b"x" * (most + 1), iter([b"x" * 65536] * (most // 65536 + 1))):
        answer = the_edge.ask(path, session, body=body)
        assert (answer.status, answer.code) == (413, "request_too_large")
    assert the_edge.seen() == 0
    for body in (b"x" * (most - 1024), iter([b"x" * 65536] * (most // 65536 - 1))):
        the_edge.clear()
        assert the_edge.ask(path, session, body=body).json["length"] > most - 70_000
        # In one piece: a body in a million chunks ends Triton 2.51.
        assert int(the_edge.last().headers["content-length"]) == the_edge.last().length


def test_a_stream_of_grpc_is_not_held_back_nor_limited_as_a_body(the_edge: Edge) -> None:
    options = [("grpc.max_receive_message_length", -1)]
    with grpc.insecure_channel(the_edge.balancer.address, options) as channel:
        answered = 0

        def messages() -> Iterator[bytes]:
            for number in range(12):
                wait_until(lambda: answered == number)  # noqa: B023 - it is read before the next
                yield b"x" * (1 << 20)

        metadata = [("authorization", f"Bearer {TEAM_A}")]
        for message in channel.stream_stream(STREAM)(messages(), metadata=metadata, timeout=60):
            assert json.loads(message)["length"] == 1 << 20
            answered += 1
    assert answered == 12


def test_a_request_has_an_id(the_edge: Edge) -> None:
    for path in (CHAT, GENERATE):
        the_edge.clear()
        own = "0f8fad5b-d9cb-469f-a165-70867728950e"
        assert the_edge.ask(path, {"x-request-id": own}).headers["x-request-id"] == own
        assert the_edge.last().headers["x-request-id"] == own
        the_edge.clear()
        assert the_edge.ask(path).headers["x-request-id"] == the_edge.last().headers["x-request-id"] != own


def test_the_access_log_names_the_key_and_has_no_secret(the_edge: Edge) -> None:
    secret = "a-text-of-mine"  # noqa: S105
    given = {
        "x-request-id": "id-of-mine",
        "cookie": secret,
        "x-session-id": secret,
        "referer": secret,
        "user-agent": secret,
    }
    the_edge.ask(f"{CHAT}?q={secret}", {**given, SILENCE: "0.1"}, body=f'{{"x": "{secret}"}}'.encode())
    the_edge.ask(f"/v1/{secret}", {"x-request-id": "closed"}, key=TEAM_B)
    the_edge.ask(f"/v1/models/{secret}", {"x-request-id": "nobody"}, key=secret)
    the_edge.call(f"{SERVICE}ModelInfer", {"x-request-id": "call"}, key=TEAM_B)
    ids = ("id-of-mine", "closed", "nobody", "call")

    def lines() -> dict[str, Config]:
        return {line["request_id"]: line for line in the_edge.balancer.access_log}

    wait_until(lambda: {*ids} <= lines().keys())
    asked, closed, nobody, called = (lines()[name] for name in ids)
    assert (asked["key_name"], asked["status"], asked["route"]) == ("team-a", 200, "api-by-session")
    assert (asked["method"], asked["attempts"], asked["protocol"]) == ("POST", 1, "HTTP/1.1")
    assert 100 <= asked["first_byte_ms"] <= asked["duration_ms"]
    assert asked["replica"] in {echo.urls["http_url"].removeprefix("http://") for echo in the_edge.echoes}
    assert asked["bytes_received"] > 0 < asked["bytes_sent"]
    assert (closed["key_name"], closed["status"], closed["route"]) == ("team-b", 403, "closed")
    assert (nobody["key_name"], nobody["status"]) == (None, 401)
    assert (called["key_name"], called["grpc_status"], called["route"]) == ("team-b", "OK", "inference")
    text = (the_edge.balancer.directory / "access.log").read_text()
    assert not any(word in text for word in (secret, TEAM_A, NEXT_OF_TEAM_A, TEAM_B))


def test_metrics_and_readiness_are_all_that_the_inside_gets(the_edge: Edge) -> None:
    def at(path: str, method: str = "GET") -> int:
        return status(f"{the_edge.balancer.metrics_url}{path}", method)

    the_edge.ask()
    with urllib.request.urlopen(f"{the_edge.balancer.metrics_url}/stats/prometheus", timeout=60) as response:
        page = response.read().decode()
    for cluster in ("front", "triton-http", "triton-grpc"):
        assert f'envoy_cluster_upstream_rq_total{{envoy_cluster_name="{cluster}"}}' in page
    assert 'envoy_http_downstream_rq_total{envoy_http_conn_manager_prefix="http"}' in page
    assert at("/ready") == 200
    for path in (
        "/",
        "/config_dump",
        "/server_info",
        "/clusters",
        "/stats",
        "/READY",
        "//config_dump",
        "/ready/../config_dump",
    ):
        assert at(path) == 404
    for path in ("/quitquitquit", "/healthcheck/fail", "/logging", "/drain_listeners", "/ready", "/stats/prometheus"):
        assert at(path, "POST") == 404
    text = CONFIGURATION.read_text()
    assert "admin:\n  address: {socket_address: {address: 127.0.0.1, port_value: 9901}}\n" in text
