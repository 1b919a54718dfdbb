"""The front with OpenAI's API: a process beside Triton that is started with it, kept running, and ended behind it.

Its death is no reason to restart Triton, nor the other way round: it finds Triton again at the same address. The room
`front` is not imported here; what is known of it is its command line and its ready file.
"""

from __future__ import annotations

import http.client
import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from http import HTTPStatus
from pathlib import Path
from types import TracebackType
from typing import Any, TextIO
from urllib.parse import urlsplit

from nemotron_serving.heartbeat import Pulse
from nemotron_serving.launcher.endpoints import Endpoints, Probe
from nemotron_serving.launcher.errors import CrashError, SetupError
from nemotron_serving.launcher.options import ADMIN_KEY_VARIABLE, ServeOptions
from nemotron_serving.launcher.policy import RestartPolicy
from nemotron_serving.launcher.processes import Guard, Turns, how_it_ended, stopped
from nemotron_serving.launcher.terminal import say, write
from nemotron_serving.launcher.triton_log import TritonLog
from nemotron_serving.launcher.watchdog import PROBES, Watchdog

_LOG_NAME = "front.log"
_START_S = 60.0  # a second, mostly
_POLL_S = 0.05
_CONNECT_S = 5.0  # half a second, mostly
_PROBE_S = 1.0
_LIVE_PATH, _READY_PATH = "/v1/health/live", "/v1/health/ready"
END_S = 5.0
"""Time for the last bytes of answers that have ended, when a front is to end."""


