"""A server's life: start, announce, watch, restart after a crash, drain, stop."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TextIO

from nemotron_serving.launcher.child import ChildCommand
from nemotron_serving.launcher.console import complain, say
from nemotron_serving.launcher.drain import drain
from nemotron_serving.launcher.errors import RestartError, SetupError, StartError
from nemotron_serving.launcher.health import Phase, ServerState
from nemotron_serving.launcher.options import ServeOptions
from nemotron_serving.launcher.policy import RestartPolicy
from nemotron_serving.launcher.ports import Endpoints
from nemotron_serving.launcher.prepare import about
from nemotron_serving.launcher.ready_file import ReadyFile
from nemotron_serving.launcher.server import TritonServer
from nemotron_serving.launcher.stop_signals import StopRequested, StopSignals
from nemotron_serving.package import Package

_WATCH_S = 0.25
_SAFER_TRITON = (2, 68)  # 26.04: mended what a caller does by mistake to 2.51; see docs/security.md for the rest


@dataclass
class Supervisor:
    """Serves one package until it is told to stop.

    Attributes:
        package: The package, loaded and checked.
        options: How to serve it.
        endpoints: Where to listen, as `choose_endpoints` made them of the options; None chooses at the start.
        state: Told where the server is in its life, for the health port.
        drain_seconds: Time that running requests get when the server stops.
        ready_file: Where to tell that the server is ready; None tells nobody.
        log_stream: Gets Triton's log as it is written.
        policy: When to restart.
    """

    package: Package
    options: ServeOptions
    endpoints: Endpoints | None = None
    state: ServerState = field(default_factory=ServerState)
    drain_seconds: float = 30.0
    ready_file: Path | None = None
    log_stream: TextIO | None = None
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
        """
        ready_file = ReadyFile(self.ready_file)
        with StopSignals() as signals:
            try:
                with TritonServer(
                    self.options,
                    endpoints=self.endpoints,
                    gpu=self.package.manifest.engine.device != "cpu",
                    max_in_flight=self.package.serving.limits.max_in_flight,
                    about=about(self.package),
                    sleep=signals.sleep,
                    log_stream=self.log_stream,
                    remove=[self.ready_file] if self.ready_file else [],
                ) as server:
                    return self._serve(server, ready_file, command)
            except StopRequested as stop:
                say("Stopped at once.")
                return stop.exit_status
            finally:
                ready_file.remove()

    def _serve(self, server: TritonServer, ready_file: ReadyFile, command: list[str]) -> int:
        self.state.enter(Phase.SERVING)
        ready_file.write(server, restarts=0)
        self._announce(server, command)
        child = ChildCommand(command, server.endpoints.environment) if command else None
        try:
            try:
                status = self._watch(server, ready_file, child)
            except StopRequested as stop:
                status = self._end(child, stop, server) if child else 0
        except BaseException:
            if child:
                child.kill()
            raise
        began = time.monotonic()
        # Before the first request is refused: whoever is told here sends none.
        self.state.enter(Phase.DRAINING)
        ready_file.remove()
        drained = drain(server, self.drain_seconds)
        server.stop()
        if not child:
            say(
                f"{'Stopped' if drained else 'Stopped with requests cancelled'} after {time.monotonic() - began:.1f} s."
            )
        return status

    def _end(self, child: ChildCommand, stop: StopRequested, server: TritonServer) -> int:
        say(f"Waiting for COMMAND to end, up to {self.drain_seconds:g} s")
        return child.end(stop.number, self.drain_seconds, server.sleep)

    def _watch(self, server: TritonServer, ready_file: ReadyFile, child: ChildCommand | None) -> int:
        """Keep the server running until the command has ended; returns its status."""
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
                if self._restart(server, reason, child):
                    restarts += 1
                    self.state.enter(Phase.SERVING)
                    try:
                        ready_file.write(server, restarts)
                    except SetupError as error:
                        complain(f"{error} The server goes on without it.")

    def _restart(self, server: TritonServer, reason: str, child: ChildCommand | None) -> bool:
        """Kill what is left of the server and start it again; returns False if the command ended first."""
        server.kill()  # at once: its callers wait for a process that is no more
        delay: float | None = self.policy.crashed()
        while delay is not None:
            say(f"Restarting {f'in {delay:g} s' if delay else 'now'}: {_sentence(reason)}")
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
            f"{_sentence(reason)}"
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

    def _announce(self, server: TritonServer, command: list[str]) -> None:
        engine, urls = self.package.manifest.engine, server.endpoints
        say(
            f"Serving {self.package.manifest.name} on {engine.kind}, {engine.precision} — "
            f"ready in {server.ready_after_s:.1f} s\n"
            f"  gRPC     {urls.grpc_url}\n  HTTP     {urls.http_url}\n  metrics  {urls.metrics_url}\n"
            f"  health   {urls.health_url}/ready"
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
            say(
                f"Try:\n  curl -s {urls.http_url}/v2/models/ensemble/generate "
                """-d '{"text_input": "What is the capital of France?", "max_tokens": 64}'\n"""
                "Stop with ctrl-C."
            )


def _sentence(text: str) -> str:
    return text if text.endswith((".", "?")) else f"{text}."
