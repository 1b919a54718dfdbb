"""What a client does with each call, apart from what the call itself says."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from nemotron_client._timeouts import Timeouts

Headers = Mapping[str, str] | Callable[[], Mapping[str, str]]
"""Headers for every call, or a function that makes them anew for each: a token that expires."""
AsyncHeaders = Headers | Callable[[], Awaitable[Mapping[str, str]]]
"""The function may be asynchronous."""


class NotGiven:
    """An argument that was left out, where None means something else."""

    def __repr__(self) -> str:
        return "NOT_GIVEN"


NOT_GIVEN: Final = NotGiven()

# What both HTTP and gRPC allow.
_NAME = re.compile(r"[A-Za-z0-9_.-]+")
_VALUE = re.compile(r"([!-~]([ -~]*[!-~])?)?")


@dataclass(frozen=True)
class Settings:
    """Checked settings.

    Attributes:
        timeouts: How long the parts of a request may take.
        max_retries: How often it is tried again.
        headers: What the caller gave: a mapping, or a function that makes one.
        compression: `gzip` or None.
    """

    timeouts: Timeouts
    max_retries: int
    headers: AsyncHeaders = field(repr=False)
    compression: str | None

    def __post_init__(self) -> None:
        _check_max_retries(self.max_retries)
        if self.compression not in (None, "gzip"):
            raise ValueError(f"compression: {self.compression!r} was given, expected 'gzip' or None")
        if not callable(self.headers) and not isinstance(self.headers, Mapping):
            raise TypeError(f"headers: {type(self.headers).__name__} was given, expected a mapping or a function")

    def made_headers(self) -> dict[str, str]:
        """The headers of a call, for threads.

        Raises:
            TypeError: a name or a value that is no string.
            ValueError: one with characters that not every way to a server lets through.
        """
        made = self.headers() if callable(self.headers) else self.headers
        if not isinstance(made, Mapping):
            raise TypeError(f"headers: the function returned {type(made).__name__}, expected a mapping")
        return _checked(made)

    async def awaited_headers(self) -> dict[str, str]:
        """The headers of a call, for asyncio. Raises what `made_headers` raises."""
        if not callable(self.headers):
            return _checked(self.headers)
        made = self.headers()
        return _checked(made if isinstance(made, Mapping) else await made)

    def changed(self, **given: Any) -> Settings:
        """A copy with what was given in place of the old.

        Raises:
            ValueError: another connect timeout: the connection stands already.
        """
        changes = {name: value for name, value in given.items() if value is not NOT_GIVEN}
        if "timeouts" in changes:
            changes["timeouts"] = self._timeouts(changes["timeouts"])
        return replace(self, **changes)

    def _timeouts(self, given: Timeouts | float | None) -> Timeouts:
        timeouts = Timeouts.of(given)
        if isinstance(given, Timeouts) and timeouts.connect not in (self.timeouts.connect, Timeouts().connect):
            raise ValueError(
                f"timeouts: connect {timeouts.connect} was given to with_options, but the connection is shared; "
                "give it to the client's constructor"
            )
        return replace(timeouts, connect=self.timeouts.connect)


def _check_max_retries(value: int) -> None:
    if value is None:
        raise TypeError("max_retries: None was given; say 0 for no retries, or a large number for many")
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"max_retries: {type(value).__name__} was given, expected int")
    if value < 0:
        raise ValueError(f"max_retries: {value} was given, expected 0 or more")


def _checked(value: Mapping[str, str]) -> dict[str, str]:
    for name, text in value.items():
        if not isinstance(name, str) or not isinstance(text, str):
            raise TypeError(f"headers: {name!r} with a {type(text).__name__}, expected strings")  # never the value
        if not _NAME.fullmatch(name):
            # Not shown either: it may be a whole line, with the value.
            raise ValueError("headers: a name with other characters than letters, digits and - _ .")
        if not _VALUE.fullmatch(text):
            message = "has a value with more than printable ASCII, or with a space at an end. A newline, perhaps?"
            raise ValueError(f"headers: {name!r} {message}")
    return {name.lower(): text for name, text in value.items()}
