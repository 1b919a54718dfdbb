"""Two replicas, fronts and Envoy under a little load, watched by Prometheus: nothing asks for what is not there."""

from __future__ import annotations

import contextlib
import http.client
import json
import math
import os
import re
import signal
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from deploy.monitoring.make_dashboards import ALL
from nemotron_client import Client, NemotronError
from tests.balancer.envoy import Balancer, balancing
from tests.deploy.monitored import MONITORING, Prometheus, Told, alertmanager, prometheus, receiving
from tests.integration.conftest import Server, serving, simulated_package
from tests.running import repeating
from tests.waiting import wait_until

__all__ = ["simulated_package"]  # a fixture

# Everything here is of one stack, which one worker has.
pytestmark = [pytest.mark.xdist_group("monitored"), pytest.mark.timeout(1200)]

PATIENCE_S = 300
TEXT = (MONITORING / "rules" / "nemotron.yaml").read_text(encoding="utf-8")
ALERTS = re.findall(r"- alert: (\w+)", TEXT)
# No machine of the tests has a GPU.
OF_GPUS = ("nv_gpu_utilization", "nv_gpu_memory_used_bytes")
_NAME = re.compile(r"(?:namespace\w*:)?\b(?:nemotron|nv|envoy)_\w+(?::\w+)*")
_QUOTED = re.compile(r'"(?:[^"\\]|\\.)*"')
_GROUPING = re.compile(r"\b(?:by|without|on|ignoring) \([^)]*\)")


@dataclass(frozen=True)
class Stack:
    """What runs."""

    replicas: list[Server]
    edge: Balancer
    prometheus: Prometheus
    told: Told


