"""A tiny model repository with the outer contract of the real one, a package to go with it, and servers of both."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest

from nemotron_serving.launcher.options import ServeOptions
from nemotron_serving.package import (
    SCHEMA_VERSION,
    EngineSpec,
    Limits,
    Manifest,
    SamplingDefaults,
    ServingConfig,
    ThinkingPolicy,
    write_package,
)
from tests.running import end
from tests.waiting import wait_until

FREE_PORTS = ("--http-port", "0", "--grpc-port", "0", "--metrics-port", "0")
_NEMOTRON_SERVE = Path(sys.executable).parent / "nemotron-serve"

_CONFIG = """
backend: "python"
max_batch_size: 1
model_transaction_policy { decoupled: true }
instance_group [ { count: 1 kind: KIND_CPU } ]
input [
  { name: "text_input" data_type: TYPE_STRING dims: [1] },
  { name: "max_tokens" data_type: TYPE_INT32 dims: [1] },
  { name: "stream" data_type: TYPE_BOOL dims: [1] optional: true }
]
output [ { name: "text_output" data_type: TYPE_STRING dims: [1] } ]
"""

# Answers max_tokens words, one each 50 ms, after the first at once.
_MODEL = """
import threading, time
import numpy as np
import triton_python_backend_utils as pb_utils
from nemotron_serving.heartbeat import Heartbeat
from nemotron_serving.host import HostOptions, RuntimeDir
from nemotron_serving.metrics import IN_FLIGHT

class TritonPythonModel:
    def initialize(self, args):
        directory = HostOptions.from_environment().runtime_dir
        self.runtime_dir = RuntimeDir(directory)
        self.heartbeat = Heartbeat(directory, "ensemble")
        self.family = pb_utils.MetricFamily(
            name=IN_FLIGHT, description="requests", kind=pb_utils.MetricFamily.GAUGE
        )
        self.gauge = self.family.Metric(labels={"model": "ensemble"})

    def finalize(self):
        self.heartbeat.close()
        del self.gauge, self.family

    def execute(self, requests):
        for request in requests:
            sender = request.get_response_sender()
            if self.runtime_dir.draining():
                error = pb_utils.InferenceResponse(error=pb_utils.TritonError("draining, try again"))
                sender.send(error, flags=pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL)
            else:
                self.gauge.increment(1)
                threading.Thread(target=self.answer, args=(request, sender), daemon=True).start()

    def answer(self, request, sender):
        words = int(pb_utils.get_input_tensor_by_name(request, "max_tokens").as_numpy().flat[0])
        stream = pb_utils.get_input_tensor_by_name(request, "stream")
        for word in range(words):
            if word:
                time.sleep(0.05)
            if self.runtime_dir.cancelling():
                break
            if stream is not None:
                sender.send(self.text("word "))
        # Not before it is over: this is what the launcher waits for.
        if stream is not None:
            sender.send(flags=pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL)
        else:
            sender.send(self.text("word " * words), flags=pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL)
        self.gauge.increment(-1)

    def text(self, text):
        return pb_utils.InferenceResponse([pb_utils.Tensor("text_output", np.array([[text]], dtype=np.object_))])
"""


@dataclass(frozen=True)
class Running:
    """A nemotron-serve that a test started.

    Attributes:
        process: Its process; stdout and stderr go to `output`.
        ready_file: Its --ready-file.
        output: What it said so far.
    """

    process: subprocess.Popen[bytes]
    ready_file: Path
    output: Path

    @property
    def info(self) -> dict[str, Any]:
        info: dict[str, Any] = json.loads(self.ready_file.read_text())
        return info

    @property
    def restarts(self) -> int:
        """How often it was restarted; 0 while it is down."""
        return int(self.info["restarts"]) if self.ready_file.exists() else 0

    @property
    def grpc_address(self) -> str:
        return str(self.info["grpc_url"]).partition("://")[2]

    def wait_ready(self) -> None:
        wait_until(lambda: self.ready_file.exists() or self.process.poll() is not None, 60)
        assert self.ready_file.exists(), self.output.read_text()


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """One model, named as callers expect it."""
    root = tmp_path / "models"
    (root / "ensemble" / "1").mkdir(parents=True)
    (root / "ensemble" / "config.pbtxt").write_text(_CONFIG)
    (root / "ensemble" / "1" / "model.py").write_text(_MODEL)
    return root


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A package whose content the tiny model never reads."""
    root = tmp_path / "package"
    (root / "engine").mkdir(parents=True)
    (root / "tokenizer.json").write_text("{}")
    greedy = SamplingDefaults()
    serving = ServingConfig(
        model_name="tiny",
        chat_format="chatml",
        default_system_prompt="",
        stop_token_ids=(0,),
        max_tokens=8,
        sampling_on=greedy,
        sampling_off=greedy,
        thinking=ThinkingPolicy(False, "", "", None, 1),
        limits=Limits(64, 4096, 4, 4, 60_000),
    )
    engine = EngineSpec("simulated", "1.0", "cpu", "any", "none")
    write_package(root, Manifest(SCHEMA_VERSION, "tiny", "test", {}, engine, {}), serving)
    return root


@pytest.fixture
def options(package: Path, repository: Path) -> ServeOptions:
    """The tiny model on free ports."""
    return ServeOptions(package=package, model_repository=repository, http_port=0, grpc_port=0, metrics_port=0)


@pytest.fixture
def start(package: Path, repository: Path, tmp_path: Path) -> Iterator[Callable[..., Running]]:
    """Starts `nemotron-serve` with further arguments; ends it, and looks for what it left, after the test."""
    with ExitStack() as stack:
        yield lambda *arguments: stack.enter_context(
            _running(tmp_path, [str(_NEMOTRON_SERVE), str(package), "--model-repository", str(repository), *arguments])
        )


@contextmanager
def _running(directory: Path, command: list[str]) -> Iterator[Running]:
    ready_file, output = directory / "ready.json", directory / "output"
    at = command.index("--") if "--" in command else len(command)
    command[at:at] = ["--ready-file", str(ready_file), *(() if "--http-port" in command else FREE_PORTS)]
    with output.open("wb") as file:
        process = subprocess.Popen(command, stdout=file, stderr=file)
    try:
        yield Running(process, ready_file, output)
    finally:
        end(process)
        wait_until(lambda: not left_behind(directory), 20)


def left_behind(directory: Path) -> list[str]:
    """Command lines of processes that serve the repository or package below `directory`."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get("NEMOTRON_PACKAGE", "").startswith(str(directory)):
                found.append(" ".join(process.cmdline()))
        except psutil.Error:
            continue
    return found
