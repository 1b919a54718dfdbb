"""Requests in flight, the mean over the window.

    in flight = time that requests spent under way in the window, added up / its length

Source: Little's law, L = rate * time, holds between this, the sent rate and the mean service latency.
"""

from __future__ import annotations

from nemotron_loadtest.metrics.kinds import Ratio

IN_FLIGHT = Ratio(
    name="in_flight",
    title="Requests in flight",
    unit="requests",
    better="neither",
    of=lambda traffic: (traffic.request_seconds, traffic.window.length_s),
)
