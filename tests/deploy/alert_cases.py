"""What series there have to be for each alert to fire, and which are just not enough, at a sample a minute."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

MINUTES = 600
Values = Mapping[str, str]
"""Of series, in promtool's notation."""

ELSEWHERE, HERE = "elsewhere", "here"
_REPLICAS = ("a:8002", "b:8002")


def always(value: float) -> str:
    """A gauge that stays as it is."""
    return f"{value:g}x{MINUTES}"


def growing(*pieces: tuple[int, float]) -> str:
    """A counter, by minutes and how much it grows in each of them."""
    total, values = 0.0, [0.0]
    for minutes, growth in pieces:
        for _ in range(minutes):
            total += growth
            values.append(total)
    return " ".join(f"{value:g}" for value in values)


def steps(*pieces: tuple[int, float]) -> str:
    """A gauge, by minutes and its value in them."""
    return " ".join(f"{value:g}" for minutes, value in pieces for _ in range(minutes))


def of_replica(metric: str, more: str = "", instance: str = "a:8002", namespace: str = HERE) -> str:
    """A series of a replica."""
    labels = f'job="nemotron", model="tensorrt_llm", namespace="{namespace}", instance="{instance}"'
    return f"{metric}{{{labels}{', ' if more else ''}{more}}}"


def of_front(metric: str, more: str = "", namespace: str = HERE) -> str:
    """A series of a front."""
    labels = f'job="nemotron-front", namespace="{namespace}", instance="f:9000"'
    return f"{metric}{{{labels}{', ' if more else ''}{more}}}"


def of_envoy(metric: str, namespace: str = HERE) -> str:
    """A series of Envoy."""
    labels = f'job="envoy", namespace="{namespace}", instance="e:9902", envoy_cluster_name="front"'
    return f"envoy_cluster_{metric}{{{labels}}}"


def up(instance: str, job: str = "nemotron", namespace: str = HERE) -> str:
    """Whether a target was scraped."""
    return f'up{{job="{job}", namespace="{namespace}", instance="{instance}"}}'


def requests(outcome: str) -> str:
    """Of the replica that is looked at; failures are preprocessing's, for those of the engine are another alert's."""
    model = "preprocessing" if outcome == "error" else "tensorrt_llm"
    return of_replica("nemotron_requests_total", f'outcome="{outcome}"').replace("tensorrt_llm", model)


def asked(outcome: str) -> str:
    """Of the front that is looked at."""
    return of_front("nemotron_front_requests_total", f'endpoint="/v1/chat/completions", outcome="{outcome}"')


def healthy() -> dict[str, str]:
    """Two namespaces in normal operation, under load."""
    found: dict[str, str] = {}
    for namespace in (HERE, ELSEWHERE):
        for instance in _REPLICAS:
            found[up(instance, namespace=namespace)] = always(1)
            for name, value in {
                "nemotron_start_time_seconds": 1000.0,
                "nemotron_draining": 0,
                "nemotron_requests_waiting": 0,
                "nemotron_requests_in_flight": 8,
                "nemotron_max_requests_in_flight": 64,
                "nemotron_kv_cache_used_ratio": 0.9,
            }.items():
                found[of_replica(name, "", instance, namespace)] = always(value)
            found[of_replica("nemotron_build_info", 'version="1", package="p"', instance, namespace)] = always(1)
        found[of_replica("nemotron_requests_total", 'outcome="ok"', "a:8002", namespace)] = growing((MINUTES, 1000))
        found[of_replica("nemotron_ttft_seconds_bucket", 'le="3"', "a:8002", namespace)] = growing((MINUTES, 600))
        found[of_replica("nemotron_ttft_seconds_count", "", "a:8002", namespace)] = growing((MINUTES, 600))
        found[up("f:9000", "nemotron-front", namespace)] = always(1)
        for name, value in {"draining": 0, "in_flight": 10, "max_requests": 100}.items():
            found[of_front(f"nemotron_front_{name}", "", namespace)] = always(value)
        for endpoint, growth in (("/v1/chat/completions", 1000), ("/v1/health/ready", 9000), ("/metrics", 9000)):
            labels = f'endpoint="{endpoint}", outcome="ok"'
            found[of_front("nemotron_front_requests_total", labels, namespace)] = growing((MINUTES, growth))
        for name in ("membership_healthy", "membership_total"):
            found[of_envoy(name, namespace)] = always(2)
        found[of_envoy("outlier_detection_ejections_enforced_total", namespace)] = always(0)
    return found


