"""Who may ask: keys, the Host and Origin headers, and other origins' pages."""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import logging
import os
import re
import socket
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

from nemotron_front.errors import forbidden, missing_key
from nemotron_front.options import FrontOptions

_logger = logging.getLogger(__name__)

_VARIABLES = ("NEMOTRON_API_KEY", "NEMOTRON_API_KEYS")
_HASHED = re.compile(r"sha256:([0-9a-f]{64})", re.IGNORECASE)
_KEY = re.compile(r"[!-~]+")
_COMMENT = re.compile(r"(^|\s)#.*")
_EXPOSED = "x-request-id, retry-after, retry-after-ms, x-should-retry"

Headers = list[tuple[bytes, bytes]]


class KeyFileError(Exception):
    """The file cannot be read, or holds something else than keys."""


class Keys:
    """The keys of which callers need one. Their digests are kept, never they themselves."""

    def __init__(self, file: Path | None) -> None:
        """Read them.

        Args:
            file: One a line; None for those of the environment alone.

        Raises:
            KeyFileError: it cannot be read, has no key, or has a line that is none.
        """
        self._file = file
        self._digests: tuple[bytes, ...] = ()
        self.read()

    def read(self) -> None:
        """Read the file again. Raises KeyFileError as the constructor; the keys stay as they were then."""
        named = (key.strip() for variable in _VARIABLES for key in os.environ.get(variable, "").split(","))
        digests = [_digest(key) for key in named if key]
        if self._file is not None:
            digests += _of_file(self._file)
        self._digests = tuple(dict.fromkeys(digests))

    @property
    def needed(self) -> bool:
        """Whether callers need a key."""
        return bool(self._digests)

    def allow(self, given: bytes) -> bool:
        """Whether this is one of them. Takes as long whichever it is, and however much of it is right."""
        digest = hashlib.sha256(given).digest()
        known = [hmac.compare_digest(digest, one) for one in self._digests]
        return any(known)


class Access:
    """Decides by a request's headers. What a web page elsewhere could send is refused unless it was allowed.

    A browser lets any page send some requests anywhere, to a server on its own machine too. Two headers are the
    browser's own and tell: Origin, whose page it is; and Host, by which name the server was reached, which is an
    attacker's where a name was made to point at this machine.
    """

    def __init__(self, options: FrontOptions) -> None:
        """Read the keys. Raises KeyFileError as they do."""
        self.keys = Keys(options.api_key_file)
        self._origins = options.cors_origin
        self._hosts: set[str] | None = None
        if is_loopback(_address_of(options.bind)):
            self._hosts = {name.lower() for name in ("localhost", options.bind, *options.allowed_host)}

    def check_origin(self, headers: Mapping[bytes, bytes], *, is_open: bool) -> Headers:
        """Return what the response's headers say to a browser.

        Args:
            headers: Of the request, by their names in lower case.
            is_open: Whether anybody may have what it is for, by any name: balancers probe by names of their own.

        Raises:
            ApiError: a page has sent it that may not, or it was sent to a name that is not this machine's.
        """
        host = _decoded(headers.get(b"host"))
        if not is_open and self._hosts is not None and host and not self._is_local(host):
            message = f"The Host header names {host!r}, which is not this machine: allow it with --allowed-host."
            raise forbidden(message)
        return self._cors(_decoded(headers.get(b"origin")), host)

    def check_key(self, headers: Mapping[bytes, bytes]) -> None:
        """Return if the request has a key, or needs none.

        Raises:
            ApiError: it has not.
        """
        if self.keys.needed:
            given = _keys_of(headers)
            if not any(self.keys.allow(key) for key in given):
                raise missing_key(bool(given))

    def preflight(self, headers: Mapping[bytes, bytes]) -> dict[str, str] | None:
        """What a browser is told that asks whether a page may ask; None for a request that is no such question."""
        if b"access-control-request-method" not in headers or b"origin" not in headers:
            return None
        return {
            "access-control-allow-methods": "GET, POST, HEAD, OPTIONS",
            "access-control-allow-headers": _decoded(headers.get(b"access-control-request-headers")) or "*",
            "access-control-max-age": "600",
        }

    def _cors(self, origin: str, host: str) -> Headers:
        if not origin or (host and origin.partition("://")[2] == host):
            return []
        if "*" in self._origins:
            allowed = "*"
        elif origin in self._origins:
            allowed = origin
        else:
            message = f"Pages of {origin!r} may not use this server: allow them with --cors-origin."
            raise forbidden(message)
        return [
            (b"access-control-allow-origin", allowed.encode()),
            (b"access-control-expose-headers", _EXPOSED.encode()),
            (b"vary", b"origin"),
        ]

    def _is_local(self, host: str) -> bool:
        name = _name_of(host)
        return name in (self._hosts or ()) or name.endswith(".localhost") or is_loopback(name)


def is_loopback(name: str) -> bool:
    """Whether a name or address is this machine's alone."""
    if name.lower() == "localhost":
        return True
    try:
        address = ipaddress.ip_address(name.strip("[]"))
    except ValueError:
        return False
    return (getattr(address, "ipv4_mapped", None) or address).is_loopback


def _address_of(bind: str) -> str:
    """The address that is listened at, which may have a name; one that has none is found out later."""
    try:
        address = socket.getaddrinfo(bind, None, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0][4][0]
    except OSError:
        return bind
    return str(address)


def _name_of(host: str) -> str:
    """The name in a Host header, without the port."""
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""


def _decoded(value: bytes | None) -> str:
    return (value or b"").decode("latin-1").lower()


def _keys_of(headers: Mapping[bytes, bytes]) -> list[bytes]:
    """The keys that a request has: as OpenAI's clients send one, and as Anthropic's do."""
    scheme, _, token = headers.get(b"authorization", b"").partition(b" ")
    bearer = token.strip() if scheme.lower() == b"bearer" else b""
    return [key for key in (bearer, headers.get(b"x-api-key", b"")) if key]


def _of_file(file: Path) -> list[bytes]:
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no UTF-8 text"
        raise KeyFileError(f"--api-key-file {file} cannot be read: {reason}.") from error
    digests = []
    for number, line in enumerate(lines, 1):
        key = _COMMENT.sub("", line, count=1).strip()
        if not key:
            continue
        if not _KEY.fullmatch(key) or (key.startswith("sha256:") and not _HASHED.fullmatch(key)):
            # Never the line itself.
            message = (
                f"--api-key-file {file}, line {number}: expected a key without spaces, or sha256: and 64 hex digits."
            )
            raise KeyFileError(message)
        digests.append(_digest(key))
    if not digests:
        raise KeyFileError(f"--api-key-file {file} has no key: one a line is expected. Without a key, leave it out.")
    return digests


def _digest(key: str) -> bytes:
    hashed = _HASHED.fullmatch(key)
    return bytes.fromhex(hashed[1]) if hashed else hashlib.sha256(key.encode()).digest()