@pytest.fixture(scope="module")
def stack(simulated_package: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """All of it, under load until the last test is over."""
    package = simulated_package("--ttft-ms", "20", "--token-ms", "5", "--max-batch-size", "2", "--max-waiting", "1")
    directory = tmp_path_factory.mktemp("monitored")
    with contextlib.ExitStack() as running:
        replicas = [
            running.enter_context(serving(package, tmp_path_factory.mktemp("replica"), "--openai-port", "0", *options))
            for options in (["--openai-options=--workers 2"], [])
        ]
        edge = running.enter_context(balancing(replicas, tmp_path_factory.mktemp("envoy")))
        told = running.enter_context(receiving())
        manager = running.enter_context(alertmanager(told, directory))
        targets = {
            "nemotron": [urlsplit(replica.info["metrics_url"]).netloc for replica in replicas],
            "nemotron-front": [urlsplit(replica.info["openai_url"]).netloc for replica in replicas],
            "envoy": [urlsplit(edge.metrics_url).netloc],
            "alertmanager": [manager],
        }
        watching = running.enter_context(prometheus(targets, manager, directory))
        running.enter_context(loading(edge, replicas))
        yield Stack(replicas, edge, watching, told)


@contextlib.contextmanager
def loading(edge: Balancer, replicas: list[Server]) -> Iterator[None]:
    """Requests of all kinds, over and over, until the block ends."""
    works = [
        lambda: chat(edge, "[sim:think] Hi", stream=True, enable_thinking=True),
        lambda: chat(edge, "Hi"),
        lambda: chat(edge, "[sim:fail] Hi"),
        lambda: chat(edge, "[sim:random]", stream=True, leave=True, max_tokens=1500),
        lambda: crowd(replicas[0]),
    ]

    def suppressed(work: Callable[[], object]) -> None:
        with contextlib.suppress(OSError, http.client.HTTPException, NemotronError):  # a replica is killed below
            work()

    with repeating([partial(suppressed, work) for work in works], pause=0.5):
        yield


def chat(
    edge: Balancer, text: str, *, stream: bool = False, leave: bool = False, enable_thinking: bool = False, **more: Any
) -> None:
    """One request through Envoy and a front. Who leaves does so with the first bytes of the answer."""
    body = {"messages": [{"role": "user", "content": text}], "stream": stream, "max_tokens": 60, **more}
    body["chat_template_kwargs"] = {"enable_thinking": enable_thinking}
    with contextlib.closing(http.client.HTTPConnection(urlsplit(edge.http_url).netloc, timeout=60)) as connection:
        connection.request("POST", "/v1/chat/completions", json.dumps(body))
        response = connection.getresponse()
        response.read(1 if leave else None)


def crowd(replica: Server) -> None:
    """More requests at once than a replica takes, so its front says 429, and one that can never succeed."""
    ask = {"messages": [{"role": "user", "content": "[sim:random]"}], "max_tokens": 100}
    front = urlsplit(replica.info["openai_url"]).netloc

    def one() -> None:
        connection = http.client.HTTPConnection(front, timeout=60)
        with contextlib.closing(connection), contextlib.suppress(OSError, http.client.HTTPException):
            connection.request("POST", "/v1/chat/completions", json.dumps(ask))
            connection.getresponse().read()

    threads = [threading.Thread(target=one) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with contextlib.suppress(NemotronError), Client(replica.grpc_url, max_retries=0) as client:
        client.chat([{"role": "user", "content": "Hi"}], max_tokens=10**9)


def queries() -> Iterator[tuple[str, str, str]]:
    """All of the dashboards' files: the dashboard and the panel, the query, and how its series are named."""
    for dashboard in ALL:
        written = json.loads((MONITORING / "dashboards" / f"{dashboard.name}.json").read_text(encoding="utf-8"))
        for panel in written["panels"]:
            for target in panel.get("targets", ()):
                yield f"{dashboard.name}: {panel['title']}", target["expr"], target["legendFormat"]


def filled(query: str) -> str:
    """A query with all of the pickers at All, as Grafana sends it."""
    text = query.replace("$namespace", ".*").replace("$instance", ".*").replace("$__rate_interval", "1m")
    assert "$" not in text
    return text


def metrics_of(query: str) -> set[str]:
    """The metrics of ours, of Triton and of Envoy that a query names."""
    return set(_NAME.findall(_GROUPING.sub("", _QUOTED.sub('""', query))))


def test_every_query_of_a_dashboard_has_a_value(stack: Stack) -> None:
    asked = {query: panel for panel, query, _ in queries() if not metrics_of(query) & set(OF_GPUS)}
    assert len(asked) > 50

    def empty() -> list[str]:
        return [
            f"{panel}: {query}"
            for query, panel in asked.items()
            if not any(map(math.isfinite, stack.prometheus.values(filled(query))))
        ]

    with contextlib.suppress(AssertionError):
        wait_until(lambda: not empty(), PATIENCE_S)
    found = empty()
    assert not found, "\n".join(found)


def test_a_series_is_named_by_labels_that_it_has(stack: Stack) -> None:
    wrong = [
        f"{panel}: {legend} of {series['metric']}"
        for panel, query, legend in queries()
        for series in stack.prometheus.ask("query", query=filled(query))["result"]
        if not set(re.findall(r"{{(\w+)}}", legend)) <= set(series["metric"])
    ]
    assert not wrong, "\n".join(wrong)


def test_every_alert_finds_what_it_looks_at_and_says_where(stack: Stack) -> None:
    def shown() -> dict[str, dict[str, Any]]:
        return {alert["labels"]["alertname"].removeprefix("Shown"): alert for alert in stack.prometheus.alerts()}

    with contextlib.suppress(AssertionError):
        wait_until(lambda: set(ALERTS) <= set(shown()), PATIENCE_S)
    found = shown()
    assert not set(ALERTS) - set(found)
    for name in ALERTS:
        alert = found[name]
        (block,) = re.findall(rf"- alert: {name}\n.*?(?=\n      - |\n      #|\n\n|\Z)", TEXT, re.DOTALL)
        assert set(re.findall(r"\$labels\.(\w+)", block)) <= {*alert["labels"], "namespace"}, name
        for text in alert["annotations"].values():
            assert not re.search(r"<|%!|\{\{|  ", text), text


def test_all_rules_are_evaluated_without_a_complaint(stack: Stack) -> None:
    wait_until(
        lambda: all(group["lastEvaluation"] > "1" for group in stack.prometheus.ask("rules")["groups"]), PATIENCE_S
    )
    rules = [rule for group in stack.prometheus.ask("rules")["groups"] for rule in group["rules"]]
    assert len(rules) > 2 * len(ALERTS)
    assert not [(rule["name"], rule["lastError"]) for rule in rules if rule["health"] == "err"]


def test_every_metric_that_is_named_is_exported(stack: Stack) -> None:
    named = {name for _, query, _ in queries() for name in metrics_of(query)}
    named |= {
        name for line in re.findall(r"^ {8}(?:expr: (?!\|)| {2})(.*)", TEXT, re.MULTILINE) for name in metrics_of(line)
    }
    named -= set(OF_GPUS)
    assert len(named) > 40

    def missing() -> set[str]:
        return named - stack.prometheus.names()

    with contextlib.suppress(AssertionError):
        wait_until(lambda: not missing(), PATIENCE_S)
    assert not missing()


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ('sum by (nemotron_label) (rate(nemotron_no_such{model="nv_x"}[5m]))', {"nemotron_no_such"}),
        (
            "namespace:nemotron_no_such:sum / on (instance) envoy_nothing",
            {"namespace:nemotron_no_such:sum", "envoy_nothing"},
        ),
    ],
)
def test_a_metric_that_is_not_there_would_be_seen(query: str, names: set[str]) -> None:
    assert metrics_of(query) == names


def test_an_alert_is_told_when_it_fires_and_when_it_is_over(stack: Stack) -> None:
    """A replica's Triton is killed; nemotron-serve starts it again, though not before it was told."""
    replica = stack.replicas[1]
    down = ("/tickets", urlsplit(replica.info["metrics_url"]).netloc)
    with suspended(replica.info["pid"]):
        os.kill(replica.info["triton_pid"], signal.SIGKILL)
        wait_until(lambda: stack.told.last("NemotronReplicaDown").get(down) == "firing", PATIENCE_S)
    wait_until(lambda: stack.told.last("NemotronReplicaDown")[down] == "resolved", PATIENCE_S)
    # A machine that has much to do may keep the other one's metrics back, too: then this is so.
    were_down = stack.prometheus.ask("query", query='min_over_time(up{job="nemotron"}[1h]) == 0')["result"]
    assert stack.told.last("NemotronReplicaDown").keys() <= {
        ("/tickets", one["metric"]["instance"]) for one in were_down
    }
    wait_until(lambda: ("/pager", "") in stack.told.last("NemotronFailures"), PATIENCE_S)


@contextlib.contextmanager
def suspended(pid: int) -> Iterator[None]:
    """A process does nothing until the block ends."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)
