"""Downloading one large file of known size and SHA-256, so that an interrupted download goes on where it stopped."""

from __future__ import annotations

import fcntl
import http.client
import os
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from nemotron_build.errors import BuildError
from nemotron_serving.package import sha256_of

_BLOCK = 1 << 18
_TIMEOUT_S = 30
_ATTEMPTS_WITHOUT_PROGRESS = 3

OnBytes = Callable[[int], None]


@dataclass(frozen=True)
class PinnedFile:
    """A file that is the same wherever it comes from: name, size in bytes, SHA-256 as hex digits."""

    name: str
    bytes: int
    sha256: str

    def check(self, path: Path) -> None:
        """Compare the file at `path` with this one.

        Raises:
            BuildError: it differs.
        """
        found = sha256_of(path)
        if found != self.sha256:
            raise BuildError(
                f"{path} is not {self.name}: {path.stat().st_size} bytes with SHA-256 {found}, "
                f"expected {self.bytes} bytes with {self.sha256}."
            )


class CannotStartError(BuildError):
    """Not a single byte came. Another way of asking may work."""


def download(url: str, wanted: PinnedFile, target: Path, on_bytes: OnBytes) -> None:
    """Download `wanted` from an http, https or file URL, going on with what an earlier run left.

    Args:
        url: Where it is.
        wanted: What must arrive.
        target: Where it appears when it is whole and checked; `target` + ".partial" holds it until then.
        on_bytes: Called with the number of bytes there are so far.

    Raises:
        CannotStartError: the server refuses, or sends something else.
        BuildError: the connection breaks again and again, or what arrived is corrupt.
    """
    partial = partial_of(target)
    with partial.open("ab") as file:
        _lock(file, wanted)
        if target.exists():
            # Another run finished it since the caller looked.
            partial.unlink(missing_ok=True)
            return
        _receive(url, wanted, file, on_bytes)
        file.flush()
        try:
            wanted.check(partial)
        except BuildError:
            partial.unlink()
            raise BuildError(
                "What arrived was corrupt (another SHA-256) and was thrown away; run this again."
            ) from None
        os.replace(partial, target)


def partial_of(target: Path) -> Path:
    """Where the bytes of an unfinished download of `target` are."""
    return target.with_name(target.name + ".partial")


def _lock(file: BinaryIO, wanted: PinnedFile) -> None:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise BuildError(f"Another nemotron-build is downloading {wanted.name}. Wait until it has finished.") from None


def _receive(url: str, wanted: PinnedFile, file: BinaryIO, on_bytes: OnBytes) -> None:
    at_start, failures = file.tell(), 0
    while (have := file.tell()) < wanted.bytes:
        reason: Exception | str = "the server ended the transfer early"
        try:
            _append(url, wanted, file, on_bytes)
        except urllib.error.HTTPError as error:
            raise CannotStartError(f"the server answers {error.code} {error.reason}") from None
        except (OSError, http.client.HTTPException) as error:
            reason = error
        failures = 0 if file.tell() > have else failures + 1
        if failures == _ATTEMPTS_WITHOUT_PROGRESS:
            if file.tell() == at_start:
                raise CannotStartError(f"no connection: {reason}")
            raise BuildError(
                f"The transfer broke off: {reason}. {file.tell()} of {wanted.bytes} bytes are kept; "
                "run this again to go on."
            )
        time.sleep(failures)


def _append(url: str, wanted: PinnedFile, file: BinaryIO, on_bytes: OnBytes) -> None:
    headers = {"Range": f"bytes={file.tell()}-"} if file.tell() else {}
    request = urllib.request.Request(url, headers=headers)  # noqa: S310 - the URL is the one that pip uses
    with _opener().open(request, timeout=_TIMEOUT_S) as response:
        if response.status != http.client.PARTIAL_CONTENT:
            file.truncate(0)
            file.seek(0)
        coming = response.headers.get("Content-Length")
        if coming is not None and file.tell() + int(coming) != wanted.bytes:
            raise CannotStartError(
                f"the server sends {int(coming)} bytes where {wanted.bytes - file.tell()} are due, "
                "as a login page or another version would be"
            )
        on_bytes(file.tell())
        while block := response.read(_BLOCK):
            file.write(block)
            on_bytes(file.tell())


def _opener() -> urllib.request.OpenerDirector:
    """An opener for http, https and file that trusts what pip was told to trust."""
    context = ssl.create_default_context(cafile=os.environ.get("PIP_CERT"))
    return urllib.request.build_opener(urllib.request.HTTPSHandler(context=context))
