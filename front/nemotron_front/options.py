"""What nemotron-front is started with: the one home of its options, their defaults and what --help says of them."""

from __future__ import annotations

import argparse
import math
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

REASONING_NAMES = ("reasoning_content", "reasoning")
"""What the thinking is called in OpenAI's shapes: clients that know one of them mostly do not know the other."""

_MOST_PORT = 65535
_MOST_SECONDS = 86_400.0  # a day: timers and the server's 32-bit milliseconds hold no number of seconds whatever


def whole(least: int, most: int) -> Callable[[str], int]:
    """Parse whole numbers within bounds."""

    def parse(text: str) -> int:
        value = int(text) if text.isascii() and text.isdecimal() and len(text) < 20 else -1
        if not least <= value <= most:
            raise argparse.ArgumentTypeError(f"{text!r} given, expected a whole number from {least} to {most}")
        return value

    return parse


def seconds(text: str) -> float:
    """Parse a time above 0."""
    value = _float(text)
    if not 0 < value <= _MOST_SECONDS:
        raise argparse.ArgumentTypeError(f"{text!r} given, expected seconds above 0, at most {_MOST_SECONDS:g}")
    return value


def seconds_or_none(text: str) -> float:
    """Parse a time that may be 0."""
    value = _float(text)
    if not 0 <= value <= _MOST_SECONDS:
        raise argparse.ArgumentTypeError(f"{text!r} given, expected seconds from 0 to {_MOST_SECONDS:g}")
    return value


def patience(text: str) -> float:
    """Parse a time after which something hangs; 0 is never."""
    value = _float(text)
    if value != 0 and not 1 <= value <= _MOST_SECONDS:
        raise argparse.ArgumentTypeError(f"{text!r} given, expected 0 or seconds from 1 to {_MOST_SECONDS:g}")
    return value


