"""Attacks on the sandbox in which the code of answers runs."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from inspect_ai.util import ExecResult

from nemotron_evals import sandbox as module
from nemotron_evals.sandbox import MIB, Bubblewrap, Limits, SandboxError, check_sandbox, seccomp_filter

# What stops an attack here is the limit in question, not the time; so the time is long.
PATIENT = Limits(wall_s=120, cpu_s=60)


@pytest.fixture
def sandbox() -> Iterator[Bubblewrap]:
    box = Bubblewrap(PATIENT)
    yield box
    box.close()


def run(box: Bubblewrap, code: str, limits: Limits | None = None) -> ExecResult[str]:
    """Run code as a command of a sandbox."""
    if limits:
        box.limits = limits
    return asyncio.run(_run(box, code))


async def _run(box: Bubblewrap, code: str) -> ExecResult[str]:
    await box.write_file("attack.py", code)
    return await box.exec(["python3", "attack.py"])


def test_code_runs_and_is_read(sandbox: Bubblewrap) -> None:
    ran = run(sandbox, "import sys, math; print(math.gcd(12, 18)); print('odd', file=sys.stderr); sys.exit(3)")
    assert (ran.stdout, ran.stderr, ran.returncode, ran.success) == ("6\n", "odd\n", 3, False)


def test_input_environment_and_directory_are_passed_on(sandbox: Bubblewrap) -> None:
    asyncio.run(sandbox.write_file("in/a.txt", "here"))
    command = ["sh", "-c", "cat; echo $GIVEN; cat a.txt"]
    ran = asyncio.run(sandbox.exec(command, input="typed\n", env={"GIVEN": "variable"}, cwd="in"))
    assert ran.stdout == "typed\nvariable\nhere"


def test_an_endless_loop_is_ended(sandbox: Bubblewrap) -> None:
    began = time.monotonic()
    with pytest.raises(TimeoutError):
        run(sandbox, "while True: pass", Limits(wall_s=2, cpu_s=100))
    assert time.monotonic() - began < 60
    assert not commands_of(sandbox)


def test_waiting_is_ended_with_all_that_was_started(sandbox: Bubblewrap) -> None:
    code = "import os, time\nos.fork(); os.setsid() if os.fork() else None\ntime.sleep(1000)"
    with pytest.raises(TimeoutError):
        run(sandbox, code, Limits(wall_s=2))
    assert not commands_of(sandbox)


def test_cpu_time_is_bounded(sandbox: Bubblewrap) -> None:
    ran = run(sandbox, "while True: pass", Limits(wall_s=200, cpu_s=1))
    assert ran.returncode != 0


def test_a_fork_bomb_is_bounded(sandbox: Bubblewrap) -> None:
    code = """
import os, time
made = 0
try:
    while made < 500:
        if os.fork() == 0:
            time.sleep(100)
            os._exit(0)
        made += 1
finally:
    print(made, flush=True)
"""
    ran = run(sandbox, code)
    assert 0 < int(ran.stdout) < PATIENT.processes
    assert "BlockingIOError" in ran.stderr
    assert not commands_of(sandbox)


def test_memory_is_bounded(sandbox: Bubblewrap) -> None:
    ran = run(sandbox, f"held = bytearray({2 * PATIENT.memory_bytes})")
    assert "MemoryError" in ran.stderr


@pytest.mark.parametrize("where", ["/tmp", "."])  # noqa: S108 - inside the sandbox
def test_the_disk_is_bounded(sandbox: Bubblewrap, where: str) -> None:
    code = f"""
total = 0
try:
    for number in range(64):
        with open(f'{where}/{{number}}', 'wb') as file:
            total += file.write(b'x' * {MIB})
finally:
    print(total, flush=True)
