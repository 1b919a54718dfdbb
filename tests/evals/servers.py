"""Real servers for the end-to-end tests: nemotron-serve with OpenAI's API, from the project's own environment."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import subprocess
import sys
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.running import end
from tests.waiting import wait_until

ROOT = Path(__file__).resolve().parents[2]
SERVING = ROOT / os.environ.get("VENV", ".venv") / "bin"
"""Where nemotron-serve and nemotron-build are: the environment of `make setup`, not the one that runs these tests."""

START_S, RUN_S = 600, 1500


@dataclass(frozen=True)
class Endpoint:
    """A running server's API.

    Attributes:
        url: With `/v1`.
    """

    url: str

    @property
    def answers(self) -> int:
        """Requests for an answer that are over, however they ended."""
        with urllib.request.urlopen(f"{self.url.removesuffix('/v1')}/metrics", timeout=60) as response:
            page = response.read().decode()
        counts = re.findall(r'^nemotron_front_requests_total\{endpoint="/v1/chat/completions".*\} (\S+)$', page, re.M)
        return int(sum(map(float, counts)))


@contextlib.contextmanager
def serving(package: Path, directory: Path, *options: str) -> Iterator[Endpoint]:
    """Serve a package until the block ends, whatever happens in it."""
    ready, log = directory / "ready.json", directory / "serve.log"
    ports = [f"--{name}-port=0" for name in ("http", "grpc", "metrics", "openai")]
    command = [str(SERVING / "nemotron-serve"), str(package), *ports, "--ready-file", str(ready), *options]
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output)
        try:
            wait_until(lambda: ready.exists() or process.poll() is not None, START_S)
            assert ready.exists(), log.read_text()
            yield Endpoint(str(json.loads(ready.read_text())["openai_url"]))
        finally:
            end(process)


def simulated(directory: Path, scripts: Sequence[dict[str, Any]], *options: str) -> Path:
    """A package whose engine plays these scripts."""
    script, package = directory / "scripts.json", directory / "package"
    script.write_text(json.dumps(scripts))
    build("simulated", "-o", str(package), "--script", str(script), *options)
    return package


def demo_package() -> Path:
    """The demo package, built once and kept in packages/demo."""
    path = ROOT / "packages" / "demo"
    path.parent.mkdir(exist_ok=True)
    with (path.parent / ".demo.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        build("demo", "-o", str(path))
    return path


def build(*arguments: str) -> None:
    """Run nemotron-build."""
    ran = subprocess.run([SERVING / "nemotron-build", *arguments], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr


def command(*arguments: object) -> list[str]:
    """The command nemotron-eval."""
    return [sys.executable, "-m", "nemotron_evals", *map(str, arguments)]


def evaluate(*arguments: object) -> subprocess.CompletedProcess[str]:
    """Run nemotron-eval to its end."""
    return subprocess.run(command(*arguments), capture_output=True, text=True, timeout=RUN_S, check=False)
