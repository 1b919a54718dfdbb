"""How long a request may take, by part, and the deadline of one request. Does no I/O."""

from __future__ import annotations

import math
from dataclasses import dataclass

from nemotron_client import _defaults
from nemotron_client._errors import Phase, RequestTimeoutError

_NAMES: tuple[Phase, ...] = ("connect", "first_token", "between_tokens", "total")


@dataclass(frozen=True)
class Timeouts:
    """Seconds that the parts of a request may take. A part that is not given has its default; None is no limit.

    A request that takes longer raises RequestTimeoutError with the name of the part, and is cancelled on the server.

    Attributes:
        connect: Time until the connection stands. Belongs to the connection: it cannot be changed by `with_options`.
        first_token: Time from sending the request to its first token: waiting in the server's queue, and reading the
            prompt.
        between_tokens: Time from one response to the next. What the program does in between does not count.
        total: Time from the call to the last token, retries and what the program does in between included.
    """

    connect: float | None = _defaults.CONNECT_TIMEOUT_S
    first_token: float | None = _defaults.FIRST_TOKEN_TIMEOUT_S
    between_tokens: float | None = _defaults.BETWEEN_TOKENS_TIMEOUT_S
    total: float | None = _defaults.TOTAL_TIMEOUT_S

    def __post_init__(self) -> None:
        for name in _NAMES:
            value = getattr(self, name)
            if value is not None and (isinstance(value, bool) or not isinstance(value, (int, float)) or not value > 0):
                raise ValueError(
                    f"timeouts: {name} {value!r} was given, expected seconds above 0, or None for no limit"
                )

    @classmethod
    def of(cls, value: Timeouts | float | None) -> Timeouts:
        """What a caller may give: all parts, a number for the total alone, or None for no limit at all."""
        if isinstance(value, Timeouts):
            return value
        return cls(None, None, None, None) if value is None else cls(total=value)


class Deadline:
    """When a request has to be given up, as it goes on. `now` is seconds on any clock, always the same one.

    Attributes:
        at: The moment; infinite where nothing is limited. It moves with each response, so that whoever watches it
            looks again when it is reached.
        expired: The part that took too long, once `expire` was called.
    """

    def __init__(self, timeouts: Timeouts, now: float) -> None:
        self._timeouts = timeouts
        self.total_at = math.inf if timeouts.total is None else now + timeouts.total
        self._between = math.inf if timeouts.between_tokens is None else timeouts.between_tokens
        # One value, for whoever watches may read it from another thread.
        self._due: tuple[float, Phase] = (self.total_at, "total")
        self.expired: Phase | None = None

    @property
    def at(self) -> float:
        """See the class."""
        return self._due[0]

    def sent(self, now: float) -> None:
        """The request was sent: its first token is waited for."""
        first = self._timeouts.first_token
        self._wait(math.inf if first is None else now + first, "first_token")

    def waiting(self, now: float) -> None:
        """The next response is waited for."""
        self._wait(now + self._between, "between_tokens")

    def resting(self) -> None:
        """The program is busy with what came: only the total counts."""
        self._due = (self.total_at, "total")

    def expire(self, now: float) -> bool:
        """Whether the moment has come; then it is also written down what took too long."""
        at, phase = self._due
        if self.expired is None and now >= at:
            self.expired = phase
        return self.expired is not None

    def error(self, *, request_id: str, url: str) -> RequestTimeoutError:
        """What to raise once it has expired."""
        phase = self.expired or "total"
        limit = getattr(self._timeouts, phase)
        what = {"first_token": "No first token", "between_tokens": "No further token"}.get(phase, "No whole answer")
        message = f"{what} from {url} within {limit:g} s; the request was cancelled. `Timeouts.{phase}` sets the limit."
        return RequestTimeoutError(message, phase=phase, request_id=request_id, url=url)

    def _wait(self, until: float, phase: Phase) -> None:
        self._due = (until, phase) if until < self.total_at else (self.total_at, "total")
