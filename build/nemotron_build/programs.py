"""Ending the programs that a build starts."""

from __future__ import annotations

import os
import signal
import subprocess
from contextlib import suppress

_PATIENCE_S = 10.0


def end_group(process: subprocess.Popen[bytes]) -> None:
    """End a program and all that it started. It gets some seconds to clean up; a second ctrl-C cuts them short.

    Args:
        process: Started with `start_new_session=True`, so that it leads a group of its own.
    """
    try:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(_PATIENCE_S)
    except (ProcessLookupError, subprocess.TimeoutExpired):
        pass
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
