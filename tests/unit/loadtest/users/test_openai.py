"""Users of OpenAI's API against a scripted server in this process: connections, keys, leaving, and when things came."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from nemotron_loadtest.clock import RunClock
from nemotron_loadtest.errors import LoadTestError, ScenarioError, UnreachableError
from nemotron_loadtest.samples import Sample
from nemotron_loadtest.scenario import OpenAI, Scenario
from nemotron_loadtest.users import servers
from nemotron_loadtest.users.openai import OpenAIAsker, OpenAIServer
from nemotron_loadtest.workload import RequestSpec
from tests.waiting import wait_until

HI = RequestSpec(messages=({"role": "user", "content": "Hi"},))


def chunk(output: int, finish_reason: str | None = None, **delta: Any) -> bytes:
    usage = {"prompt_tokens": 9, "completion_tokens": output}
    body = {"choices": [{"index": 0, "delta": delta, "finish_reason": finish_reason}], "usage": usage}
    return b"data: " + json.dumps(body).encode() + b"\n\n"


ANSWER = [b": keep-alive\n\n", chunk(2, reasoning="Hm."), chunk(3, content="Hi"), chunk(4, "stop"), b"data: [DONE]\n\n"]


class Scripted:
    """A server that answers each request with the next of its replies: chunks, or a status and a body.

    Attributes:
        requests: Path, headers and body of each.
        sent: For each chunk of an answer, when it was about to be sent (`time.perf_counter`).
        lost: How many answers found their reader gone.
        connections: How many were made.
    """

    def __init__(self, *replies: list[bytes] | tuple[int, str], pause_s: float = 0.0, hang: bool = False) -> None:
        self.replies, self.pause_s, self.hang = list(replies), pause_s, hang
        self.requests: list[tuple[str, dict[str, str], Any]] = []
        self.sent: list[float] = []
        self.lost = self.connections = 0
        self.close_after = False
        self.url = ""

    def reply(self, handler: BaseHTTPRequestHandler) -> None:
        length = int(handler.headers.get("content-length") or 0)
        body = json.loads(handler.rfile.read(length)) if length else None
        self.requests.append((handler.path, dict(handler.headers.items()), body))
        if handler.path.endswith("/models"):
            plain(handler, 200, '{"object": "list", "data": [{"id": "first"}, {"id": "second"}]}')
        elif isinstance(reply := self.replies.pop(0), tuple):
            plain(handler, *reply)
        else:
            self.stream(handler, reply)
            handler.close_connection = self.close_after

    def stream(self, handler: BaseHTTPRequestHandler, chunks: list[bytes]) -> None:
        handler.send_response(200)
        handler.send_header("content-type", "text/event-stream")
        handler.send_header("transfer-encoding", "chunked")
        handler.end_headers()
        try:
            for one in chunks:
                time.sleep(self.pause_s)
                self.sent.append(time.perf_counter())
                handler.wfile.write(b"%x\r\n%b\r\n" % (len(one), one))
            while self.hang:
                time.sleep(0.01)
                handler.wfile.write(b"3\r\n:\n\n\r\n")
            handler.wfile.write(b"0\r\n\r\n")
        except OSError:
            self.lost += 1
            handler.close_connection = True


def plain(handler: BaseHTTPRequestHandler, status: int, body: str) -> None:
    handler.send_response(status)
    handler.send_header("content-length", str(len(body)))
    handler.end_headers()
    handler.wfile.write(body.encode())


@contextmanager
def serving(script: Scripted) -> Iterator[Scripted]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def setup(self) -> None:
            super().setup()
            script.connections += 1

        def log_message(self, *_: object) -> None:
            pass

        def do_GET(self) -> None:
            script.reply(self)

        def do_POST(self) -> None:
            script.reply(self)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=[0.01])
    thread.start()
    script.url = f"http://127.0.0.1:{server.server_address[1]}/v1"
    try:
        yield script
    finally:
        script.hang = False
        server.shutdown()
        thread.join()
        server.server_close()


class Asked:
    """An asker of a scripted server, and its samples."""

    def __init__(self, url: str, **way: Any) -> None:
        self.samples: list[Sample] = []
        self.clock = RunClock.starting_in(0)
        self.server = OpenAIServer((url,), OpenAI(**{"model": "m"} | way))
        self.asker = OpenAIAsker(self.server, self.clock, self.samples.append, "7")


def test_a_whole_answer_and_when_it_came() -> None:
    with serving(Scripted(ANSWER, pause_s=0.03)) as script:
        asked = Asked(script.url)
        reply = asked.asker.ask(HI, -1.5)
        asked.asker.close()
    (sample,), (path, headers, body) = asked.samples, script.requests[0]
    assert reply is not None
    assert (reply.reasoning_content, reply.content) == ("Hm.", "Hi")
    assert (path, body["model"], headers["x-request-id"]) == ("/v1/chat/completions", "m", sample.request_id)
    assert (sample.user, sample.worker, sample.outcome, sample.finish_reason) == ("openai_stream", "7", "ok", "stop")
    assert (sample.intended_s, sample.prompt_tokens, sample.output_tokens, sample.counted) == (-1.5, 9, 4, "each")
    _, thought, answered, _, _ = (asked.clock.at(at) for at in script.sent)
    assert [arrival.output_tokens for arrival in sample.arrivals] == [2, 3]
    # Each came after it was sent, and before the next was, which is 30 ms later.
    assert thought <= sample.arrivals[0].at_s <= answered <= sample.arrivals[1].at_s <= sample.ended_s
    assert sample.first_answer_s == sample.arrivals[1].at_s


def test_connections_are_used_again() -> None:
    with serving(Scripted(ANSWER, (400, "no"), ANSWER)) as script:
        asked = Asked(script.url)
        for _ in range(3):
            asked.asker.ask(HI)
        asked.asker.close()
        assert [sample.outcome for sample in asked.samples] == ["ok", "error", "ok"]
        assert script.connections == 2  # one that failed is not trusted


def test_a_connection_that_the_server_has_closed_meanwhile_is_no_error() -> None:
    with serving(Scripted(ANSWER, ANSWER)) as script:
        script.close_after = True
        asked = Asked(script.url)
        asked.asker.ask(HI)
        asked.asker.ask(HI)
        asked.asker.close()
        assert [sample.outcome for sample in asked.samples] == ["ok", "ok"]
        assert script.connections == 2


@pytest.mark.parametrize(
    ("reply", "error_type"),
    [
        ((429, '{"error": {"message": "full"}}'), "OverloadedError"),
        ((503, '{"error": {"message": "full"}}'), "OverloadedError"),
        ((400, '{"error": {"message": "no"}}'), "InvalidRequestError"),
        ((500, "oh"), "ServerError"),
        ([chunk(1, content="It"), b'data: {"error": {"message": "oh", "code": "internal"}}\n\n'], "ServerError"),
        ([chunk(1, content="It")], "ServerUnavailableError"),
    ],
)
def test_a_failure_is_a_sample_and_not_tried_again(reply: Any, error_type: str) -> None:
    with serving(Scripted(reply, ANSWER)) as script:
        asked = Asked(script.url)
        assert asked.asker.ask(HI) is None
        assert len(script.requests) == 1
    (sample,) = asked.samples
    assert (sample.outcome, sample.error_type) == ("error", error_type)
    assert sample.output_tokens == len(sample.arrivals) == isinstance(reply, list)


def test_nobody_there() -> None:
    asked = Asked("http://127.0.0.1:9/v1")
    asked.asker.ask(HI)
    assert (asked.samples[0].outcome, asked.samples[0].error_type) == ("error", "ServerUnavailableError")


def test_a_user_who_leaves_closes_the_connection() -> None:
    with serving(Scripted([chunk(1, content="It")], hang=True)) as script:
        asked = Asked(script.url)
        asked.asker.ask(RequestSpec(messages=HI.messages, cancel_after_s=0.1))
        wait_until(lambda: script.lost == 1)
    (sample,) = asked.samples
    assert (sample.outcome, sample.error_type, sample.output_tokens) == ("cancelled", "", 1)


def test_cutting_ends_all_that_is_on_its_way_also_before_the_first_byte() -> None:
    with serving(Scripted(ANSWER, ANSWER, pause_s=0.5)) as script:
        asked = Asked(script.url)
        threads = [threading.Thread(target=asked.asker.ask, args=[HI]) for _ in range(2)]
        for thread in threads:
            thread.start()
        wait_until(lambda: len(script.requests) == 2)
        asked.asker.cut()
        for thread in threads:
            thread.join(30)
        assert [sample.outcome for sample in asked.samples] == ["incomplete"] * 2
        wait_until(lambda: script.lost == 2)


def test_a_deadline_is_an_error_of_its_own() -> None:
    with serving(Scripted([chunk(1, content="It")], hang=True)) as script:
        asked = Asked(script.url)
        asked.asker.ask(RequestSpec(messages=HI.messages, options={"timeout_ms": 100}))
        wait_until(lambda: script.lost == 1)
    assert (asked.samples[0].outcome, asked.samples[0].error_type) == ("error", "RequestTimeoutError")


def test_the_key_comes_from_a_file_or_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("NEMOTRON_API_KEY", "OPENAI_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    url = "http://127.0.0.1:9/v1"
    assert "authorization" not in OpenAIServer((url,), OpenAI()).headers("r")
    monkeypatch.setenv("OPENAI_API_KEY", "second")
    assert OpenAIServer((url,), OpenAI()).headers("r")["authorization"] == "Bearer second"
    monkeypatch.setenv("NEMOTRON_API_KEY", "first")
    assert OpenAIServer((url,), OpenAI()).headers("r")["authorization"] == "Bearer first"
    (tmp_path / "key").write_text("# of the test server\n\n  of-the-file \nanother\n")
    way = OpenAI(api_key_file=str(tmp_path / "key"))
    assert OpenAIServer((url,), way).headers("r")["authorization"] == "Bearer of-the-file"
    (tmp_path / "key").write_text("# none\n")
    with pytest.raises(ScenarioError, match="no key in it"):
        OpenAIServer((url,), way)
    with pytest.raises(ScenarioError, match="nowhere"):
        OpenAIServer((url,), OpenAI(api_key_file=str(tmp_path / "nowhere")))


def test_a_trial_request_finds_the_model_and_what_the_server_refuses() -> None:
    refusal = (400, '{"error": {"message": "chat_template_kwargs is not known"}}')
    with serving(Scripted(ANSWER, refusal, (429, "full"))) as script:
        scenario = Scenario(url=script.url, user="openai_stream")
        server = servers.connect(scenario, HI)
        assert isinstance(server, OpenAIServer)
        assert (server.model, server.urls) == ("first", (script.url,))
        assert script.requests[-1][2]["model"] == "first"
        with pytest.raises(ScenarioError, match=r"chat_template_kwargs is not known.*openai"):
            servers.connect(scenario, HI)
        servers.connect(scenario, HI)  # a full server is there


def test_a_server_that_is_not_there_yet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(servers, "_READY_S", 0.2)
    with pytest.raises(UnreachableError, match=r"http://127\.0\.0\.1:9/v1"):
        servers.connect(Scenario(url="http://127.0.0.1:9/v1", user="openai_stream"), HI)
    loading = [(503, '{"error": {"message": "Loading model", "type": "unavailable_error"}}')] * 100
    with serving(Scripted(*loading)) as script, pytest.raises(UnreachableError, match="Loading model"):
        servers.connect(Scenario(url=script.url, user="openai_stream"), HI)


@pytest.mark.parametrize(
    ("url", "message"),
    [
        (None, "--url"),
        ("grpc://h:1", "http://HOST:PORT/v1"),
        (("http://h:1/v1", "http://h:2"), "http://h:2 does not go with"),
        ("https://me:secret@h/v1", "--api-key-file"),
    ],
)
def test_a_url_that_does_not_go_with_the_user(url: Any, message: str) -> None:
    with pytest.raises(LoadTestError, match=message) as error:
        servers.servers(Scenario(url=url, user="openai_stream"))
    assert "secret" not in str(error.value)


def test_metrics_are_beside_the_api(monkeypatch: pytest.MonkeyPatch) -> None:
    url = "http://127.0.0.1:9/v1"
    monkeypatch.delenv("NEMOTRON_OPENAI_URL", raising=False)
    with servers.client_for_metrics(url) as client:
        assert client.metrics_url == "http://127.0.0.1:9/metrics"
        assert client.urls == (url,)
    # What nemotron-serve says of its front, which has no figures of the engine.
    monkeypatch.setenv("NEMOTRON_OPENAI_URL", url)
    monkeypatch.setenv("NEMOTRON_METRICS_URL", "http://127.0.0.1:8/metrics")
    with servers.client_for_metrics(url) as client:
        assert client.metrics_url == "http://127.0.0.1:8/metrics"
