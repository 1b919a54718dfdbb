"""Every error that the serving side raises on purpose.

ServingError
├── InvalidRequestError      the caller's fault: INVALID_ARGUMENT
├── UnavailableError         try again: UNAVAILABLE
├── EngineError              our fault: INTERNAL
└── PackageError             a package that cannot be served here (never sent to a caller)

What a caller sees of the status:

    way in                            INVALID_ARGUMENT    UNAVAILABLE    INTERNAL
    `unary` over gRPC                 the same            the same       the same
    `unary` over HTTP                 400                 503            500
    /generate of Triton 2.51          400                 400            400
    /generate of newer ones           400                 503            500
    a stream: gRPC, /generate_stream  none                none           none (200 over HTTP)

So it stands at the end of each message, too.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Any, ClassVar

LONGEST_TEXT = 2000
"""Characters of an error or a log line; parts of either may be a caller's."""
_SHOWN_CHARACTERS = 100  # of a refused value, in a message


class ServingError(Exception):
    """Base of all.

    Attributes:
        triton_code: The attribute of `pb_utils.TritonError` that it becomes.
        status: The gRPC status it has, which stands at the end of the message a caller gets.
    """

    triton_code: ClassVar[str] = "INTERNAL"
    status: ClassVar[str] = "INTERNAL"


class InvalidRequestError(ServingError):
    """A request that can never succeed. The message starts with the field at fault."""

    triton_code = "INVALID_ARG"
    status = "INVALID_ARGUMENT"

    def __init__(self, field: str, message: str) -> None:
        super().__init__(f"{field}: {message}")
        self.field = field


class UnavailableError(ServingError):
    """No room, or shutting down. The same request may succeed later or elsewhere."""

    triton_code = status = "UNAVAILABLE"


class EngineError(ServingError):
    """The engine failed while it worked on a request."""


class PackageError(ServingError):
    """A package that is damaged or does not fit this machine. The message names what differs and what to do."""


def failure(message: str, *, refused: bool) -> ServingError:
    """The error of a request that has failed while it was worked on.

    Args:
        message: Begins with the field at fault where there is one.
        refused: Whether it is the caller's fault.
    """
    field, found, reason = message.partition(": ")
    return InvalidRequestError(field, reason) if refused and found else EngineError(message)


def told(error: ServingError, shown_id: str) -> str:
    """The text that a caller gets of an error.

    Args:
        error: The error.
        shown_id: The request as the server's log knows it.
    """
    text = str(error).replace("\0", "\\0")  # at which Triton would cut the message, and with it the status
    message = f"{text if len(text) <= LONGEST_TEXT else text[:LONGEST_TEXT] + '…'} ({error.status})"
    if error.status == "INTERNAL":
        message = f"request {shown_id}: {message}"
    # A surrogate on its own, from a caller's JSON, cannot be sent.
    return message.encode(errors="backslashreplace").decode()


def shortened(value: Any) -> str:
    """A refused value as a message shows it: its beginning, if it is long."""
    shown = repr(value)
    return shown if len(shown) <= _SHOWN_CHARACTERS else f"{shown[:_SHOWN_CHARACTERS]}…"


def shortened_name(name: str) -> str:
    """A name that a caller has made up, as a message shows it: quoted and shortened where it is none at all."""
    return name if name.isprintable() and 0 < len(name) <= _SHOWN_CHARACTERS else shortened(name)


def did_you_mean(given: str, known: Iterable[str]) -> str:
    """The end of a message about a name that is not there: `; did you mean X?`, or nothing where no name is near."""
    close = difflib.get_close_matches(given, list(known), 1)
    return f"; did you mean {close[0]}?" if close else ""
