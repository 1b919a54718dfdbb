"""Where the code of answers runs: bubblewrap, as a sandbox of Inspect's.

A command sees /usr and the interpreter, read-only, the files that were written for it, and an empty directory in
memory. It has no network, no process but its own, no variable of ours, no privilege, and bounds for what it may take.
What it writes is gone when it ends. `docker`, Inspect's own, can take its place: only the public interface is used.
"""

from __future__ import annotations

import os
import platform
import random
import shutil
import struct
import subprocess
import sys
import tempfile
from pathlib import Path, PurePosixPath
from typing import Literal, overload

from inspect_ai.util import (
    ExecResult,
    SandboxEnvironment,
    SandboxEnvironmentConfigType,
    sandboxenv,
)
from inspect_ai.util import subprocess as run_process
from pydantic import BaseModel
from typing_extensions import override

from nemotron_evals.errors import EvalError

NAME = "bubblewrap"
MIB = 1 << 20

_HOME = "/tmp"  # noqa: S108 - inside the sandbox, where it is empty and the only place to write
_PROBE_S = 60
# systemd's users for services that have none: no person and no program has one of these for good.
_FIRST_UID, _LAST_UID = 61184, 65519
# As one program, for Inspect starts one: the kernel is to end an answer before anything else when memory is short, and
# bubblewrap reads its filter from a file descriptor.
_START = 'echo 1000 > /proc/self/oom_score_adj; exec "$@" 3< "$0"'


class SandboxError(EvalError):
    """No sandbox can be had on this machine; the message says what to do."""


class Limits(BaseModel, frozen=True):
    """What a command may take.

    Attributes:
        wall_s: Seconds until it is ended.
        cpu_s: Seconds of CPU for each of its processes.
        memory_bytes: Address space of each of its processes.
        processes: Processes and threads at the same time.
        disk_bytes: All that it writes, which is kept in memory; also of each file.
        open_files: Files that a process has open.
        output_bytes: What is kept of each of stdout and stderr: the end.
    """

    wall_s: int = 20
    cpu_s: int = 10
    memory_bytes: int = 512 * MIB
    processes: int = 24
    disk_bytes: int = 64 * MIB
    open_files: int = 128
    output_bytes: int = 64 * 1024


