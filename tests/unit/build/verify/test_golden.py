"""The golden prompts find a server that does not keep its promises, and pass one that does."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from nemotron_build.errors import BuildError, VerificationError
from nemotron_build.verify import package

Server = Callable[[dict[str, Any]], dict[str, Any]]


def good(request: dict[str, Any]) -> dict[str, Any]:
    tokens = min(request["max_tokens"], 12)
    thought = request["thinking"] and tokens > 6
    return {
        "content": "Paris.",
        "reasoning_content": "France." if thought else "",
        "finish_reason": "length" if tokens == request["max_tokens"] else "stop",
        "num_output_tokens": tokens,
        "num_reasoning_tokens": 5 if thought else 0,
        "text_output": "Paris.",
    }


@contextmanager
def served(answer: Server) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            assert self.path == "/v2/models/ensemble/generate"
            request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            body = json.dumps(answer(request)).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_a_good_server_passes(capsys: pytest.CaptureFixture[str]) -> None:
    with served(good) as url:
        assert package.main(url) == 0
    assert capsys.readouterr().out.count("ok  ") == 5


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"content": " ", "reasoning_content": ""}, "it is empty"),
        ({"reasoning_content": "hm", "num_reasoning_tokens": 3}, "it thought 3 tokens"),
        ({"num_output_tokens": 12}, "12 tokens, finish_reason"),
        ({"finish_reason": "length"}, "finish_reason is 'length' after 12 tokens"),
        ({"finish_reason": "timeout"}, "finish_reason is 'timeout'"),
        ({"content": None}, "Expected `str`, got `null`"),
    ],
)
def test_a_broken_promise_is_named(change: dict[str, Any], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    with served(lambda request: {**good(request), **change}) as url:
        assert package.main(url) == 5
    assert message in capsys.readouterr().out


def test_a_server_that_does_not_answer_fails(capsys: pytest.CaptureFixture[str]) -> None:
    assert package.main("http://127.0.0.1:9") == 5
    assert "refused" in capsys.readouterr().out


@pytest.mark.parametrize(("status", "error"), [(0, None), (5, VerificationError), (2, BuildError)])
def test_the_servers_status_decides(
    status: int, error: type[BuildError] | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "nemotron-serve"
    program.write_text(f'#!/bin/sh\necho "$@" > {tmp_path}/arguments\nexit {status}\n')
    program.chmod(0o755)
    monkeypatch.setattr("sys.executable", str(tmp_path / "python"))
    if error:
        with pytest.raises(error, match="packages/nano"):
            package.run_golden(Path("packages/nano"))
    else:
        package.run_golden(Path("packages/nano"))
    arguments = (tmp_path / "arguments").read_text().split()
    assert arguments[0] == "packages/nano"
    assert arguments[-4:] == ["--", str(tmp_path / "python"), "-m", "nemotron_build.verify.package"]
