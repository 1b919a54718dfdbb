"""nemotron-eval with a real model: the demo's. It is small, so what it scores says nothing, and is not looked at."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from nemotron_evals import results
from nemotron_evals.demo import ROWS
from tests.evals.servers import Endpoint, demo_package, evaluate, serving

# On a machine that does much else; alone, each takes less than half a minute.
pytestmark = pytest.mark.timeout(1800)

MODEL = "SmolLM2-135M-Instruct"
MOST_TOKENS = 48


@pytest.fixture(scope="module")
def endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Endpoint]:
    with serving(demo_package(), tmp_path_factory.mktemp("demo"), "--engine-threads", "1") as endpoint:
        yield endpoint


def test_a_real_model_is_scored_in_both_modes(endpoint: Endpoint, tmp_path_factory: pytest.TempPathFactory) -> None:
    directory = tmp_path_factory.mktemp("runs") / "demo"
    options = ("--tasks", "math500,ifeval", "--data", ROWS, "--repeats", 2, "--limit", 2, "--max-tokens", MOST_TOKENS)
    ran = evaluate("run", endpoint.url, "-o", directory, "--model", MODEL, "--concurrency", 4, *options)
    assert ran.returncode == 0, ran.stderr
    run = results.read(directory)
    assert {(one.benchmark, one.thinking) for one in run.measured} == {
        (name, mode) for name in ("math500", "ifeval") for mode in ("on", "off")
    }
    for one in run.measured:
        assert (one.expected, one.failed) == (4, 0)
        assert all(0 < tokens <= MOST_TOKENS for row in one.output_tokens for tokens in row)
        assert all(0 <= score <= 1 for metric in one.metrics for row in metric.scores for score in row)
    assert run.limit == 2


def test_some_of_bfcl_own_rows(endpoint: Endpoint, tmp_path_factory: pytest.TempPathFactory) -> None:
    directory = tmp_path_factory.mktemp("runs") / "bfcl"
    options = ("--tasks", "bfcl", "--thinking", "off", "--repeats", 1, "--limit", 3, "--max-tokens", MOST_TOKENS)
    ran = evaluate("run", endpoint.url, "-o", directory, "--model", MODEL, "--concurrency", 4, *options)
    assert ran.returncode == 0, ran.stderr
    (one,) = results.read(directory).measured
    assert (one.expected, one.failed, one.data.rows, one.data.known) == (3, 0, 2251, True)
    assert one.categories == ["simple"] * 3
    assert all(0 < tokens <= MOST_TOKENS for row in one.output_tokens for tokens in row)