@sandboxenv(name=NAME)
class Bubblewrap(SandboxEnvironment):
    """The sandbox of a sample. Each command begins with the files that `write_file` wrote, and nothing else."""

    def __init__(self, limits: Limits | None = None) -> None:
        """Make a directory for its files, until `close`."""
        super().__init__()
        self.limits = limits or Limits()
        self._directory = tempfile.TemporaryDirectory(prefix="nemotron-eval-", ignore_cleanup_errors=True)
        self._files = Path(self._directory.name) / "files"
        self._files.mkdir()
        self._filter = Path(self._directory.name) / "seccomp"
        self._filter.write_bytes(seccomp_filter(platform.machine()))

    @override
    @classmethod
    async def task_init(cls, task_name: str, config: SandboxEnvironmentConfigType | None) -> None:
        """Called by Inspect once a task.

        Raises:
            SandboxError: there is no sandbox here.
        """
        check_sandbox()

    @override
    @classmethod
    async def sample_init(
        cls, task_name: str, config: SandboxEnvironmentConfigType | None, metadata: dict[str, str]
    ) -> dict[str, SandboxEnvironment]:
        """Called by Inspect for each sample."""
        return {"default": cls(config if isinstance(config, Limits) else None)}

    @override
    @classmethod
    async def sample_cleanup(
        cls,
        task_name: str,
        config: SandboxEnvironmentConfigType | None,
        environments: dict[str, SandboxEnvironment],
        interrupted: bool,
    ) -> None:
        """Called by Inspect behind each sample."""
        for environment in environments.values():
            if isinstance(environment, Bubblewrap):
                environment.close()

    @override
    @classmethod
    def config_deserialize(cls, config: dict[str, object]) -> BaseModel:
        """Read what Inspect's log keeps of the limits."""
        return Limits.model_validate(config)

    @override
    async def exec(
        self,
        cmd: list[str],
        input: str | bytes | None = None,
        cwd: str | None = None,
        env: dict[str, str] | None = None,
        user: str | None = None,
        timeout: int | None = None,
        timeout_retry: bool = True,
        concurrency: bool = True,
    ) -> ExecResult[str]:
        """Run a command; as many at the same time as Inspect allows, one for each core.

        Raises:
            TimeoutError: it took longer than `Limits.wall_s`, or than `timeout` if that is less.
            PermissionError: `user` was given; each command has a user of its own.
        """
        if user is not None:
            raise PermissionError(f"The sandbox runs as a user of its own, and {user!r} was asked for.")
        return await run_process(
            self.command(cmd, cwd=cwd, env=env),
            input=input,
            timeout=min(timeout or self.limits.wall_s, self.limits.wall_s),
            output_limit=self.limits.output_bytes,
            concurrency=concurrency,
        )

    @override
    async def write_file(self, file: str, contents: str | bytes) -> None:
        """Put a file where commands begin, for reading only.

        Raises:
            PermissionError: the path leads out of there.
        """
        path = self._path(file)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(contents.encode() if isinstance(contents, str) else contents)
        path.chmod(0o644)  # for the command's user, whatever the umask is

    @overload
    async def read_file(self, file: str, text: Literal[True] = True) -> str: ...

    @overload
    async def read_file(self, file: str, text: Literal[False]) -> bytes: ...

    @override
    async def read_file(self, file: str, text: bool = True) -> str | bytes:
        """What `write_file` wrote: what a command wrote is gone.

        Raises:
            FileNotFoundError: nothing was written there.
            PermissionError: the path leads out of there.
        """
        content = self._path(file).read_bytes()
        return content.decode() if text else content

    def close(self) -> None:
        """Remove its files."""
        self._directory.cleanup()

    def command(self, cmd: list[str], *, cwd: str | None = None, env: dict[str, str] | None = None) -> list[str]:
        """What is started for a command, from an empty environment, so that nothing of ours can be read in there."""
        variables = {"PATH": f"{sys.base_prefix}/bin:/usr/bin:/bin", "HOME": _HOME, "LANG": "C.UTF-8", **(env or {})}
        return [
            *("/usr/bin/env", "-i", "/bin/sh", "-c", _START, str(self._filter), _program()),
            *_namespaces(),
            *("--die-with-parent", "--new-session", "--seccomp", "3", "--clearenv"),
            *(part for name, value in variables.items() for part in ("--setenv", name, value)),
            *_system(),
            *("--size", str(self.limits.disk_bytes), "--perms", "1777", "--tmpfs", _HOME),
            *self._binds(),
            *("--remount-ro", "/dev", "--remount-ro", "/", "--chdir", str(PurePosixPath(_HOME, cwd or ""))),
            *("--", *_another_user(), *self._prlimit(), "--", *cmd),
        ]

    def _path(self, file: str) -> Path:
        root = self._files.resolve()
        path = (root / file.removeprefix(f"{_HOME}/")).resolve()
        if root not in path.parents:
            raise PermissionError(f"{file} is outside the directory of the sandbox. Name a file in it, such as a.py.")
        return path

    def _binds(self) -> list[str]:
        """Each file by itself, so that the directories they are in can be written to."""
        parts = []
        for path in sorted(self._files.rglob("*")):
            inside = str(PurePosixPath(_HOME, path.relative_to(self._files)))
            parts += ["--ro-bind", str(path), inside] if path.is_file() else ["--perms", "1777", "--dir", inside]
        return parts

    def _prlimit(self) -> list[str]:
        # Set inside, where they count for the new user, and not for all else that ours runs.
        limits = self.limits
        return [
            "/usr/bin/prlimit",
            f"--as={limits.memory_bytes}",
            f"--cpu={limits.cpu_s}",
            f"--nproc={limits.processes}",
            f"--fsize={limits.disk_bytes}",
            f"--nofile={limits.open_files}",
            "--core=0",
        ]


