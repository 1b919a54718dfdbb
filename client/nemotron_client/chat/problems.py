"""What can go wrong in a chat, and the exit status that each kind of it has. Does no I/O."""

from __future__ import annotations

from nemotron_client._errors import (
    AuthenticationError,
    InvalidRequestError,
    ModelNotReadyError,
    NemotronError,
    OverloadedError,
    RequestTimeoutError,
    TransportError,
)

FAILED = 1
USAGE = 2
UNREACHABLE = 3
REFUSED = 4
LATER = 5
HUNG_UP = 129
INTERRUPTED = 130
BROKEN_PIPE = 141


class ChatError(Exception):
    """Something that the user can put right; the message is one line."""


def exit_status(error: NemotronError) -> int:
    """The exit status for an answer that did not come."""
    if isinstance(error, (RequestTimeoutError, OverloadedError)):
        return LATER
    if isinstance(error, (TransportError, ModelNotReadyError)):
        return UNREACHABLE
    if isinstance(error, (InvalidRequestError, AuthenticationError)):
        return REFUSED
    return FAILED


def finish_status(finish_reason: str) -> int:
    """The exit status for an answer that came, by its finish reason."""
    return {"timeout": LATER, "cancelled": UNREACHABLE}.get(finish_reason, 0)


def finish_note(finish_reason: str) -> str:
    """What to tell of an answer that did not end by itself; empty for one that did."""
    return _NOTES.get(finish_reason, "")


_NOTES = {
    "cancelled": "cancelled",
    "length": "cut off at the limit of its tokens",
    "repetition": "ended because it repeated itself",
    "timeout": "cut off at the server's deadline",
}
