"""Releases beside each other, how they scale and are watched, and the chart as a package."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.deploy.chart_cases import releases, values_of
from tests.deploy.releases import CHART, Release, ask_helm, pod_templates, render, render_each, selects, targets
from tests.deploy.tools import DEPLOY

EVERYTHING = ("edge", "keys", "build", "bench-own", "new-claim", "hpa")
PAIRS = [("nano", "next"), ("nano", "nano-next"), ("nemotron", "nemotron-nemotron"), ("a" * 53, "a" * 52 + "b")]


def names(release: Release) -> set[tuple[str, str]]:
    return {(one["kind"], one["metadata"]["name"]) for one in release.objects}


@pytest.mark.parametrize(("first", "second"), PAIRS)
def test_releases_in_a_namespace_have_nothing_in_common(first: str, second: str) -> None:
    """As a canary and what it may replace have to."""
    rendered = iter(render_each([(name, values_of(case)) for case in EVERYTHING for name in (first, second)]))
    for case, one, other in zip(EVERYTHING, rendered, rendered, strict=True):
        assert not names(one) & names(other), case
        for mine, theirs in ((one, other), (other, one)):
            labels = [template["metadata"]["labels"] for _, template in pod_templates(theirs.objects)]
            for what, selector in targets(mine):
                assert not any(selects(selector, of) for of in labels), what


def test_a_revision_has_jobs_of_its_own() -> None:
    """What a Job runs cannot be changed: an upgrade would fail."""
    assert releases()["bench"].one("Job")["metadata"]["name"].endswith("-bench-1")
    assert releases()["build"].one("Job")["metadata"]["name"].endswith("-build-1")


def test_a_canary_leaves_what_is_one_for_the_namespace_to_the_first() -> None:
    kinds = {one["kind"] for one in releases()["canary"].objects}
    assert "PodMonitor" in kinds
    assert not kinds & {"PrometheusRule", "GRPCRoute", "HTTPRoute", "ConfigMap"}


# Scaling


def test_servers_are_added_fast_and_taken_away_as_they_drain() -> None:
    behaviors = [
        releases()["hpa"].one("HorizontalPodAutoscaler")["spec"]["behavior"],
        releases()["keda-from-one"].one("ScaledObject")["spec"]["advanced"]["horizontalPodAutoscalerConfig"][
            "behavior"
        ],
    ]
    grace = releases()["hpa"].server()["spec"]["template"]["spec"]["terminationGracePeriodSeconds"]
    for behavior in behaviors:
        up, down = behavior["scaleUp"], behavior["scaleDown"]
        assert {"type": "Percent", "value": 100, "periodSeconds": 30} in up["policies"]
        assert (up["selectPolicy"], up["stabilizationWindowSeconds"]) == ("Max", 0)
        assert down == {
            "stabilizationWindowSeconds": 300,
            "policies": [{"type": "Pods", "value": 1, "periodSeconds": grace}],
        }


def test_the_longest_drain_is_a_time_that_an_autoscaler_takes() -> None:
    release = render(values_of("long-drain") | {"autoscaling": {"kind": "hpa"}})
    behavior = release.one("HorizontalPodAutoscaler")["spec"]["behavior"]
    assert behavior["scaleDown"]["policies"][0]["periodSeconds"] == 1800


def test_an_autoscaler_goes_by_our_own_gauges() -> None:
    spec = releases()["hpa"].one("HorizontalPodAutoscaler")["spec"]
    found = {one["pods"]["metric"]["name"]: one["pods"]["target"] for one in spec["metrics"]}
    assert found == {
        "nemotron_requests_in_flight": {"type": "AverageValue", "averageValue": "17.5"},
        "nemotron_requests_waiting": {"type": "AverageValue", "averageValue": "1"},
    }
    assert (spec["minReplicas"], spec["maxReplicas"]) == (2, 4)


def test_keda_asks_for_this_releases_servers_by_a_label_of_theirs() -> None:
    release = releases()["many-replicas"]
    spec = release.one("ScaledObject")["spec"]
    asked = {one["metadata"]["query"]: one["metadata"]["threshold"] for one in spec["triggers"]}
    of_release = f'namespace="models",app_kubernetes_io_instance="{release.name}"'
    assert asked == {
        f"sum(nemotron_requests_in_flight{{{of_release}}})": "24",
        f"sum(nemotron_requests_waiting{{{of_release}}})": "1",
    }
    assert {one["metricType"] for one in spec["triggers"]} == {"AverageValue"}
    # A scrape that fails would else take away all servers but the fewest.
    assert {one["metadata"]["ignoreNullValues"] for one in spec["triggers"]} == {"false"}
    monitor = releases()["monitoring"].one("PodMonitor")["spec"]
    assert monitor["podTargetLabels"] == ["app.kubernetes.io/instance"]
    labels = release.server()["spec"]["template"]["metadata"]["labels"]
    assert labels[monitor["podTargetLabels"][0]] == release.name
    assert (spec["minReplicaCount"], spec["maxReplicaCount"]) == (2, 8)


# Monitoring


def jobs(release: Release) -> dict[str, str]:
    """What is scraped: the path, by the job's name."""
    return {
        endpoint["relabelings"][0]["replacement"]: endpoint["path"]
        for monitor in release.all("PodMonitor")
        for endpoint in monitor["spec"]["podMetricsEndpoints"]
    }