def check_sandbox() -> None:
    """Run something in a sandbox.

    Raises:
        SandboxError: bubblewrap is missing, or not allowed here.
    """
    _program()
    sandbox = Bubblewrap()
    try:
        command = sandbox.command(["python3", "-I", "-c", "print('works')"])
        ran = subprocess.run(command, capture_output=True, text=True, timeout=_PROBE_S, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise SandboxError(f"bubblewrap cannot run here: {error}.") from error
    finally:
        sandbox.close()
    if ran.stdout != "works\n":
        said = " ".join(ran.stderr.split()) or f"it ended with code {ran.returncode}"
        raise SandboxError(
            f"bubblewrap cannot make a sandbox here: {said}. The code of answers runs nowhere else. It needs user "
            "namespaces (sysctl kernel.unprivileged_userns_clone=1, and on Ubuntu "
            "kernel.apparmor_restrict_unprivileged_userns=0), and in a container a runtime that allows them, such as "
            "docker run --security-opt seccomp=unconfined --security-opt systempaths=unconfined. Or leave mbpp out."
        )


def seccomp_filter(machine: str) -> bytes:
    """A filter under which no namespace can be made or entered and nothing mounted: that would be a way round limits.

    Args:
        machine: As `platform.machine` says it.

    Returns:
        A program of the kernel's classic BPF. It refuses with EPERM, and clone3, whose flags it cannot see, as unknown,
        whereupon the C library takes clone.

    Raises:
        SandboxError: another machine than x86_64 and aarch64.
    """
    try:
        audit, clone, denied = _CALLS[machine]
    except KeyError:
        known = " and ".join(_CALLS)
        raise SandboxError(f"The sandbox knows the system calls of {known}, and this is {machine}.") from None
    load_number, load_arch, load_flags = ((_LOAD, 0, 0, offset) for offset in (0, 4, 16))
    allow, refuse, unknown = ((_RETURN, 0, 0, value) for value in (_ALLOW, _ERRNO | 1, _ERRNO | 38))
    code = [
        *(load_arch, (_EQUAL, 1, 0, audit), (_RETURN, 0, 0, _KILL)),
        *(load_number, (_ABOVE, 0, 1, 0x40000000), refuse),  # x86_64's second set of numbers
        *((_EQUAL, 0, 1, _CLONE3), unknown),
        *(step for number in denied for step in ((_EQUAL, 0, 1, number), refuse)),
        *((_EQUAL, 0, 3, clone), load_flags, (_ANY_BIT, 0, 1, _NEW_NAMESPACES), refuse),
        allow,
    ]
    return b"".join(struct.pack("=HBBI", *step) for step in code)


# linux/filter.h, linux/seccomp.h, linux/sched.h: instructions, results, and the flags CLONE_NEW*.
_LOAD, _EQUAL, _ABOVE, _ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_ALLOW, _ERRNO, _KILL = 0x7FFF0000, 0x00050000, 0x80000000
_NEW_NAMESPACES = 0x7E020080
_CLONE3 = 435
# By machine: its name in audit.h, clone, and mount, unshare, setns, ptrace, bpf, process_vm_readv, process_vm_writev,
# and the newer calls that mount (open_tree to fspick, mount_setattr).
_CALLS = {
    "x86_64": (0xC000003E, 56, (165, 272, 308, 101, 321, 310, 311, *range(428, 434), 442)),
    "aarch64": (0xC00000B7, 220, (40, 97, 268, 117, 280, 270, 271, *range(428, 434), 442)),
}


def _program() -> str:
    found = shutil.which("bwrap")
    if found is None:
        raise SandboxError(
            "bubblewrap is missing, in which the code of answers runs, and nowhere else. Install it with "
            "'sudo apt-get install bubblewrap', or leave mbpp out."
        )
    return found


def _namespaces() -> list[str]:
    """Root makes them itself: in a user namespace it would stay root for the kernel, whose processes no limit binds."""
    kinds = ["--unshare-ipc", "--unshare-pid", "--unshare-net", "--unshare-uts", "--unshare-cgroup-try"]
    if os.geteuid() == 0:
        return [*kinds, "--cap-drop", "ALL", "--cap-add", "CAP_SETUID", "--cap-add", "CAP_SETGID"]
    return [*kinds, "--unshare-user", "--uid", str(_LAST_UID), "--gid", str(_LAST_UID)]


def _another_user() -> list[str]:
    if os.geteuid() != 0:
        return []
    # Another one for each command, for their processes are counted together.
    uid = random.randint(_FIRST_UID, _LAST_UID)  # noqa: S311 - not for secrets
    return ["/usr/bin/setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups", "--no-new-privs", "--"]


def _system() -> list[str]:
    """/usr, the directories that are links into it, or were before they were merged, and the interpreter."""
    parts = ["--ro-bind", "/usr", "/usr", "--dev", "/dev"]
    for path in (Path("/bin"), Path("/lib"), Path("/lib64")):
        if path.is_symlink():
            parts += ["--symlink", str(path.readlink()), str(path)]
        elif path.exists():
            parts += ["--ro-bind", str(path), str(path)]
    if not Path(sys.base_prefix).is_relative_to("/usr"):
        parts += ["--ro-bind", sys.base_prefix, sys.base_prefix]
    return parts
