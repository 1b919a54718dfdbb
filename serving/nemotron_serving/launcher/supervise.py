"""A server's life: start, announce, watch, restart after a crash, drain, stop."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import closing, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol, TextIO

from nemotron_serving.launcher.endpoints import Endpoints
from nemotron_serving.launcher.errors import CrashError, RestartError, SetupError, StartError, sentence
from nemotron_serving.launcher.front import END_S, Front
from nemotron_serving.launcher.health import Phase, ReadyFile, ServerState
from nemotron_serving.launcher.options import ServeOptions
from nemotron_serving.launcher.policy import RestartPolicy
from nemotron_serving.launcher.server import STOP_S, TritonServer
from nemotron_serving.launcher.terminal import ChildCommand, StopRequested, StopSignals, complain, say
from nemotron_serving.launcher.triton_files import about
from nemotron_serving.package import Package

Restart = Literal["always", "never"]
"""Whether what crashes or hangs is started again, or the launcher ends, for others to start all of it."""

_POLL_S = 0.1  # while draining
_CANCEL_S = 5.0  # for requests that were cancelled to end
# The models publish their count a few times a second, and a last response may be on its way.
_IDLE_S = 0.6
_WATCH_S = 0.25  # between two looks at a server that serves
_LOCK_GIVEN_UP = "interprocess::lock_exception"  # what Triton ends with where another process had a lock for 10 s
_SAFER_TRITON = (2, 68)  # 26.04: mended what a caller does by mistake to 2.51; see docs/security.md for the rest


def longest_stop_s(drain_delay_seconds: float, drain_seconds: float, *, front: bool) -> float:
    """What a stop takes at the most, in seconds, from the first signal on: a service manager's grace period.

    Args:
        drain_delay_seconds: As of --drain-delay-seconds.
        drain_seconds: As of --drain-seconds.
        front: Whether there is a front of --openai-port.
    """
    return drain_delay_seconds + drain_seconds + _CANCEL_S + (END_S if front else 0) + STOP_S


class Drainable(Protocol):
    """What draining needs of a server."""

    def take_leave(self) -> None:
        """Have the models tell that they will refuse new requests."""

    def refuse_new(self) -> None:
        """Have the models refuse new requests."""

    def cancel_running(self) -> None:
        """Have the models end what runs, with a reason."""

    def in_flight(self) -> int | None:
        """Requests the models work on; None if the server does not say, for it is gone or slow."""

    def death(self) -> str | None:
        """What is gone of its processes; None while all live."""

    def sleep(self, seconds: float) -> None:
        """Wait."""


def take_leave(server: Drainable, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
    """Take requests a while longer, until all who send some have seen that they shall not.

    Args:
        server: The server; it is not ready any more, and says so.
        seconds: Time for balancers to notice; 0 gives them none.
        clock: Gives seconds.
    """
    if not seconds or server.death() is not None:
        return
    server.take_leave()
    say(f"Not ready any more. New requests are refused in {seconds:g} s.")
    until = clock() + seconds
    while (left := until - clock()) > 0 and server.death() is None:
        server.sleep(min(left, _WATCH_S))


def drain(server: Drainable, seconds: float, clock: Callable[[], float] = time.monotonic) -> bool:
    """Refuse new requests and wait for the running ones; cancel what is left when the time is up.

    When a process of the server dies meanwhile, nothing is waited for: requests that it worked on never end.

    Args:
        server: The server; it is left running, and idle.
        seconds: Time for the running requests.
        clock: Gives seconds.

    Returns:
        Whether all ended by themselves.
    """
    server.refuse_new()
    left = _wait_idle(server, seconds, clock, f"Draining: {{}} running, up to {seconds:g} s")
    if left and (death := server.death()) is not None:
        say(f"{_requests(left)} lost while draining: {death}.")
    elif left:
        server.cancel_running()
        say(f"{_requests(left)} still running after {seconds:g} s: cancelled.")
        _wait_idle(server, _CANCEL_S, clock, None)
    return not left


def _wait_idle(server: Drainable, seconds: float, clock: Callable[[], float], progress: str | None) -> int:
    began = busy_at = clock()
    deadline = began + seconds
    said = last = 0
    while True:
        count, now = server.in_flight(), clock()
        last = last if count is None else count
        if now >= deadline or (count != 0 and server.death() is not None):
            return last
        if count != 0:
            busy_at = now
        elif now - busy_at >= _IDLE_S:
            return 0
        # Not at once: the count may be that of a moment before, with nothing left to wait for.
        if progress and count and count != said and now - began >= _IDLE_S:
            say(progress.format(_requests(count)))
            said = count
        server.sleep(_POLL_S)


def _requests(count: int) -> str:
    return f"{count} request{'' if count == 1 else 's'}"


def _first_start(server: TritonServer) -> None:
    """Once more where Triton gave up a lock: that says that the machine is too busy, not that something is wrong."""
    try:
        server.start()
    except StartError as error:
        if _LOCK_GIVEN_UP not in str(error):
            raise
        say("Starting once more: Triton gave up waiting for a lock, as it does on a machine that is too busy.")
        server.start()


@dataclass
class Supervisor:
    """Serves one package until it is told to stop.

    Attributes:
        package: The package, loaded and checked.
        options: How to serve it.
        endpoints: Where to listen, as `choose_endpoints` made them of the options; None chooses at the start.
        state: Told where the server is in its life, for the health port.
        drain_seconds: Time that running requests get when the server stops.
        drain_delay_seconds: Time for which new requests are taken when a signal stops it, though it is not ready.
        ready_file: Where to tell that the server is ready; None tells nobody.
        log_stream: Gets Triton's log as it is written.
        restart: Whether to restart.
        policy: When to restart.
    """

    package: Package
    options: ServeOptions
    endpoints: Endpoints | None = None
    state: ServerState = field(default_factory=ServerState)
    drain_seconds: float = 30.0
    drain_delay_seconds: float = 0.0
    ready_file: Path | None = None
    log_stream: TextIO | None = None
    restart: Restart = "always"
    policy: RestartPolicy = field(default_factory=RestartPolicy)

    def run(self, command: list[str]) -> int:
        """Serve, while `command` runs or until a signal comes.

        Args:
            command: Program and arguments; empty serves without one.

        Returns:
            The exit status: the command's; 0 after a drain; 128 + n when signal n ended the server at once.

        Raises:
            SetupError: the server cannot be started here, or its ready file not be written.
            StartError: the first start failed.
            RestartError: the server crashed, and could not be started again.
            CrashError: the server crashed or hangs, and is not to be started again here.
        """
        ready_file = ReadyFile(self.ready_file)
        front: Front | None = None
        with StopSignals() as signals:

            def sleep(seconds: float) -> None:
                """Whoever waits here looks after the front: a start of Triton's may take minutes."""
                signals.sleep(seconds)
                if front:
                    front.look()

            try:
                server = TritonServer(
                    self.options,
                    endpoints=self.endpoints,
                    gpu=self.package.manifest.engine.device != "cpu",
                    max_in_flight=self.package.serving.limits.max_in_flight,
                    about=about(self.package),
                    sleep=sleep,
                    log_stream=self.log_stream,
                    remove=[self.ready_file] if self.ready_file else [],
                )
                with closing(server), self._front(server) or nullcontext() as front:
                    _first_start(server)
                    return self._serve(server, front, ready_file, command, signals)
            except StopRequested as stop:
                say("Stopped at once.")
                return stop.exit_status
            finally:
                ready_file.remove()

    def _front(self, server: TritonServer) -> Front | None:
        if server.endpoints.openai_port is None:
            return None
        return Front(
            self.options,
            server.endpoints,
            server.runtime_dir,
            drain_seconds=self.drain_seconds,
            drain_delay_seconds=self.drain_delay_seconds,
            restarts=self.restart == "always",
            sleep=server.sleep,
            log_stream=self.log_stream,
        )

    def _serve(
        self,
        server: TritonServer,
        front: Front | None,
        ready_file: ReadyFile,
        command: list[str],
        signals: StopSignals,
    ) -> int:
        serves = front is None or front.wait_until_connected()
        if serves:
            self.state.enter(Phase.SERVING)
            ready_file.write(server, 0, front.about if front else {})
        else:
            self.state.enter(Phase.FRONT_APART)
        self._announce(server, front, command)
        urls = {**server.endpoints.environment, **(front.environment if front else {})}
        child = ChildCommand(command, urls) if command else None
        delay_seconds = 0 if child else self.drain_delay_seconds  # who called the command knows that it has ended
        try:
            try:
                status = self._watch(server, front, ready_file, child, serves=serves)
            except StopRequested as stop:
                status = self._end(child, stop, server) if child else 0
        except CrashError:
            if child:
                child.kill()
            signals.expect()
            self._stop(server, front, ready_file, delay_seconds)
            self.state.enter(Phase.GIVING_UP)
            raise
        except BaseException:
            if child:
                child.kill()
            raise
        began = time.monotonic()
        drained = self._stop(server, front, ready_file, delay_seconds)
        if not child:
            say(
                f"{'Stopped' if drained else 'Stopped with requests cancelled'} after {time.monotonic() - began:.1f} s."
            )
        return status

    def _stop(self, server: TritonServer, front: Front | None, ready_file: ReadyFile, delay_seconds: float) -> bool:
        """End in order what still serves; returns whether all requests ended by themselves."""
        # Before the first request is refused: whoever is told here sends none.
        self.state.enter(Phase.DRAINING)
        ready_file.remove()
        if front:
            front.drain()
        take_leave(server, delay_seconds)
        drained = drain(server, self.drain_seconds)
        if front:
            front.end()
        server.stop()
        return drained

    def _end(self, child: ChildCommand, stop: StopRequested, server: TritonServer) -> int:
        say(f"Waiting for COMMAND to end, up to {self.drain_seconds:g} s")
        return child.end(stop.number, self.drain_seconds, server.sleep)

    def _watch(
        self,
        server: TritonServer,
        front: Front | None,
        ready_file: ReadyFile,
        child: ChildCommand | None,
        *,
        serves: bool,
    ) -> int:
        """Keep the server running, and tell whether it serves, until the command has ended; returns its status."""
        restarts = 0
        while True:
            server.sleep(_WATCH_S)
            if child and (status := child.status()) is not None:
                return status
            death = server.death()
            hang = server.hang() if death is None else None
            if reason := death or hang:
                self.state.enter(Phase.HUNG if hang else Phase.RESTARTING)
                ready_file.remove()
                serves = False
                if not self._restart(server, reason, child):
                    continue
                restarts += 1
            if front and not front.listens:
                self.state.enter(Phase.FRONT_DOWN)
                ready_file.remove()
                serves = False
            elif not serves and front and not front.is_connected():
                self.state.enter(Phase.FRONT_APART)
            elif not serves:
                serves = True
                self.state.enter(Phase.SERVING)
                try:
                    ready_file.write(server, restarts, front.about if front else {})
                except SetupError as error:
                    complain(f"{error} The server goes on without it.")

    def _restart(self, server: TritonServer, reason: str, child: ChildCommand | None) -> bool:
        """Kill what is left of the server and start it again; returns False if the command ended first."""
        server.kill()  # at once: its callers wait for a process that is no more
        if self.restart == "never":
            raise CrashError(reason)
        delay: float | None = self.policy.crashed()
        while delay is not None:
            say(f"Restarting {f'in {delay:g} s' if delay else 'now'}: {sentence(reason)}")
            if self._command_ended(server, child, delay):
                return False
            try:
                server.start()
            except StartError as error:
                reason = str(error)
                # Callers that wait for the server may crash it before it has answered its first request.
                delay = self.policy.crashed() if error.reachable else self.policy.start_failed()
            else:
                self.policy.started()
                say(f"Serving again, ready in {server.ready_after_s:.1f} s.")
                return True
        self.state.enter(Phase.GIVING_UP)
        raise RestartError(
            f"The server could not be started again, {self.policy.most_failed_starts} times in a row. The last time:\n"
            f"{sentence(reason)}"
        )

    def _command_ended(self, server: TritonServer, child: ChildCommand | None, seconds: float) -> bool:
        """Wait, for the command's end at the longest."""
        until = time.monotonic() + seconds
        while child is None or child.status() is None:
            left = until - time.monotonic()
            if left <= 0:
                return False
            server.sleep(min(left, _WATCH_S))
        return True

    def _announce(self, server: TritonServer, front: Front | None, command: list[str]) -> None:
        engine, urls = self.package.manifest.engine, server.endpoints
        say(
            f"Serving {self.package.manifest.name} on {engine.kind}, {engine.precision} — "
            f"ready in {server.ready_after_s:.1f} s\n"
            f"  gRPC     {urls.grpc_url}\n  HTTP     {urls.http_url}\n  metrics  {urls.metrics_url}\n"
            f"  health   {urls.health_url}/ready"
        )
        if front:
            say(f"  OpenAI   {front.url}, with a chat page at {front.url.removesuffix('v1')}")
        if self.options.admin_key:
            say(
                "Users of this machine can read the admin key in the list of processes, and with it what others ask: "
                "set one only where nobody else has a login."
            )
        if not urls.bind.startswith("127."):
            say(
                f"Other machines reach this server on {urls.bind}. "
                f"{'' if urls.tls else 'gRPC, '}HTTP, metrics and health are open to all of them, "
                "and not encrypted: put a gateway in front."
            )
            if () < server.version < _SAFER_TRITON:
                say(
                    f"One request can end Triton {'.'.join(map(str, server.version))}, and every stream with it "
                    "(docs/security.md): serve only callers whom you trust."
                )
        if not command:
            question = '"What is the capital of France?"'
            if front:
                url, asked = f"{front.url}/chat/completions", f'"messages": [{{"role": "user", "content": {question}}}]'
            else:
                url, asked = f"{urls.http_url}/v2/models/ensemble/generate", f'"text_input": {question}'
            say(f"Try:\n  curl -s {url} -d '{{{asked}, \"max_tokens\": 64}}'\nStop with ctrl-C.")
