"""Kubernetes' HorizontalPodAutoscaler as a function of time, and replicas that carry a recorded load.

The algorithm is that of Kubernetes' controller (pkg/controller/podautoscaler), as
https://kubernetes.io/docs/concepts/workloads/autoscaling/horizontal-pod-autoscale/ tells it, for metrics of pods:

- every 15 s, for each metric: ratio = mean of the pods that have it / target; within 0.1 of 1 the number stays; else it
  is ceil(ratio x pods that have it). Pods without the metric (they are starting) count as 0 when the number grows, and
  as the target when it shrinks, and where that would turn the direction round the number stays. Of several metrics
  the largest number counts.
- stabilization: never below the largest number of the last `scaleDown.stabilizationWindowSeconds`, never above the
  smallest of the last `scaleUp.stabilizationWindowSeconds`.
- policies: of how many may come or go in a period, counted from what was there at its begin; of several the one that
  changes most.
- never below `minReplicas` or above `maxReplicas`.

A replica that is added carries nothing for `start_s`. What is ready shares the load evenly, each with so many places.
Requests come as they were recorded, `arrivals_of`; one takes `service_s` in its place and waits before for as long as
all are taken, so that the requests in flight change by: arrivals - running / service_s, a second.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

RAMPS = Path(__file__).parent / "ramps"
SYNC_S = 15
TOLERANCE = 0.1


@dataclass(frozen=True)
class Recording:
    """What was recorded, see ramps/record.py; a value a second.

    Attributes:
        places: Requests at once that the server took.
        service_s: Seconds of a request in its place.
        in_flight: Requests in flight.
        waiting: Those that waited for a place.
    """

    places: int
    service_s: float
    in_flight: Sequence[float]
    waiting: Sequence[float]

    @classmethod
    def named(cls, name: str) -> Recording:
        """The one in this file; seconds that could not be scraped have what was seen before."""
        found = json.loads((RAMPS / f"{name}.json").read_text(encoding="utf-8"))
        series: list[list[float]] = [[], []]
        at = 0
        for second in range(int(found["at_s"][-1])):
            while at + 1 < len(found["at_s"]) and found["at_s"][at + 1] <= second + 0.5:
                at += 1
            for values, name_of in zip(series, ("in_flight", "waiting"), strict=True):
                values.append(found[name_of][at])
        return cls(found["places"], found["service_s"], *series)

    def then(self, seconds: int, level: float) -> Recording:
        """The same, and after it a steady load of so many in flight."""
        more = [level] * seconds
        return Recording(self.places, self.service_s, [*self.in_flight, *more], [*self.waiting, *[0.0] * seconds])


def arrivals_of(recording: Recording) -> list[float]:
    """Requests that came in each second, of a recording in which none waited: growth, and what has ended meanwhile."""
    load = recording.in_flight
    return [max(0.0, after - before + before / recording.service_s) for before, after in pairwise(load)]


def backlog(arrivals: Sequence[float], places: Sequence[int], service_s: float) -> list[float]:
    """Requests in flight at the end of each second, given the places there are in it."""
    now, series = 0.0, []
    for come, free in zip(arrivals, places, strict=True):
        now = max(0.0, now + come - min(now, free) / service_s)
        series.append(now)
    return series


@dataclass
class Autoscaler:
    """One HorizontalPodAutoscaler.

    Attributes:
        targets: Average value of each metric.
        behavior: As in the object's spec.
        least: minReplicas.
        most: maxReplicas.
        replicas: Asked for now.
    """

    targets: Mapping[str, float]
    behavior: Mapping[str, Any]
    least: int
    most: int
    replicas: int
    _recommended: list[tuple[float, int]] = field(default_factory=list)
    _changes: list[tuple[float, int]] = field(default_factory=list)

    def sync(self, now: float, metrics: Mapping[str, Sequence[float]]) -> int:
        """Look once, and return how many replicas there are to be.

        Args:
            now: Seconds.
            metrics: Of each metric the values of the pods that have it.
        """
        wanted = max(self._wanted(metrics[name], target) for name, target in self.targets.items())
        wanted = self._stable(now, wanted)
        wanted = max(self.least, min(self.most, self._limited(now, wanted)))
        if wanted != self.replicas:
            self._changes.append((now, wanted - self.replicas))
            self.replicas = wanted
        return wanted

    def _wanted(self, values: Sequence[float], target: float) -> int:
        ready, missing = len(values), self.replicas - len(values)
        if not ready:
            return self.replicas
        ratio = sum(values) / ready / target
        if missing <= 0:
            return self.replicas if abs(ratio - 1) <= TOLERANCE else math.ceil(ratio * ready - 1e-9)
        added = 0.0 if ratio > 1 else missing * target
        other = (sum(values) + added) / self.replicas / target
        if abs(other - 1) <= TOLERANCE or (ratio > 1) != (other > 1):
            return self.replicas
        wanted = math.ceil(other * self.replicas - 1e-9)
        turned = wanted < self.replicas if other > 1 else wanted > self.replicas
        return self.replicas if turned else wanted

    def _stable(self, now: float, wanted: int) -> int:
        self._recommended.append((now, wanted))
        up, down = (
            [
                count
                for at, count in self._recommended
                if at > now - max(1, self._rules(way)["stabilizationWindowSeconds"])
            ]
            for way in ("scaleUp", "scaleDown")
        )
        return min(max(self.replicas, min(up)), max(down))

    def _limited(self, now: float, wanted: int) -> int:
        if wanted == self.replicas:
            return wanted
        grows = wanted > self.replicas
        policies = self._rules("scaleUp" if grows else "scaleDown")["policies"]
        reached = [self._reach(now, policy, 1 if grows else -1) for policy in policies]
        return min(wanted, max(reached)) if grows else max(wanted, min(reached))

    def _reach(self, now: float, policy: Mapping[str, Any], sign: int) -> int:
        since = now - policy["periodSeconds"]
        begin = self.replicas - sum(by for at, by in self._changes if at > since and by * sign > 0)
        if policy["type"] == "Pods":
            return begin + sign * int(policy["value"])
        return math.ceil(begin * (1 + policy["value"] / 100)) if sign > 0 else int(begin * (1 - policy["value"] / 100))

    def _rules(self, way: str) -> Mapping[str, Any]:
        rules: Mapping[str, Any] = self.behavior[way]
        return rules


@dataclass(frozen=True)
class Replay:
    """What became of it; a value a second.

    Attributes:
        asked: Replicas that the autoscaler asked for.
        ready: Those that carried load.
        in_flight: Requests in flight, of all.
        waiting: Those that waited.
    """

    asked: Sequence[int]
    ready: Sequence[int]
    in_flight: Sequence[float]
    waiting: Sequence[float]

    def changes(self) -> list[tuple[int, int]]:
        """Seconds and by how many the number asked for changed."""
        pairs = enumerate(pairwise(self.asked), 1)
        return [(second, after - before) for second, (before, after) in pairs if after != before]


def replay(recording: Recording, autoscaler: Autoscaler, *, places: int, start_s: int) -> Replay:
    """Play a recording in which nobody waited to replicas that come and go.

    Args:
        recording: The load.
        autoscaler: Asks for replicas; those that it has at the begin are ready.
        places: Requests at once of a replica.
        start_s: Seconds until one that was asked for carries load.
    """
    began = [-start_s] * autoscaler.replicas
    now, rows = recording.in_flight[0], []
    for second, come in enumerate(arrivals_of(recording)):
        ready = sum(at + start_s <= second for at in began)
        running = min(now, ready * places)
        now = max(0.0, now + come - running / recording.service_s)
        waiting = max(0.0, now - ready * places)
        if second % SYNC_S == 0:
            share = {"nemotron_requests_in_flight": now, "nemotron_requests_waiting": waiting}
            asked = autoscaler.sync(second, {name: [value / ready] * ready for name, value in share.items()})
            began = [*began, *[second] * (asked - len(began))][:asked]
        rows.append((autoscaler.replicas, ready, now, waiting))
    return Replay(*map(list, zip(*rows, strict=True)))