class Front:
    """A nemotron-front, as a context manager: it listens on entry, and is gone with what it started on exit.

    Args:
        options: What to serve and how.
        endpoints: Where Triton and the front listen.
        runtime_dir: Where its ready file goes, and its log unless `options` names a directory.
        drain_seconds: Time that running requests get when the server stops; the front waits for what that brings.
        drain_delay_seconds: Time before that for which new requests are taken.
        restarts: Whether it is started again where it dies or hangs; else `look` raises then.
        sleep: Waits some seconds. An exception from it ends any wait in here.
        log_stream: Gets its log as it is written.

    Attributes:
        listens: Whether callers reach it.
        url: Where they find OpenAI's API, such as http://127.0.0.1:9000/v1.
    """

    def __init__(
        self,
        options: ServeOptions,
        endpoints: Endpoints,
        runtime_dir: Path,
        *,
        drain_seconds: float,
        drain_delay_seconds: float,
        restarts: bool = True,
        sleep: Callable[[float], None] = time.sleep,
        log_stream: TextIO | None = None,
    ) -> None:
        self._restarts = restarts
        self._sleep = sleep
        self._log_stream = log_stream
        self._ready_file = runtime_dir / "front.json"
        # Callers choose its certificate for their own names for the server: the front takes the way without one.
        triton = endpoints.http_url if endpoints.tls else endpoints.grpc_url
        self._command = [
            *(*front_program(), triton, "--bind", endpoints.bind),
            # Requests that Triton cancels at the end of this time still get their answer.
            *("--drain-seconds", f"{drain_seconds + END_S:g}", "--drain-delay-seconds", f"{drain_delay_seconds:g}"),
            *("--hang-seconds", f"{options.hang_seconds:g}"),  # of one worker of several, which it looks for itself
            *options.openai_options,
            *("--port", str(endpoints.openai_port), "--ready-file", str(self._ready_file)),
        ]
        self._log = TritonLog((options.log_dir or runtime_dir) / _LOG_NAME)
        self._guard = Guard(f"{runtime_dir.name}-front-")
        self._policy = RestartPolicy()
        self._process: subprocess.Popen[bytes] | None = None
        self._hang_seconds = options.hang_seconds
        self._hang_watch: _FrontWatch | None = None
        self._start_at = 0.0  # the next start, or the latest
        self._ends = False
        self.listens = False
        self.url = ""

    @property
    def about(self) -> dict[str, Any]:
        """What the ready file says of it."""
        return {"openai_url": self.url, "front_pid": None if self._process is None else self._process.pid}

    @property
    def environment(self) -> Mapping[str, str]:
        """Its URL as a variable for a COMMAND."""
        return {"NEMOTRON_OPENAI_URL": self.url}

    def look(self) -> None:
        """See how it is, and start it again where it died or hangs. To be called a few times a second.

        Raises:
            CrashError: it died or hangs, and is not to be started again. Nothing of it is left running.
        """
        if not self._ends:
            if reason := self._death() or self._hang():
                said = "" if self.listens else self._said()
                self._kill()
                if not self._restarts:
                    self._ends = True
                    raise CrashError(f"the front of --openai-port: {reason}")
                delay = self._policy.crashed()
                self._start_at = time.monotonic() + delay
                say(f"Restarting the front {f'in {delay:g} s' if delay else 'now'}: {reason}.{said}")
            if self._process is None and time.monotonic() >= self._start_at:
                try:
                    self._start()
                except OSError as error:  # there is not what it takes to start a process
                    self._start_at = time.monotonic() + self._policy.crashed()
                    say(f"The front cannot be started: {error}.")
            if not self.listens and self._read_ready_file():
                self._policy.started()
                say("The front serves again.")
        self._guard.renew()
        self._copy_log()

    def wait_until_connected(self) -> bool:
        """Wait until it has found Triton, which was started behind it: until then it answers 503.

        Returns:
            Whether it has. It asks again within half a second, so what keeps it from Triton for longer is no reason to
            hold back the server from its other callers.
        """
        until = time.monotonic() + _CONNECT_S
        while not self.is_connected():
            if time.monotonic() > until:
                say(f"The front does not find Triton yet, and /ready says no until it does. Its log: {self._log.path}")
                return False
            self._wait()
        return True

    def is_connected(self) -> bool:
        """Whether it says that requests would be answered."""
        if not self.listens:
            return False
        address = urlsplit(self.url)
        connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=_PROBE_S)
        try:
            connection.request("GET", _READY_PATH)
            return connection.getresponse().status == HTTPStatus.OK
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    def drain(self) -> None:
        """Have it refuse new requests, after the delay, and end when none runs any more. It is not started again."""
        self._ends = True
        if self._process is not None:
            self._process.terminate()

    def end(self) -> None:
        """Wait for its end after a drain, but not for long, and kill what is left."""
        until = time.monotonic() + END_S
        while self._process is not None and self._process.poll() is None and time.monotonic() < until:
            self._wait()
        self._kill()

    def __enter__(self) -> Front:
        """Start it, before Triton: what is wrong with its options is said at once.

        Raises:
            SetupError: it does not start, for a reason of its own that is told.
        """
        try:
            self._start()
            until = time.monotonic() + _START_S
            while not self._read_ready_file():
                reason = self._death()
                if reason is not None or time.monotonic() > until:
                    said = self._log.since_mark().strip() or reason or "it does not listen"
                    raise SetupError(f"The front of --openai-port did not start:\n{said}")
                self._wait()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Kill it at once, if it still runs."""
        self._kill()
        self._guard.close()

    def _start(self) -> None:
        self._log.mark()
        self._start_at = time.monotonic()
        # Callers reach it: what it needs no secret for, it does not have.
        environment = {name: value for name, value in os.environ.items() if name != ADMIN_KEY_VARIABLE}
        with self._log.append() as log:
            self._process = self._guard.popen(self._command, environment=environment, output=log.fileno())

    def _death(self) -> str | None:
        status = None if self._process is None else self._process.poll()
        return None if status is None else f"it {how_it_ended(status)}"

    def _hang(self) -> str | None:
        """What makes no progress, as a clause; None while nothing hangs, or where nobody looks for that."""
        if self._process is None:
            return None
        if not self.listens:
            return f"it did not listen within {_START_S:g} s" if time.monotonic() > self._start_at + _START_S else None
        return self._hang_watch.look() if self._hang_watch else None

    def _said(self) -> str:
        """What it wrote last, behind a sentence: why it does not start, mostly."""
        lines = self._log.since_mark().strip().splitlines()
        return f"\n  {lines[-1]}" if lines else ""

    def _read_ready_file(self) -> bool:
        if self._process is not None and self._ready_file.exists():
            self.url = json.loads(self._ready_file.read_text())["openai_url"]
            self.listens = True
            if self._hang_seconds:
                self._hang_watch = _FrontWatch(self.url, self._process.pid, self._hang_seconds)
        return self.listens

    def _kill(self) -> None:
        """End it and its workers."""
        if self._hang_watch is not None:
            self._hang_watch.close()
            self._hang_watch = None
        if self._process is not None:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._guard.forget()
            self._ready_file.unlink(missing_ok=True)  # one that was killed has left it
        self._process, self.listens = None, False
        self._copy_log()

    def _wait(self) -> None:
        self._sleep(_POLL_S)
        self._copy_log()

    def _copy_log(self) -> None:
        if self._log_stream is not None:
            write(self._log_stream, self._log.new_text())
        self._log.shorten()


def front_program() -> list[str]:
    """What starts a front: the module of this Python, or where that has none, the program on PATH.

    The image for GPUs has it in a place of its own, for TensorRT-LLM's libraries are of other versions.
    """
    program = None if importlib.util.find_spec("nemotron_front") else shutil.which("nemotron-front")
    return [program] if program else [sys.executable, "-m", "nemotron_front"]


class _FrontWatch:
    """Watches one start of a front, from when it listens until it is closed, by the rules of a `Watchdog`.

    Args:
        url: Where it listens.
        pid: Its first process, which may have workers that answer in its place.
        hang_seconds: See `Watchdog`.
    """

    def __init__(self, url: str, pid: int, hang_seconds: float) -> None:
        address = urlsplit(url)
        self._probe = Probe(
            address.hostname or "",
            address.port or 0,
            _LIVE_PATH,
            pause_s=hang_seconds / PROBES,
            answer_s=hang_seconds / 2,
        )
        self._pid = pid
        self._running = 0
        self._watchdog = Watchdog(hang_seconds, Turns(pid).withheld)

    def look(self) -> str | None:
        """What hangs, as a clause; None while all is well."""
        halted = stopped(self._pid)
        self._running += not halted
        hang = self._watchdog.look(
            {
                "its process": Pulse(True, self._running),
                "the launcher's request to it": self._probe.pulse(),
            }
        )
        return f"{hang} (stopped by a signal)" if hang and halted else hang

    def close(self) -> None:
        """Ask it no more."""
        self._probe.close()