"""
    ran = run(sandbox, code, PATIENT.model_copy(update={"disk_bytes": 8 * MIB}))
    assert int(ran.stdout) <= 8 * MIB
    assert "No space left" in ran.stderr


WRITE = "import os; os.makedirs(os.path.dirname({path!r}), exist_ok=True); open({path!r}, 'w')"


@pytest.mark.parametrize("path", ["/new", "/usr/new", "/usr/bin/env", "/dev/shm/new", "/root/new"])  # noqa: S108
def test_nothing_outside_can_be_written(sandbox: Bubblewrap, path: str) -> None:
    ran = run(sandbox, WRITE.format(path=path))
    assert "OSError" in ran.stderr or "PermissionError" in ran.stderr
    assert path == "/usr/bin/env" or not Path(path).exists()


def test_the_environment_cannot_be_written(sandbox: Bubblewrap) -> None:
    """It may lie in /tmp, which is another one in the sandbox: then there is no error."""
    path = Path(sys.prefix, "new")
    run(sandbox, WRITE.format(path=str(path)))
    assert not path.exists()


def test_the_program_itself_cannot_be_changed(sandbox: Bubblewrap) -> None:
    ran = run(sandbox, "open(__file__, 'w')")
    assert "Error" in ran.stderr
    assert asyncio.run(sandbox.read_file("attack.py")) == "open(__file__, 'w')"


def test_what_is_written_is_gone_and_never_here(sandbox: Bubblewrap) -> None:
    assert run(sandbox, "open('mark', 'w').write('1'); print(open('mark').read())").stdout == "1\n"
    assert "FileNotFoundError" in run(sandbox, "open('mark')").stderr
    with pytest.raises(FileNotFoundError):
        asyncio.run(sandbox.read_file("mark"))


@pytest.mark.parametrize("path", ["/etc/shadow", "/etc/passwd", "/proc/1/environ", "/sys", "/run", "/var", "/home"])
def test_nothing_of_the_machine_can_be_read(sandbox: Bubblewrap, path: str) -> None:
    assert run(sandbox, f"import os; print(os.path.lexists({path!r}))").stdout == "False\n"


def test_neither_the_home_nor_this_checkout_can_be_read(sandbox: Bubblewrap, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("S")
    code = f"import os; print([os.path.exists(p) for p in {[str(secret), __file__, str(Path.home() / '.bashrc')]!r}])"
    assert run(sandbox, code).stdout == "[False, False, False]\n"


def test_variables_of_ours_are_not_passed_on(sandbox: Bubblewrap, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    assert "sk-secret" not in run(sandbox, "import os; print(dict(os.environ))").stdout
    # Not in what any process in there began with, either.
    assert not any("sk-secret" in part for part in sandbox.command(["true"]))


@pytest.mark.parametrize("address", ["('127.0.0.1', PORT)", "('1.1.1.1', 53)", "('::1', PORT)"])
def test_there_is_no_network(sandbox: Bubblewrap, address: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        target = address.replace("PORT", str(server.getsockname()[1]))
        ran = run(sandbox, f"import socket; socket.create_connection({target}, timeout=30)")
    assert "OSError" in ran.stderr or "Refused" in ran.stderr or "unreachable" in ran.stderr


def test_no_file_descriptor_of_ours_is_left_open(sandbox: Bubblewrap, tmp_path: Path) -> None:
    with (tmp_path / "ours").open("w") as ours:
        os.set_inheritable(ours.fileno(), True)
        code = """
import os
found = []
for number in range(3, 100):
    try:
        found.append((number, os.fstat(number).st_mode))
    except OSError:
        pass
print(found)
"""
        assert run(sandbox, code).stdout == "[]\n"


@pytest.mark.parametrize("target", ["os.getppid()", "1", "-1", "0"])
def test_killing_the_parent_harms_nobody(sandbox: Bubblewrap, target: str) -> None:
    run(sandbox, f"import os, signal; os.kill({target}, signal.SIGKILL)")
    assert run(sandbox, "print('fine')").stdout == "fine\n"


def test_other_processes_are_not_there(sandbox: Bubblewrap) -> None:
    code = f"import os; os.kill({os.getpid()}, 0)"
    assert "ProcessLookupError" in run(sandbox, code).stderr


def test_neither_root_nor_this_user(sandbox: Bubblewrap) -> None:
    ran = run(sandbox, "import os; print(os.getresuid() + os.getresgid(), os.getgroups()); os.setuid(0)")
    ids = ran.stdout.split("[")[0]
    assert "(0," not in ids
    assert " 0" not in ids
    assert "PermissionError" in ran.stderr or "OSError" in ran.stderr


@pytest.mark.parametrize("flag", ["CLONE_NEWUSER", "CLONE_NEWNS", "CLONE_NEWNET"])
def test_no_namespace_can_be_made(sandbox: Bubblewrap, flag: str) -> None:
    number = {"CLONE_NEWUSER": 0x10000000, "CLONE_NEWNS": 0x20000, "CLONE_NEWNET": 0x40000000}[flag]
    code = f"import ctypes; lib = ctypes.CDLL(None, use_errno=True); print(lib.unshare({number}), ctypes.get_errno())"
    assert run(sandbox, code).stdout == "-1 1\n"


def test_threads_and_processes_work_all_the_same(sandbox: Bubblewrap) -> None:
    code = """