@dataclass(frozen=True)
class Case:
    """What happens, and whether an alert fires.

    Attributes:
        alert: The one that it is about.
        what: For people.
        changes: Series beside or in place of the healthy ones.
        fires_at: The first minute at which it fires; None where it does not.
        labels: That it has then, without its name; those that are looked at are namespace and instance.
        gone: Metrics that are not there.
        with_it: Alerts that may fire at the same time.
        still_at: A minute at which it fires as well.
        silent: The minutes that are looked at where it does not fire.
    """

    alert: str
    what: str
    changes: Values
    fires_at: int | None = None
    labels: Mapping[str, str] = field(default_factory=lambda: {"namespace": HERE})
    gone: Sequence[str] = ()
    with_it: Sequence[str] = ()
    still_at: int | None = None
    silent: tuple[int, int] = (0, 120)

    @property
    def series(self) -> dict[str, str]:
        """All of them."""
        kept = {name: value for name, value in healthy().items() if name.partition("{")[0] not in self.gone}
        return {**kept, **self.changes}


_A = {"namespace": HERE, "instance": "a:8002"}
_F = {"namespace": HERE, "instance": "f:9000"}
_E = {"namespace": HERE, "instance": "e:9902"}


def _pair(
    alert: str, series: str, too_much: str, just_enough: str, fires_at: int, labels: Mapping[str, str]
) -> Iterator[Case]:
    """A series on both sides of a threshold."""
    yield Case(alert, "above", {series: too_much}, fires_at, labels)
    yield Case(alert, "at or below", {series: just_enough}, None, labels)


def _shares(alert: str, part: Sequence[str], all_else: str, above: float, below: float) -> Iterator[Case]:
    """Counters of which one is part of all: the first rate is there after a minute, and it fires 5 later."""
    for what, share, fires_at in (("above", above, 6), ("below", below, None)):
        changes = {one: growing((MINUTES, 1000 * share / len(part))) for one in part}
        changes[all_else] = growing((MINUTES, 1000 * (1 - share)))
        yield Case(alert, what, changes, fires_at)


def _late(count: float, *pieces: tuple[int, float]) -> dict[str, str]:
    """First tokens by minutes, and the share of them in each of these that takes too long; `count` a minute."""
    minutes = sum(length for length, _ in pieces)
    good = growing(*((length, count * (1 - share)) for length, share in pieces))
    return {
        of_replica("nemotron_ttft_seconds_count"): growing((minutes, count)),
        of_replica("nemotron_ttft_seconds_bucket", 'le="3"'): good,
    }


def _burns() -> Iterator[Case]:
    fast, slow = "NemotronTtftBurnsFast", "NemotronTtftBurnsSlowly"
    also = {fast: [slow], slow: [fast]}
    # A burst uses up the long window's share, at its end by just enough or by just too little.
    yield Case(fast, "1 h", _late(600, (110, 0), (9, 590 / 600), (20, 0)), 110 + 9 + 2, with_it=also[fast])
    yield Case(fast, "not 1 h", _late(600, (110, 0), (9, 560 / 600), (11, 0)), with_it=also[fast], silent=(105, 130))
    yield Case(slow, "6 h", _late(600, (400, 0), (54, 248 / 600), (40, 0)), 400 + 53 + 15, with_it=also[slow])
    yield Case(slow, "not 6 h", _late(600, (400, 0), (54, 232 / 600), (40, 0)), with_it=also[slow], silent=(454, 480))
    # A long time was bad, and the short window is just good or just bad by now.
    yield Case(fast, "5 min", _late(600, (120, 0.3), (20, 0.15)), 3, with_it=also[fast], still_at=139)
    yield Case(fast, "not 5 min", _late(600, (60, 0.3), (30, 0.14)), with_it=also[fast], silent=(67, 89))
    yield Case(slow, "30 min", _late(600, (420, 0.3), (60, 0.062)), 16, with_it=also[slow], still_at=479)
    yield Case(slow, "not 30 min", _late(600, (420, 0.3), (60, 0.058)), with_it=also[slow], silent=(455, 479))
    # So few that nothing follows from them. An hour from the first sample on is whole after an hour.
    yield Case(fast, "enough to judge", _late(1.02, (300, 1)), 61, with_it=also[fast])
    yield Case(fast, "too few", _late(1, (300, 1)), with_it=also[fast], silent=(180, 200))
    yield Case(slow, "enough to judge", _late(1.02, (500, 1)), 368, with_it=also[slow])
    yield Case(slow, "too few", _late(1, (500, 1)), with_it=also[slow], silent=(470, 490))


