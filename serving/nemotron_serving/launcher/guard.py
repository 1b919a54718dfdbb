"""A watcher that cleans up after nemotron-serve, also if that is killed with SIGKILL.

Without it Triton would go on unsupervised, and after Triton's own death some of its Python processes stay for
ever. The guard is a shell of a megabyte that reads a pipe. It learns Triton's process group from the pipe; when the
pipe closes, because nemotron-serve closed it or is gone, it kills that group and removes the files.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from types import TracebackType

_GUARD = """
group=
while read -r line; do group=$line; done
[ -z "$group" ] || kill -s KILL -- "-$group"
rm -rf -- "$1"
rm -f -- "/dev/shm/$2"*
"""
# What Triton and the models write is for nobody else on the machine.
_UMASK = 0o077
# The started process announces its group itself, and holds the pipe open until it has: no moment is left unguarded.
_ANNOUNCE = 'echo "$$" >&0; exec "$@" </dev/null'


class Guard:
    """Keeps a process group and a directory from outliving this process."""

    def __init__(self, directory: Path, shm_prefix: str) -> None:
        read_end, self._pipe = os.pipe()
        try:
            self._process = subprocess.Popen(
                ["/bin/sh", "-c", _GUARD, "nemotron-serve-guard", directory, shm_prefix],
                stdin=read_end,
                start_new_session=True,  # a ctrl-C in the terminal is not for the guard
            )
        finally:
            os.close(read_end)

    def popen(self, command: list[str], *, environment: dict[str, str], output: int) -> subprocess.Popen[bytes]:
        """Start a command as the leader of a session, and guard that session's process group.

        The files that it and its descendants make are for this user alone.

        Args:
            command: Program and arguments.
            environment: All its variables.
            output: File descriptor for its stdout and stderr.
        """
        return subprocess.Popen(
            ["/bin/sh", "-c", _ANNOUNCE, "sh", *command],
            stdin=self._pipe,
            stdout=output,
            stderr=output,
            env=environment,
            start_new_session=True,
            umask=_UMASK,
        )

    def forget(self) -> None:
        """The group is gone: its number may soon be somebody else's."""
        os.write(self._pipe, b"\n")

    def close(self) -> None:
        """Kill what is guarded, remove the files, and wait until that is done."""
        os.close(self._pipe)
        self._process.wait()

    def __enter__(self) -> Guard:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
