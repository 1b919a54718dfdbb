"""Makes this process one of Locust's: imported before anything that connects.

Locust's own import replaces the standard library's sockets and threads by gevent's. gRPC does not wait through these,
so it is told to give way to other greenlets. While a greenlet waits for gRPC, gevent keeps a native thread of its hub's
pool for it. That pool has ten by default: the eleventh stream would be read when one of the ten has something to say,
and its times would be the load generator's.
"""

from __future__ import annotations

import locust  # noqa: F401 - patches the standard library, and has to do so before all else

# isort: split
import gevent
import grpc.experimental.gevent

SPARE_THREADS = 16
"""For name look-ups, cancels and questions to the server, beside the streams."""

grpc.experimental.gevent.init_gevent()


def allow_streams(count: int) -> None:
    """Have so many streams wait at the same time without waiting for each other."""
    pool = gevent.get_hub().threadpool
    pool.maxsize = max(pool.maxsize, count + SPARE_THREADS)
