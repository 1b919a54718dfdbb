"""Our metrics on Triton's page: what requests through each way in bring there."""

from __future__ import annotations

import pytest

from nemotron_client import Client, InvalidRequestError
from nemotron_serving.metrics import METRICS, Metric
from tests.integration.conftest import Server
from tests.waiting import wait_until

THINKS = [{"role": "user", "content": "[sim:think] Hi"}]
PREPROCESSING = {"model": "preprocessing", "outcome": "invalid"}


class Page:
    """What the page says now."""

    def __init__(self, server: Server) -> None:
        with Client(server.grpc_url, metrics_url=str(server.info["metrics_url"])) as client:
            self._values = client.metrics()

    def value(self, name: str, **labels: str) -> float:
        """The sum of the series that have these labels."""
        return sum(value for has, value in self._values.get(name, ()) if labels.items() <= has.items())

    def has(self, metric: Metric) -> bool:
        return f"{metric.name}_count" in self._values if metric.kind == "histogram" else metric.name in self._values


@pytest.mark.parametrize("sessions", [0, 1], ids=["ensemble", "session"])
def test_a_request_is_counted_when_it_is_over(roomy_server: Server, sessions: int) -> None:
    before = Page(roomy_server)
    with Client(roomy_server.grpc_url, sessions=sessions) as client:
        usage = client.chat(THINKS, max_tokens=60, thinking=True).usage
        with pytest.raises(InvalidRequestError):
            client.chat(THINKS, max_tokens=10**9)
    assert usage is not None
    assert usage.reasoning_tokens

    def grown(name: str, least: float, **labels: str) -> bool:
        return Page(roomy_server).value(name, **labels) >= before.value(name, **labels) + least

    wait_until(lambda: grown("nemotron_requests_total", 1, outcome="ok", thinking="on"))
    wait_until(lambda: grown("nemotron_requests_total", 1, **PREPROCESSING))
    wait_until(lambda: grown("nemotron_tokens_total", usage.prompt_tokens, kind="prompt"))
    wait_until(lambda: grown("nemotron_tokens_total", usage.output_tokens, kind="output"))
    wait_until(lambda: grown("nemotron_tokens_total", usage.reasoning_tokens, kind="reasoning"))
    for name in ("ttft", "wait", "itl", "request"):
        wait_until(lambda name=name: grown(f"nemotron_{name}_seconds_count", 1))  # type: ignore[misc]
    assert Page(roomy_server).value("nemotron_ttft_seconds_bucket", le="+Inf") >= 1


def test_all_of_the_table_is_there(roomy_server: Server) -> None:
    wait_until(lambda: all(map(Page(roomy_server).has, METRICS)))
    page = Page(roomy_server)
    places = page.value("nemotron_max_requests_in_flight")
    assert places >= page.value("nemotron_max_batch_size") > 0
    assert page.value("nemotron_build_info", engine="simulated") == 1
    assert page.value("nemotron_draining") == 0
