"""nemotron-serve as a person or a script runs it: crashes, signals, COMMAND, exit statuses."""

from __future__ import annotations

import os
import signal
import socket
import sys
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from nemotron_serving.launcher.errors import RestartError
from nemotron_serving.launcher.options import ServeOptions
from nemotron_serving.launcher.policy import RestartPolicy
from nemotron_serving.launcher.supervise import Supervisor
from nemotron_serving.package import Package
from tests.running import end
from tests.waiting import allowed, wait_until

from .conftest import Running, left_behind
from .streams import open_stream

Start = Callable[..., Running]


def test_a_killed_engine_process_restarts_the_server(start: Start, repository: Path) -> None:
    model = repository / "ensemble" / "1" / "model.py"
    engine = "        import subprocess; self.engine = subprocess.Popen(['sleep', '60'])\n\n    def finalize"
    model.write_text(model.read_text().replace("    def finalize", engine, 1))
    server = start()
    server.wait_ready()
    (worker,) = psutil.Process(server.info["model_pids"]["ensemble"]).children()
    worker.kill()
    wait_until(lambda: server.restarts == 1, 60)
    assert "a process that model 'ensemble' had started died" in server.output.read_text()


def test_it_gives_up_with_the_reason(options: ServeOptions, repository: Path, package: Path, tmp_path: Path) -> None:
    """A model that dies once, and does not start any more."""
    model, marker = repository / "ensemble" / "1" / "model.py", tmp_path / "started"
    crash = f"""        import os, pathlib
        if (marker := pathlib.Path({str(marker)!r})).exists():
            raise RuntimeError("the device is gone")
        marker.touch()
        threading.Timer(2.0, os._exit, [3]).start()

    def finalize"""
    model.write_text(model.read_text().replace("    def finalize", crash, 1))
    supervisor = Supervisor(Package.load(package), options, policy=RestartPolicy(most_failed_starts=2))
    with pytest.raises(RestartError, match=r"2 times in a row.*\n.*model 'ensemble': RuntimeError: the device is gone"):
        supervisor.run([])
    assert not left_behind(tmp_path)


def test_a_start_that_waited_too_long_for_a_lock_is_repeated(start: Start, repository: Path, tmp_path: Path) -> None:
    """Once: a machine that stays too busy cannot serve."""
    model, marker = repository / "ensemble" / "1" / "model.py", tmp_path / "starts"
    abort = f"""        import os, signal
        with open({str(marker)!r}, "a") as starts:
            starts.write("x")
        if len(open({str(marker)!r}).read()) in (1, 3, 4):
            os.write(2, b"  what():  boost::interprocess::lock_exception\\n")
            os.kill(os.getppid(), signal.SIGABRT)

    def finalize"""
    model.write_text(model.read_text().replace("    def finalize", abort, 1))
    server = start()
    server.wait_ready()
    assert "Starting once more" in server.output.read_text()
    end(server.process)
    server = start()
    assert server.process.wait(allowed(20)) == 1
    assert "lock_exception" in server.output.read_text()
    assert len(marker.read_text()) == 4


def test_sigterm_lets_a_stream_finish_and_refuses_new_requests(start: Start) -> None:
    server = start()
    server.wait_ready()
    address = server.grpc_address
    with open_stream(address, 100) as stream:
        stream.first()
        server.process.send_signal(signal.SIGTERM)
        wait_until(lambda: "Draining" in server.output.read_text())
        with open_stream(address, 1) as refused:
            _, error = refused.end(timeout=60)
            assert "draining" in str(error)
        count, error = stream.end(timeout=60)
        assert (count, error) == (99, None)
    assert server.process.wait(60) == 0
    said = server.output.read_text()
    assert "Draining: 1 request running" in said
    assert not server.ready_file.exists()