def _float(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


def path(text: str) -> Path:
    """Parse a path. An empty one is mostly a variable of the shell that was not set."""
    if not text:
        raise argparse.ArgumentTypeError("'' given, expected a path")
    return Path(text)


def name(text: str) -> str:
    """Parse a name that must not be empty."""
    if not text.strip():
        raise argparse.ArgumentTypeError(f"{text!r} given, expected a name")
    return text


def origin(text: str) -> str:
    """Parse a web page's origin, as browsers send it."""
    parts = urlsplit(text)
    if text != "*" and (not parts.netloc or text != f"{parts.scheme}://{parts.netloc}" or text != text.lower()):
        raise argparse.ArgumentTypeError(f"{text!r} given, expected an origin such as https://chat.example, or *")
    return text


def _flag(metavar: str | None, parse: Callable[[str], Any] | None, text: str, **more: Any) -> dict[str, Any]:
    """What `add_argument` wants to know of the option --NAME that a field is."""
    return {"metavar": metavar, "type": parse, "help": text, **more}


@dataclass(frozen=True, kw_only=True)
class FrontOptions:
    """How a front is served. What each option means is the text beside it.

    Attributes:
        urls: Triton servers, as the client takes them; empty takes what NEMOTRON_URL names, else the client's default.
        caller: A secret that the servers see with each request, so that each process of this front may stop what
            another one has asked for, also with `nemotron-serve --stops bound`.
    """

    urls: tuple[str, ...] = ()
    caller: str = field(default_factory=lambda: uuid.uuid4().hex, repr=False, compare=False)

    bind: str = field(
        default="127.0.0.1",
        metadata=_flag("ADDRESS", name, "address or name; 0.0.0.0 is all interfaces (default: %(default)s)"),
    )
    port: int = field(
        default=9000, metadata=_flag("PORT", whole(0, _MOST_PORT), "0 picks a free one (default: %(default)s)")
    )
    workers: int = field(
        default=1,
        metadata=_flag("N", whole(1, 256), "processes that share the port and the metrics page (default: %(default)s)"),
    )
    served_model_name: tuple[str, ...] = field(
        default=(),
        metadata=_flag(
            "NAME",
            name,
            "name that callers may give for the model; may be given several times, the first is the default "
            "(default: the server's own)",
            action="append",
        ),
    )
    reasoning_name: str = field(
        default="both",
        metadata=_flag(
            None,
            None,
            "the field that has the thinking; some clients know one name, some the other (default: %(default)s)",
            choices=("both", *REASONING_NAMES),
        ),
    )
    sessions: int = field(
        default=1,
        metadata=_flag(
            "N",
            whole(0, 1000),
            "gRPC streams to each server, which share the requests: more than 1 where a balancer stands between "
            "(default: %(default)s)",
        ),
    )
    tls_ca: Path | None = field(
        default=None,
        metadata=_flag("FILE", path, "authorities to trust of grpcs:// servers, PEM (default: the system's)"),
    )
    tls_cert: Path | None = field(default=None, metadata=_flag("FILE", path, "certificate to show them, PEM"))
    tls_key: Path | None = field(default=None, metadata=_flag("FILE", path, "its private key, PEM"))
    api_key_file: Path | None = field(
        default=None,
        metadata=_flag(
            "FILE",
            path,
            "keys that callers need one of: one a line, plain or as sha256:HEX, # begins a comment; read again on "
            "SIGHUP. NEMOTRON_API_KEY and NEMOTRON_API_KEYS (with commas between) in the environment add to them "
            "(default: no key is needed)",
        ),
    )
    cors_origin: tuple[str, ...] = field(
        default=(),
        metadata=_flag(
            "ORIGIN",
            origin,
            "pages of this origin, such as https://chat.example, may use the API; may be given several times, * is "
            "all (default: only the page served here)",
            action="append",
        ),
    )
    allowed_host: tuple[str, ...] = field(
        default=(),
        metadata=_flag(
            "NAME",
            name,
            "name in the Host header that is taken beside localhost when listening on loopback, as a proxy on this "
            "machine sends it; may be given several times",
            action="append",
        ),
    )
    max_body_mib: int = field(
        default=8, metadata=_flag("N", whole(1, 1024), "largest request body, in MiB (default: %(default)s)")
    )
    body_seconds: float = field(
        default=60.0, metadata=_flag("S", seconds, "time for a request's body to arrive (default: %(default)g)")
    )
    max_requests: int = field(
        default=2048,
        metadata=_flag(
            "N",
            whole(1, 1_000_000),
            "requests that a process has in hand; the next one is refused (default: %(default)s)",
        ),
    )
    answer_seconds: float = field(
        default=3600.0,
        metadata=_flag(
            "S",
            seconds,
            "time for an answer, waiting included; what was written by then is the answer (default: %(default)g)",
        ),
    )
    keep_alive_seconds: float = field(
        default=10.0,
        metadata=_flag(
            "S", seconds, "a stream on which nothing is sent for so long gets a comment line (default: %(default)g)"
        ),
    )
    write_seconds: float = field(
        default=30.0,
        metadata=_flag(
            "S", seconds, "a caller that takes nothing of its answer for so long is cut off (default: %(default)g)"
        ),
    )
    drain_seconds: float = field(
        default=30.0,
        metadata=_flag("S", seconds, "time for running requests when the front stops (default: %(default)g)"),
    )
    drain_delay_seconds: float = field(
        default=0.0,
        metadata=_flag(
            "S",
            seconds_or_none,
            "time before that for which new requests are still taken: what balancers need to see that "
            "/v1/health/ready says no (default: %(default)g)",
        ),
    )
    hang_seconds: float = field(
        default=20.0,
        metadata=_flag(
            "S",
            patience,
            "a process of --workers that makes no progress for so long is killed, and another one started; 0 does not "
            "look for that (default: %(default)g)",
        ),
    )
    access_log: bool = field(
        default=True,
        metadata=_flag(
            None,
            None,
            "write a line for each request to stderr: ids, counts and timings, never text",
            action=argparse.BooleanOptionalAction,
        ),
    )

    @property
    def headers(self) -> dict[str, str]:
        """What servers get with each request."""
        return {"nemotron-caller": self.caller}

    @property
    def max_body_bytes(self) -> int:
        """The largest body that is read."""
        return self.max_body_mib << 20

    @property
    def reasoning_names(self) -> tuple[str, ...]:
        """The fields that have the thinking."""
        return REASONING_NAMES if self.reasoning_name == "both" else (self.reasoning_name,)

    @classmethod
    def of_arguments(cls, given: argparse.Namespace) -> FrontOptions:
        """The options that a parser with all of them has read."""
        known: dict[str, Any] = {}
        for one in fields(cls):
            if one.name == "caller":
                continue
            value = getattr(given, one.name)
            known[one.name] = tuple(value) if isinstance(value, list) else value  # what may be given several times
        return cls(**known)


def add_options(parser: argparse._ActionsContainer, *names: str) -> None:
    """Add options of `FrontOptions` to a parser, or to a group of one.

    Args:
        parser: Gets the options.
        names: The fields' names.
    """
    known = {one.name: one for one in fields(FrontOptions)}
    for one in names:
        default = known[one].default
        parser.add_argument(
            f"--{one.replace('_', '-')}",
            default=list(default) if isinstance(default, tuple) else default,
            **{key: value for key, value in known[one].metadata.items() if value is not None},
        )
