"""Spreads and server points: what plots are drawn from."""

from __future__ import annotations

import pytest

from nemotron_loadtest.report.plot_data import Spread, server_points, spreads
from nemotron_loadtest.server import ServerSample
from tests.unit.loadtest.metrics.making import at_rate, made
from tests.unit.loadtest.report.made_up import requests, server_samples


def spread(name: str, samples: list[object]) -> Spread:
    return next(one for one in spreads(samples) if one.metric == name)  # type: ignore[arg-type]


def test_shapes_are_by_thinking_and_start() -> None:
    shapes = spread("ttft_ms", list(requests())).shapes

    assert [(shape.thinking, shape.origin) for shape in shapes] == [
        *(("on", "intended"), ("on", "actual"), ("off", "intended"), ("off", "actual"))
    ]


def test_bins_hold_all_but_the_slowest_few() -> None:
    for found in spreads(requests()):
        for shape in found.shapes:
            assert len(shape.counts) == len(found.edges) - 1
            assert 0.99 * shape.count <= sum(shape.counts) <= shape.count


def test_a_tail_rises_to_the_largest_value() -> None:
    samples = requests()
    shape = spread("e2e_ms", list(samples)).shapes[0]
    values = [(one.ended_s - one.intended_s) * 1e3 for one in samples if one.outcome == "ok" and one.thinking]

    assert list(shape.tail) == sorted(shape.tail)
    assert shape.tail[-1][1] == pytest.approx(max(values))
    assert shape.tail[0][1] == pytest.approx(min(values))
    assert all(0 < share < 1 for share, _ in shape.tail)


def test_values_that_are_all_alike_have_bins() -> None:
    found = spread("e2e_ms", list(at_rate(10, 5)))

    assert found.edges[0] < 500 < found.edges[-1]
    assert sum(found.shapes[0].counts) == 50


def test_without_values_there_is_nothing() -> None:
    found = spread("ttft_ms", [made(outcome="error")])

    assert (found.edges, found.shapes) == ((), ())


def test_servers_are_added_up() -> None:
    samples = [
        ServerSample(at_s=second, server=name, scraped=True, running=running, kv_cache_used=used, cpu_cores=1.0)
        for second in (0.0, 1.0, 2.0)
        for name, running, used in (("a", 3.0, 0.2), ("b", 5.0, 0.6))
    ]
    points = server_points(samples)

    assert [point.running for point in points] == [8, 8, 8]
    assert points[0].kv_cache_used == pytest.approx(0.4)
    assert points[0].cpu_cores == 2
    assert points[0].gpu_busy is None


def test_long_runs_are_thinned_out() -> None:
    points = server_points(server_samples(5000))

    assert 200 <= len(points) <= 240
    assert [point.at_s for point in points] == sorted(point.at_s for point in points)


def test_a_server_that_was_away_leaves_a_gap() -> None:
    points = server_points(server_samples(20, gone_from_s=10))

    assert points[5].running is not None
    assert (points[15].running, points[15].scraped) == (None, 0)


def test_no_samples_no_points() -> None:
    assert server_points([]) == ()