def test_what_does_not_finish_in_the_drain_time_is_cancelled(start: Start) -> None:
    server = start("--drain-seconds", "0.5")
    server.wait_ready()
    with open_stream(server.grpc_address, 1000) as stream:
        stream.first()
        server.process.send_signal(signal.SIGTERM)
        _, error = stream.end(timeout=40)
        assert error is None, "the model ended it, the server did not drop it"
    assert server.process.wait(60) == 0
    assert "1 request still running after 0.5 s: cancelled." in server.output.read_text()


def test_a_second_signal_stops_at_once(start: Start) -> None:
    server = start()
    server.wait_ready()
    with open_stream(server.grpc_address, 1000) as stream:
        stream.first()
        server.process.send_signal(signal.SIGINT)
        wait_until(lambda: "Draining" in server.output.read_text(), allowed(5))
        server.process.send_signal(signal.SIGINT)
        assert server.process.wait(allowed(5)) == 130


def test_a_signal_before_it_is_ready(start: Start, repository: Path) -> None:
    model = repository / "ensemble" / "1" / "model.py"
    model.write_text(model.read_text().replace("    def finalize", "        time.sleep(60)\n\n    def finalize"))
    server = start()
    wait_until(lambda: bool(left_behind(model.parents[3])), 60)
    server.process.send_signal(signal.SIGTERM)
    assert server.process.wait(allowed(5)) == 143


def test_a_killed_launcher_leaves_nothing_behind(start: Start, tmp_path: Path) -> None:
    server = start()
    server.wait_ready()
    runtime_dir = Path(server.info["runtime_dir"])
    assert left_behind(tmp_path)
    server.process.kill()
    wait_until(
        lambda: not left_behind(tmp_path) and not runtime_dir.exists() and not server.ready_file.exists(), allowed(5)
    )
    assert not list(Path("/dev/shm").glob(f"{runtime_dir.name}*"))  # noqa: S108


def test_a_taken_port(start: Start) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        server = start("--http-port", str(port), "--grpc-port", "0", "--metrics-port", "0")
        assert server.process.wait(allowed(10)) == 2
    said = server.output.read_text()
    assert f"Port {port} is taken by " in said
    assert f"(process {os.getpid()})" in said
    assert "--http-port 0" in said


def test_a_front_that_does_not_start(start: Start) -> None:
    server = start("--openai-port", "0", "--openai-options=--no-such-option")
    assert server.process.wait(90) == 2
    assert "front of --openai-port did not start:" in server.output.read_text()
    assert "--no-such-option" in server.output.read_text()


def test_an_altered_package_is_refused(start: Start, package: Path) -> None:
    (package / "tokenizer.json").write_text("[]")
    server = start()
    assert server.process.wait(allowed(10)) == 2
    assert "tokenizer.json was altered" in server.output.read_text()


def test_command(start: Start) -> None:
    script = (
        "import os, sys, urllib.request as u; print(sorted(n for n in os.environ if n.startswith('NEMOTRON_'))); "
        "print(u.urlopen(os.environ['NEMOTRON_OPENAI_URL'].replace('/v1', '/health')).status); "
        "print('umask', os.umask(0)); sys.exit(7)"
    )
    server = start("--openai-port", "0", "--", sys.executable, "-c", script)
    assert server.process.wait(90) == 7, server.output.read_text()
    names = [f"NEMOTRON_{what}URL" for what in ("HEALTH_", "HTTP_", "METRICS_", "OPENAI_", "")]
    assert f"{names}\n200\n" in server.output.read_text()
    ours = os.umask(0)
    os.umask(ours)
    assert f"umask {ours}" in server.output.read_text(), "the server's files are private, not the command's"


def test_sigterm_ends_the_command_too(start: Start) -> None:
    server = start("--", "sleep", "60")
    server.wait_ready()
    wait_until(lambda: "Serving" in server.output.read_text(), allowed(5))
    server.process.send_signal(signal.SIGTERM)
    assert server.process.wait(allowed(10)) == 143