def _cases() -> Iterator[Case]:
    both = {up(instance): always(0) for instance in _REPLICAS}
    yield Case("NemotronNoReplica", "both are down", both, 5)
    yield Case("NemotronNoReplica", "there are none", {}, 5, {}, gone=["up"])
    yield Case("NemotronNoReplica", "one is down", {up("a:8002"): always(0)}, with_it=["NemotronReplicaDown"])
    yield Case("NemotronReplicaDown", "one is down", {up("a:8002"): always(0)}, 20, _A)
    yield Case("NemotronReplicaDown", "a start as long as the chart allows", {up("a:8002"): steps((17, 0), (300, 1))})

    start = of_replica("nemotron_start_time_seconds")
    three, two = steps((10, 1), (10, 2), (10, 3), (300, 4)), steps((10, 1), (10, 2), (300, 3))
    yield from _pair("NemotronReplicaRestarts", start, three, two, 31, _A)
    yield Case("NemotronReplicaRestarts", "over hours", {start: steps((50, 1), (50, 2), (50, 3), (50, 4), (50, 5))})

    yield Case("NemotronDrainStuck", "a replica", {of_replica("nemotron_draining"): always(1)}, 10, _A)
    yield Case("NemotronDrainStuck", "a front", {of_front("nemotron_front_draining"): always(1)}, 10, _F)
    yield Case("NemotronDrainStuck", "one that ends", {of_replica("nemotron_draining"): steps((9, 1), (200, 0))})

    own = of_replica("nemotron_build_info", 'version="1", package="p"')
    for what, other in (("version", 'version="2", package="p"'), ("package", 'version="1", package="q"')):
        changes = {own: "_x600", of_replica("nemotron_build_info", other): always(1)}
        yield Case("NemotronPackagesDiffer", what, changes, 60)

    waiting = of_replica("nemotron_requests_waiting")
    yield from _pair("NemotronRequestsWaiting", waiting, always(1.1), always(1), 10, _A)
    kv = of_replica("nemotron_kv_cache_used_ratio")
    yield from _pair("NemotronKvCacheFull", kv, always(0.96), always(0.95), 10, _A)
    yield from _shares("NemotronRefusals", [requests("refused")], requests("ok"), 0.0105, 0.0095)
    yield from _shares("NemotronFailures", [requests("error")], requests("ok"), 0.0205, 0.0195)

    errors = of_replica("nemotron_requests_total", 'outcome="error"')
    six, five = (growing((29, 0), (1, count), (200, 0)) for count in (6, 5))
    yield from _pair("NemotronEngineErrors", errors, six, five, 31, _A)
    yield from _burns()

    yield Case("NemotronFrontDown", "it is down", {up("f:9000", "nemotron-front"): always(0)}, 20, _F)
    in_flight = of_front("nemotron_front_in_flight")
    yield from _pair("NemotronFrontOverload", in_flight, always(91), always(90), 5, _F)
    yield from _shares("NemotronFrontRefusals", [asked("server_overloaded")], asked("ok"), 0.0105, 0.0095)
    failures = [asked(code) for code in ("server_error", "not_ready", "upstream_authentication")]
    yield from _shares("NemotronFrontFailures", failures, asked("ok"), 0.0205, 0.0195)

    hosts = of_envoy("membership_healthy")
    yield Case("NemotronEdgeNoHealthyHost", "none", {hosts: always(0)}, 1, _E)
    yield Case("NemotronEdgeNoHealthyHost", "one", {hosts: always(1)}, with_it=["NemotronEdgeUnhealthyHosts"])
    yield Case("NemotronEdgeUnhealthyHosts", "one of two", {hosts: always(1)}, 15, _E)
    ejections = of_envoy("outlier_detection_ejections_enforced_total")
    four, three = (growing((29, 0), (1, count), (200, 0)) for count in (4, 3))
    yield from _pair("NemotronEdgeEjections", ejections, four, three, 31, _E)


CASES = tuple(_cases())
