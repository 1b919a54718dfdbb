"""Output that nobody reads to its end."""

from __future__ import annotations

import subprocess
import sys


def test_a_reader_that_has_gone_is_no_fault_to_tell_of() -> None:
    command = [sys.executable, "-m", "nemotron_loadtest", "scenarios"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.close()
        assert process.stderr is not None
        assert process.stderr.read() == b""
