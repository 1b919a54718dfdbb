"""The chart over many combinations of values: Helm takes it, and what it makes fits together."""

from __future__ import annotations

import pytest

from nemotron_serving.launcher.supervise import longest_stop_s
from tests.deploy.chart_cases import ALL, releases, values_of
from tests.deploy.releases import CHART, Release, ask_helm


@pytest.fixture(params=ALL)
def release(request: pytest.FixtureRequest) -> Release:
    return releases()[request.param]


def arguments(release: Release) -> dict[str, str]:
    """Options of nemotron-serve that the container gets, by name."""
    return dict(word.partition("=")[::2] for word in release.container()["args"])


def test_helm_has_nothing_against_it() -> None:
    requests = [{"do": "lint", "chart": str(CHART), "values": values_of(case), "namespace": "models"} for case in ALL]
    for name, answer in zip(ALL, ask_helm(requests), strict=True):
        worse = [one for one in answer["messages"] if one["severity"] > 1]
        assert not worse, name
        assert not answer["errors"], name


def test_a_stop_has_the_time_that_it_may_take(release: Release) -> None:
    """The kubelet kills what has not ended by then, and all streams with it."""
    given = arguments(release)
    needed = longest_stop_s(
        float(given["--drain-delay-seconds"]), float(given["--drain-seconds"]), front="--openai-port" in given
    )
    assert release.server()["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] == needed