import subprocess, threading
thread = threading.Thread(target=print, args=('thread',), kwargs={'flush': True})
thread.start()
thread.join()
subprocess.run(['python3', '-c', 'print("process")'], check=True)
"""
    assert run(sandbox, code).stdout == "thread\nprocess\n"


def test_of_a_flood_of_output_the_end_is_kept(sandbox: Bubblewrap) -> None:
    limits = PATIENT.model_copy(update={"output_bytes": 1000})
    ran = run(sandbox, "for _ in range(200): print('x' * 100_000)\nprint('end')", limits)
    assert ran.stdout.endswith("end\n")
    assert len(ran.stdout) <= 1000


def test_links_lead_nowhere(sandbox: Bubblewrap) -> None:
    code = (
        "import os; os.symlink('/etc/shadow', 'link'); os.symlink('/', 'all'); print(os.listdir('all')); open('link')"
    )
    ran = run(sandbox, code)
    assert "etc" not in ran.stdout
    assert "FileNotFoundError" in ran.stderr
    with pytest.raises(FileNotFoundError):
        asyncio.run(sandbox.read_file("link"))


@pytest.mark.parametrize("path", ["../out.py", "/etc/out.py", "a/../../out.py", "."])
def test_files_stay_in_their_directory(sandbox: Bubblewrap, path: str) -> None:
    with pytest.raises(PermissionError, match="outside the directory of the sandbox"):
        asyncio.run(sandbox.write_file(path, "x"))
    with pytest.raises(PermissionError):
        asyncio.run(sandbox.read_file(path))


def test_another_user_is_refused(sandbox: Bubblewrap) -> None:
    with pytest.raises(PermissionError, match="'root' was asked for"):
        asyncio.run(sandbox.exec(["true"], user="root"))


def test_what_is_here_works() -> None:
    check_sandbox()


def test_as_an_ordinary_user(monkeypatch: pytest.MonkeyPatch) -> None:
    """What an ordinary user gets; as root it is tried as another one, which sees /bin/sh and perhaps no Python."""
    as_user: list[str] = []
    if os.geteuid() == 0:
        monkeypatch.setattr(os, "geteuid", lambda: 61000)
        monkeypatch.setattr(sys, "base_prefix", "/usr")
        as_user = ["setpriv", "--reuid=61000", "--regid=61000", "--clear-groups"]
    box = Bubblewrap(Limits(processes=12))
    asyncio.run(box.write_file("attack.sh", "id -u\nls /\nfor i in $(seq 50); do sleep 100 & done\n"))
    if as_user:
        subprocess.run(["chown", "-R", "61000:61000", box._directory.name], check=True)
    command = [*as_user, *box.command(["sh", "attack.sh"])]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    box.close()
    uid, *seen = ran.stdout.split()
    assert uid not in ("0", str(os.geteuid()))
    assert {"usr", "tmp"} <= set(seen)
    assert not {"etc", "proc", "home", "root"} & set(seen)
    assert "fork" in ran.stderr, ran.stderr


def test_where_bubblewrap_is_missing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SandboxError, match=r"bubblewrap is missing.*apt-get install bubblewrap"):
        check_sandbox()


def test_where_namespaces_are_not_allowed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    program = tmp_path / "bwrap"
    program.write_text("#!/bin/sh\necho 'bwrap: No permissions to create new namespace' >&2\nexit 1\n")
    program.chmod(0o755)
    monkeypatch.setattr(module, "_program", lambda: str(program))
    with pytest.raises(SandboxError, match=r"No permissions to create new namespace.*runs nowhere else.*sysctl"):
        check_sandbox()


def test_a_machine_whose_system_calls_are_not_known() -> None:
    assert len(seccomp_filter("x86_64")) % 8 == len(seccomp_filter("aarch64")) % 8 == 0
    with pytest.raises(SandboxError, match="and this is riscv64"):
        seccomp_filter("riscv64")


def commands_of(box: Bubblewrap) -> Sequence[str]:
    """Processes that still run in a sandbox: those whose command line names its files."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if box._directory.name in line:
            found.append(line)
    return found
