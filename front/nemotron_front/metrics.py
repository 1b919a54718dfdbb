"""What is told of a request, once, when it is over: it is counted for Prometheus, and gets a line of the access log.

Both have ids, counts and timings. Never text, never keys, never a query.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from http import HTTPStatus

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from nemotron_client import Reply, Usage
from nemotron_front.exchange import Exchange
from nemotron_front.health import PROBED
from nemotron_front.models import VERSION

ACCESS = logging.getLogger("nemotron_front.access")

DIRECTORY_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
"""prometheus_client's: where several processes keep what they count, for each of them to tell all of it."""

_PREFIX = "nemotron_front"
_ITL_S = (0.002, 0.005, 0.01, 0.02, 0.03, 0.05, 0.08, 0.12, 0.2, 0.35, 0.6, 1, 2)
_WAIT_S = (0.01, 0.025, 0.05, 0.1, 0.2, 0.4, 0.8, 1.5, 3, 6, 12, 25, 50, 100, 200, 400, 800, 1600, 3200)


class Metrics:
    """The front's own metrics, of all its processes.

    Args:
        max_requests: Requests that this process has in hand at the most.

    Attributes:
        paths: Where its page is.
    """

    paths = ("/metrics", "/v1/metrics")

    def __init__(self, max_requests: int) -> None:
        self._registry = known = CollectorRegistry()
        request, mode = ("endpoint", "mode", "outcome"), ("endpoint", "mode")
        self._requests = Counter(f"{_PREFIX}_requests", "Requests that are over.", request, registry=known)
        self._seconds = _times("request", "Time from a request to its end", mode, known)
        self._in_flight = Gauge(
            f"{_PREFIX}_in_flight", "Requests in hand.", registry=known, multiprocess_mode="livesum"
        )
        most = Gauge(
            f"{_PREFIX}_max_requests",
            "Requests that are taken at one time.",
            registry=known,
            multiprocess_mode="livesum",
        )
        most.set(max_requests)
        self._draining = Gauge(
            f"{_PREFIX}_draining",
            "1 from the first moment of a drain on, before it 0.",
            registry=known,
            multiprocess_mode="livemax",
        )
        self._draining.set(0)
        build = Gauge(
            f"{_PREFIX}_build_info", "1, with the version.", ["version"], registry=known, multiprocess_mode="livemax"
        )
        build.labels(VERSION).set(1)
        self._left = Counter(
            f"{_PREFIX}_callers_left", "Requests whose caller left before the end.", ["endpoint"], registry=known
        )
        kinds = "prompt, cached (of the prompt), output, reasoning (of the output)"
        self._tokens = Counter(f"{_PREFIX}_tokens", f"Tokens by kind: {kinds}.", ["kind"], registry=known)
        self._ttft = _times("ttft", "Time to the first token", (), known)
        self._first_answer = _times("first_answer", "Time to the first token after the thinking", (), known)
        self._itl = _times("itl", "Mean time between two tokens of an answer", (), known, _ITL_S)

    def began(self) -> None:
        """A request has come."""
        self._in_flight.inc()

    def over(self, exchange: Exchange, seconds: float) -> None:
        """A request has been answered, or not, after so long."""
        endpoint = exchange.endpoint
        self._in_flight.dec()
        self._requests.labels(endpoint, exchange.mode, outcome_of(exchange)).inc()
        self._seconds.labels(endpoint, exchange.mode).observe(seconds)
        if exchange.caller_left:
            self._left.labels(endpoint).inc()
        if (usage := exchange.usage) is not None:
            self._count(usage)
        for reply in exchange.replies:
            self._time(reply)

    def drains(self) -> None:
        """This process has begun to drain."""
        self._draining.set(1)

    def page(self) -> bytes:
        """All of it, as Prometheus reads it."""
        if DIRECTORY_VARIABLE not in os.environ:
            return generate_latest(self._registry)
        registry = CollectorRegistry()
        MultiProcessCollector(registry)
        return generate_latest(registry)

    def routes(self) -> list[Route]:
        """The routes of the page."""

        async def page(_: Request) -> Response:
            return Response(self.page(), headers={"content-type": CONTENT_TYPE_LATEST})

        return [Route(path, page) for path in self.paths]

    def _count(self, usage: Usage) -> None:
        self._tokens.labels("prompt").inc(usage.prompt_tokens)
        self._tokens.labels("cached").inc(usage.cached_tokens or 0)
        self._tokens.labels("output").inc(usage.output_tokens)
        self._tokens.labels("reasoning").inc(usage.reasoning_tokens)

    def _time(self, reply: Reply) -> None:
        timings = reply.timings
        for histogram, value in (
            (self._ttft, timings.ttft_s),
            (self._first_answer, timings.first_answer_s),
            (self._itl, timings.mean_itl_s),
        ):
            if value is not None:
                histogram.observe(value)


def _times(
    name: str, text: str, labels: Sequence[str], registry: CollectorRegistry, buckets: Sequence[float] = _WAIT_S
) -> Histogram:
    return Histogram(f"{_PREFIX}_{name}_seconds", f"{text}.", labels, registry=registry, buckets=buckets)


def outcome_of(exchange: Exchange) -> str:
    """How a request ended: `ok`, `caller_left`, or the code of its error."""
    if exchange.error is not None:
        return exchange.error.code
    if exchange.caller_left:
        return "caller_left"
    return "ok" if exchange.status < HTTPStatus.BAD_REQUEST else str(exchange.status)


def log_request(exchange: Exchange, seconds: float) -> None:
    """Write the line of a request that is over, unless it is a probe's that found all well.

    Its path is the route's: the caller's may hold anything.
    """
    if not ACCESS.isEnabledFor(logging.INFO):
        return
    if exchange.endpoint in PROBED and exchange.status < HTTPStatus.BAD_REQUEST:  # so many that they hide the others
        return
    # 499, as proxies have it, for callers that left before there was a status.
    parts = [exchange.scope["method"], exchange.endpoint, str(exchange.status or 499), outcome_of(exchange)]
    parts += [f"id={exchange.id}", f"seconds={seconds:.3f}"]
    if exchange.request_id != exchange.id:
        parts.append(f"x-request-id={exchange.request_id}")
    if exchange.mode != "none":
        parts.append(f"mode={exchange.mode}")
    if (usage := exchange.usage) is not None:
        counts = {"prompt": usage.prompt_tokens, "output": usage.output_tokens, "reasoning": usage.reasoning_tokens}
        parts += [f"{name}={count}" for name, count in counts.items()]
    if exchange.replies:
        ttft = min((one.timings.ttft_s for one in exchange.replies if one.timings.ttft_s is not None), default=None)
        parts += [] if ttft is None else [f"ttft={ttft:.3f}"]
        parts.append(f"finish={','.join(sorted({one.finish_reason for one in exchange.replies}))}")
    ACCESS.info(" ".join(parts))
