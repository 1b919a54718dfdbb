"""Requests per second, from the wish to the result.

    requested rate   intended starts in the window / its length
    sent rate        actual starts in the window / its length
    completed rate   whole answers that ended in the window / its length
    achieved share   requests that ended as meant in the window / intended starts in it

Cancelled on purpose counts as ended as meant. A server that keeps up has an achieved share near 1; below it by more
than chance, work piles up or is refused. A sent rate below the requested one is the generator's fault.

Source: inference-perf's requested and achieved rate.
"""

from __future__ import annotations

from nemotron_loadtest.metrics.kinds import Ratio

REQUESTED_RATE = Ratio(
    name="requested_per_s",
    title="Requested rate",
    unit="requests/s",
    better="neither",
    of=lambda traffic: (traffic.requested, traffic.window.length_s),
)
SENT_RATE = Ratio(
    name="sent_per_s",
    title="Sent rate",
    unit="requests/s",
    better="neither",
    of=lambda traffic: (traffic.sent, traffic.window.length_s),
)
REQUEST_RATE = Ratio(
    name="requests_per_s",
    title="Completed requests per second",
    unit="requests/s",
    better="higher",
    of=lambda traffic: (traffic.completed, traffic.window.length_s),
)
ACHIEVED_SHARE = Ratio(
    name="achieved_share",
    title="Achieved of requested",
    unit="share",
    better="higher",
    of=lambda traffic: (traffic.achieved, traffic.requested),
)