def test_jobs_have_the_names_that_rules_and_dashboards_know() -> None:
    assert jobs(releases()["edge"]) == {
        "nemotron": "/metrics",
        "nemotron-front": "/metrics",
        "envoy": "/stats/prometheus",
    }
    used = "".join(path.read_text() for path in (DEPLOY / "monitoring" / "rules").glob("*.yaml"))
    assert 'job="nemotron"' in used
    relabelings = [
        endpoint["relabelings"]
        for one in releases()["edge"].all("PodMonitor")
        for endpoint in one["spec"]["podMetricsEndpoints"]
    ]
    assert all(relabeling[0]["targetLabel"] == "job" for relabeling in relabelings)


def test_the_fronts_metrics_are_read_with_a_key_where_it_asks_for_one() -> None:
    endpoint = releases()["keys"].one("PodMonitor")["spec"]["podMetricsEndpoints"][1]
    assert endpoint["authorization"] == {"credentials": {"name": "scrape-key", "key": "key"}}
    assert set(jobs(releases()["keys-unscraped"])) == {"nemotron"}
    assert all(
        "authorization" not in one for one in releases()["edge"].all("PodMonitor")[0]["spec"]["podMetricsEndpoints"]
    )


def test_rules_and_dashboards_are_those_of_the_repository() -> None:
    release = releases()["monitoring"]
    rule = release.one("PrometheusRule")
    files = sorted((DEPLOY / "monitoring" / "rules").glob("*.yaml"))
    read = ask_helm([{"do": "read", "file": str(file)} for file in files])
    assert rule["spec"]["groups"] == [group for one in read for group in one["groups"]]
    assert rule["metadata"]["labels"]["team"] == "llm"
    dashboards = release.one("ConfigMap", "-dashboards")
    assert {name: json.loads(text) for name, text in dashboards["data"].items()} == {
        file.name: json.loads(file.read_text()) for file in (DEPLOY / "monitoring" / "dashboards").glob("*.json")
    }
    assert dashboards["metadata"]["labels"]["grafana_dashboard"] == "1"
    assert dashboards["metadata"]["annotations"] == {"folder": "LLM"}
    assert sum(map(len, dashboards["data"].values())) < 1_000_000  # a ConfigMap's limit


def test_what_is_not_asked_for_is_not_made() -> None:
    assert {one["kind"] for one in releases()["least"].objects} == {
        "Deployment", "Service", "ServiceAccount", "NetworkPolicy", "Pod",
    }  # fmt: skip


# The package


def test_the_package_has_the_files_themselves(tmp_path: Path) -> None:
    """Not links to what is beside the chart in this repository."""
    packaged = ask_helm([{"do": "package", "chart": str(CHART), "destination": str(tmp_path)}])[0]
    files = {name for name in packaged["files"] if name.startswith("files/")}
    expected = {"files/envoy.yaml"}
    expected |= {
        f"files/{part}/{file.name}"
        for part in ("rules", "dashboards")
        for file in (DEPLOY / "monitoring" / part).iterdir()
    }
    assert files == expected
    values = values_of("edge")
    assert render(values, chart=Path(packaged["archive"])).objects == render(values).objects
