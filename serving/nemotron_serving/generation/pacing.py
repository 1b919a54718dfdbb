"""When a stream's next response may go out.

A response is not a token: each costs 1 to 2 ms of CPU in the generating model, Triton, postprocessing and the client
together, whatever it carries. The first token goes out at once; after that, tokens gather for an interval
that grows with the number of streams, so that responses cost the engine no more than some 5 % of the machine.
"""

from __future__ import annotations

import os

_LEAST_INTERVAL_S = 0.04  # 25 updates a second look continuous to a reader
_RESPONSES_PER_S_AND_CORE = 25


def adaptive_interval_s(streams: int) -> float:
    """Least time between two responses of a stream, in seconds, with this many streams in flight."""
    return max(_LEAST_INTERVAL_S, streams / (_RESPONSES_PER_S_AND_CORE * (os.cpu_count() or 1)))
