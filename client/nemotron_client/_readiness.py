"""Waiting until a server takes requests: what follows from the answers of all. Does no I/O."""

from __future__ import annotations

import time
from collections.abc import Sequence

from nemotron_client import _defaults
from nemotron_client._errors import AuthenticationError, NemotronError, TlsError, TransportError, not_ready_in_time

Answer = bool | NemotronError
"""Of one server: whether it is ready, or why it has not answered."""


def may_take_requests(error: NemotronError) -> bool:
    """Whether a server may take requests although `ready_call` failed.

    One that drains refuses the question as it refuses requests, and one that hangs does not answer it. Any other error
    says no more than that this cannot be asked there: a gateway, say, lets nothing but the ensemble through.
    """
    return not isinstance(error, TransportError)


class ReadyWait:
    """One wait."""

    def __init__(self, urls: Sequence[str], timeout_s: float) -> None:
        self._urls = urls
        self._timeout_s = timeout_s
        self._until = time.monotonic() + timeout_s

    def probe_timeout_s(self) -> float:
        """How long the next server may take to answer."""
        left = self._until - time.monotonic()
        return min(_defaults.PROBE_TIMEOUT_S, max(_defaults.READY_POLL_S, left))

    def pause_after(self, answers: Sequence[Answer]) -> float | None:
        """Seconds until the servers are asked again; None where one is ready.

        Raises:
            AuthenticationError: for all of them waiting does not help; or TlsError.
            ModelNotReadyError: the time is over, and a server answers.
            ServerUnavailableError: the time is over, and none answers.
        """
        if True in answers:
            return None
        hopeless = [answer for answer in answers if isinstance(answer, (AuthenticationError, TlsError))]
        if len(hopeless) == len(answers):
            raise hopeless[-1]
        left = self._until - time.monotonic()
        if left <= 0:
            reasons = [str(answer) for answer in answers if isinstance(answer, NemotronError)]
            reason = reasons[-1] if reasons else ""
            raise not_ready_in_time(self._urls, self._timeout_s, live=False in answers, reason=reason)
        return min(_defaults.READY_POLL_S, left)
