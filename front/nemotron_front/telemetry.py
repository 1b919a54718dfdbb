"""A span of OpenTelemetry for each request that asks for text, where the program uses OpenTelemetry.

Nothing is imported for it: a program that wants traces has imported `opentelemetry.trace` itself, as
`opentelemetry-instrument nemotron-front` does. The client's span of the same request is within this one. In any other
program the caller's trace goes on to the server as it came.
"""

from __future__ import annotations

import contextlib
import re
import sys
from collections.abc import Iterator

from nemotron_front.errors import ApiError
from nemotron_front.exchange import Exchange

_TRACE = {
    "traceparent": re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}"),
    "tracestate": re.compile(r"[!-~]([ -~]{0,510}[!-~])?"),
}


def carried_on(exchange: Exchange) -> dict[str, str]:
    """The headers of the caller's trace, for the server to see; none where a span of ours stands between."""
    return {} if _traces() else _trace_of(exchange)


@contextlib.contextmanager
def span(exchange: Exchange) -> Iterator[None]:
    """The span of a request, current within the block. Does nothing in a program without OpenTelemetry."""
    if not _traces():
        yield
        return
    from opentelemetry import propagate, trace

    method, path = exchange.scope["method"], exchange.endpoint
    with trace.get_tracer("nemotron_front").start_as_current_span(
        f"{method} {path}",
        context=propagate.extract(_trace_of(exchange)),
        kind=trace.SpanKind.SERVER,
        attributes={"http.request.method": method, "http.route": path},
        record_exception=False,  # its message may hold what the caller has written
        set_status_on_exception=False,
    ) as one:
        try:
            yield
        except ApiError as refusal:
            exchange.error = refusal
            raise
        finally:
            error = exchange.error
            one.set_attribute("http.response.status_code", exchange.status or (error.status if error else 499))
            if error is not None:
                one.set_attribute("error.type", error.code)
                if error.status >= 500:
                    one.set_status(trace.StatusCode.ERROR)


def _trace_of(exchange: Exchange) -> dict[str, str]:
    given = {name: exchange.headers.get(name.encode(), b"").decode("latin-1") for name in _TRACE}
    return {name: value for name, value in given.items() if _TRACE[name].fullmatch(value)}


def _traces() -> bool:
    return sys.modules.get("opentelemetry.trace") is not None
