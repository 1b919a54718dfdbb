"""Real servers for the integration tests, on free ports: a few for all files, each started once in the whole run.

- `roomy_server`: the simulated engine with room for 300 requests, for tests of what one request gets.
- `simulated_server`: the same with 4 places, for tests that fill them.
- `front`: nemotron-front beside `roomy_server`, which every API of ours is tested through.
- `demo_server`: the real engine with the demo's model, for what only a model shows. What its tests cost is tokens: ask
  for few, and ask what does not depend on each other at once, with `generate_each` or threads, for then the model
  writes a token of each answer in little more time than one.
- `demo_front`: nemotron-front beside `demo_server`.

A test that kills, drains, or limits its server, or needs other options, starts its own with `serving`, or a front with
`fronting`, which stop it also when the test fails.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.running import end

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent
START_S = 240


@dataclass(frozen=True)
class Server:
    """A running nemotron-serve."""

    process: subprocess.Popen[bytes]
    ready_file: Path
    log: Path
    _known: dict[str, Any] = field(default_factory=dict)

    @property
    def info(self) -> dict[str, Any]:
        """What the ready file says: URLs and process ids; what it said last, once the server drains and it is gone."""
        with contextlib.suppress(FileNotFoundError):
            self._known.update(json.loads(self.ready_file.read_text()))
        return dict(self._known)  # which stays as it is when the file changes

    @property
    def grpc_url(self) -> str:
        return str(self.info["grpc_url"])

    @property
    def grpc_address(self) -> str:
        return self.grpc_url.removeprefix("grpc://")

    @property
    def http_url(self) -> str:
        return str(self.info["http_url"])

    def metric(self, name: str) -> float:
        """Sum of a metric over its labels."""
        with urllib.request.urlopen(str(self.info["metrics_url"]), timeout=60) as response:
            lines = response.read().decode().splitlines()
        return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(f"{name}{{"))

    def post(self, path: str, body: bytes | dict[str, Any], timeout: float = 60) -> tuple[int, str]:
        """POST to the HTTP endpoint: status and body, also for errors."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        request = urllib.request.Request(f"{self.http_url}{path}", data, {"Content-Type": "application/json"})
        try:
            with urllib.request.urlopen(request, timeout=timeout) as response:
                return response.status, response.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()

    def generate(self, **inputs: Any) -> dict[str, Any]:
        """One request through /generate that has to succeed."""
        status, body = self.post("/v2/models/ensemble/generate", inputs)
        assert status == 200, body
        value: dict[str, Any] = json.loads(body)
        return value

    def generate_each(self, requests: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        """The same for several requests at once; the answers in their order."""
        with ThreadPoolExecutor(len(requests)) as pool:
            return list(pool.map(lambda inputs: self.generate(**inputs), requests))


def status(url: str, method: str = "GET") -> int:
    """What a request without a body is answered with, errors too."""
    try:
        with urllib.request.urlopen(urllib.request.Request(url, method=method), timeout=60) as response:
            return int(response.status)
    except urllib.error.HTTPError as error:
        with error:
            return error.code


@dataclass(frozen=True)
class Front:
    """A running nemotron-front.

    Attributes:
        url: Where it listens, such as `http://127.0.0.1:9000`; OpenAI's clients want `/v1` behind it.
    """

    process: subprocess.Popen[bytes]
    url: str
    log: Path

    def post(self, path: str, body: bytes | dict[str, Any], timeout: float = 60) -> tuple[int, dict[str, str], str]:
        """POST: status, headers by their names in lower case, and the body, also for errors."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        request = urllib.request.Request(f"{self.url}{path}", data, {"Content-Type": "application/json"})
        try:
            response = urllib.request.urlopen(request, timeout=timeout)
        except urllib.error.HTTPError as error:
            response = error
        with response:
            headers = {name.lower(): value for name, value in response.headers.items()}
            return response.status, headers, response.read().decode()


@contextlib.contextmanager
def serving(package: Path, directory: Path, *options: str) -> Iterator[Server]:
    """Serve a package until the block ends, whatever happens in it."""
    ready, log = directory / "ready.json", directory / "serve.log"
    ports = ["--http-port", "0", "--grpc-port", "0", "--metrics-port", "0"]
    command = [str(BIN / "nemotron-serve"), str(package), *ports, "--ready-file", str(ready), "--verbose", *options]
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output)
        try:
            deadline = time.monotonic() + START_S
            while not ready.exists():
                assert process.poll() is None, log.read_text()
                assert time.monotonic() < deadline, log.read_text()
                time.sleep(0.05)
            server = Server(process, ready, log)
            assert server.info
            yield server
        finally:
            end(process)


@contextlib.contextmanager
def fronting(server: Server, directory: Path, *options: str) -> Iterator[Front]:
    """Run nemotron-front beside a server until the block ends, whatever happens in it.

    Args:
        server: What is behind it.
        directory: Gets its ready file and its log.
        options: URLs of further servers behind it, then options of its own.
    """
    ready, log = directory / "front.json", directory / "front.log"
    command = [str(BIN / "nemotron-front"), server.grpc_url, *options, "--port", "0", "--ready-file", str(ready)]
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output)
        try:
            deadline = time.monotonic() + START_S
            while not ready.exists():
                assert process.poll() is None, log.read_text()
                assert time.monotonic() < deadline, log.read_text()
                time.sleep(0.05)
            yield Front(process, json.loads(ready.read_text())["front_url"], log)
        finally:
            end(process)


@pytest.fixture(scope="session")
def demo_package() -> Path:
    """The demo package, built once and kept in packages/demo. The workers of a run ask for it at the same time."""
    path = ROOT / "packages" / "demo"
    path.parent.mkdir(exist_ok=True)
    with (path.parent / ".demo.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        subprocess.run([BIN / "nemotron-build", "demo", "-o", path], check=True, stdout=subprocess.DEVNULL)
    return path


@pytest.fixture(scope="session")
def demo_server(demo_package: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """With one thread: of two, each waits busily while another process has the core of the other."""
    with serving(demo_package, tmp_path_factory.mktemp("demo"), "--engine-threads", "1") as server:
        yield server


@pytest.fixture(scope="session")
def simulated_package(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Makes simulated packages with the options of `nemotron-build simulated`."""

    def make(*options: str) -> Path:
        path = tmp_path_factory.mktemp("package") / "simulated"
        command = [str(BIN / "nemotron-build"), "simulated", "-o", str(path), *options]
        subprocess.run(command, check=True, capture_output=True)
        return path

    return make


@pytest.fixture(scope="session")
def simulated_server(
    simulated_package: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    """A simulated engine that takes 10 ms a token, 4 requests at once and 4 more waiting."""
    package = simulated_package("--ttft-ms", "20", "--token-ms", "10", "--max-batch-size", "4", "--max-waiting", "4")
    with serving(package, tmp_path_factory.mktemp("simulated")) as server:
        yield server


@pytest.fixture(scope="session")
def roomy_server(simulated_package: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """5 ms a token, room for 300 requests at once."""
    package = simulated_package("--ttft-ms", "20", "--token-ms", "5", "--max-batch-size", "300", "--max-waiting", "64")
    with serving(package, tmp_path_factory.mktemp("roomy")) as server:
        yield server


@pytest.fixture(scope="session")
def front(roomy_server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    """Beside `roomy_server`."""
    with fronting(roomy_server, tmp_path_factory.mktemp("front")) as front:
        yield front


@pytest.fixture(scope="session")
def demo_front(demo_server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    """Beside `demo_server`."""
    with fronting(demo_server, tmp_path_factory.mktemp("demo_front")) as front:
        yield front
