"""Asking pip for a file: it alone knows the user's index, mirrors, proxies, certificates and credentials."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

from nemotron_build.errors import BuildError

_USAGE_ERROR = 2
_BROKEN = re.compile(r"connection broken by (.*)")
_SYSTEM_ERROR = re.compile(r"\[Errno -?\d+\] ([^)'\"]+)")
# One retry: an offline machine gets its answer in seconds, not after pip's usual half minute.
_COMMON = ("--no-deps", "--disable-pip-version-check", "--no-input", "--retries", "1")


def find_url(requirement: str) -> str | None:
    """Where pip would download `requirement` from.

    Returns:
        The URL, or None where this pip cannot tell (before 22.2).

    Raises:
        BuildError: pip is missing or finds no such file.
    """
    # fast-deps spares downloading the whole wheel where an index has no separate metadata.
    done = _pip(
        *("install", "--dry-run", "--ignore-installed", "--quiet", "--use-feature=fast-deps", "--report", "-"),
        *_COMMON,
        requirement,
    )
    if done.returncode == _USAGE_ERROR:
        return None
    _check(done, requirement)
    try:
        return str(json.loads(done.stdout)["install"][0]["download_info"]["url"])
    except (ValueError, LookupError):
        return None


def download_with_pip(requirement: str, directory: Path) -> None:
    """Let pip download the wheel of `requirement` into `directory`.

    Raises:
        BuildError: pip is missing or cannot.
    """
    _check(_pip("download", "--quiet", "--dest", str(directory), *_COMMON, requirement), requirement)


def _pip(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pip", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)


def _check(done: subprocess.CompletedProcess[str], requirement: str) -> None:
    if done.returncode == 0:
        return
    lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
    if lines and lines[-1].endswith("No module named pip"):
        raise BuildError(
            f"{sys.executable} has no pip to ask. Add it with 'python -m ensurepip' or 'uv pip install pip'."
        )
    # A warning about the connection says more than the errors that follow it, "no matching distribution".
    broken = [_plain(found[1]) for line in lines if (found := _BROKEN.search(line))]
    errors = [line.removeprefix("ERROR: ") for line in lines if line.startswith("ERROR: ")]
    reason = (broken + errors + [f"exit status {done.returncode}"])[0]
    raise BuildError(f"pip finds no {requirement}: {reason.rstrip('.')}.")


def _plain(reason: str) -> str:
    """What the system said, out of the nested exceptions that pip prints."""
    found = _SYSTEM_ERROR.search(reason)
    return found[1] if found else reason
