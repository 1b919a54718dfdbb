from __future__ import annotations

import io
import json
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
from rich.console import Console

from nemotron_loadtest.capacity import BuildPlan, Demand, Replica, load_plan, plan_capacity
from nemotron_loadtest.errors import LoadTestError
from nemotron_loadtest.report import capacity_table

REPLICA = Replica(
    rate_per_s=10.0,
    slo="interactive",
    thinking_share=0.5,
    output_tokens_on=800.0,
    output_tokens_off=200.0,
    prompt_tokens=500.0,
    in_flight=40.0,
    output_tokens_per_s=5000.0,
    failures=("Time to first token p99 from the intended start ≤ 500 ms: 700 ms",),
)


def plan(*, max_batch_size: int = 256, kv_tokens: int = 1_000_000, tokens_per_s: float = 5000.0) -> BuildPlan:
    document = {
        "profile": "h100-fp8",
        "gpu_title": "H100 SXM",
        "tp_size": 2,
        "max_batch_size": max_batch_size,
        "concurrency": [{"tokens": 1000, "sequences": kv_tokens // 1000}],
        "estimates": [
            {"batch": 1, "output_tokens_per_s": 150.0, "bound": "weights", "fits": True},
            {
                "batch": 32,
                "output_tokens_per_s": tokens_per_s,
                "bound": "weights",
                "fits": True,
            },
        ],
        "notes": [],
    }
    return msgspec.convert(document, BuildPlan)


def test_replicas_for_a_traffic() -> None:
    found = plan_capacity(REPLICA, Demand(peak_per_s=60, headroom=0.3))

    assert found.replica_per_s == 10
    assert (found.replicas, found.with_spare) == (8, 9)
    assert found.load_at_peak == pytest.approx(60 / 90)
    assert found.load_with_one_away == pytest.approx(60 / 80)


@pytest.mark.parametrize(("peak", "headroom", "replicas"), [(10, 0, 1), (10.01, 0, 2), (100, 0.1, 11), (0.1, 0, 1)])
def test_replicas_are_rounded_up(peak: float, headroom: float, replicas: int) -> None:
    assert plan_capacity(REPLICA, Demand(peak_per_s=peak, headroom=headroom)).replicas == replicas


def test_more_thinking_takes_more_replicas() -> None:
    found = plan_capacity(REPLICA, Demand(peak_per_s=60, headroom=0, thinking_share=1.0))

    # 500 tokens a request as measured, 800 with thinking alone.
    assert found.replica_per_s == pytest.approx(10 * 500 / 800)
    assert found.replicas == 10
    assert "10/s x 500 / 800 = 6.25/s" in found.arithmetic[1]
    assert any("50% thinking, planned for 100%" in warning for warning in found.warnings)


def test_a_mix_that_was_not_measured_is_refused() -> None:
    replica = msgspec.structs.replace(REPLICA, thinking_share=0.0, output_tokens_on=None)

    assert plan_capacity(replica, Demand(peak_per_s=1)).replicas == 1
    with pytest.raises(LoadTestError, match="no whole answer with thinking on"):
        plan_capacity(replica, Demand(peak_per_s=1, thinking_share=0.2))


@pytest.mark.parametrize(
    "demand", [Demand(peak_per_s=0), Demand(peak_per_s=1, headroom=-0.1), Demand(peak_per_s=1, thinking_share=1.5)]
)
def test_a_traffic_that_is_none_is_refused(demand: Demand) -> None:
    with pytest.raises(LoadTestError, match="A traffic has a peak above 0"):
        plan_capacity(REPLICA, demand)


def test_the_arithmetic_is_shown() -> None:
    lines = plan_capacity(REPLICA, Demand(peak_per_s=60, headroom=0.3)).arithmetic

    assert "60/s at peak x (1 + 0.3 headroom) = 78/s" in lines[1]
    assert "78/s / 10/s = 7.80, rounded up 8" in lines[2]
    assert "8 + 1 = 9" in lines[3]


def test_without_a_plan_the_slo_limits() -> None:
    assert "≤ 500 ms: 700 ms" in plan_capacity(REPLICA, Demand(peak_per_s=1)).limit


@pytest.mark.parametrize(
    ("build", "says"),
    [
        (plan(), "before the batch of 256 is full; there the planner has weights as the bound"),
        (plan(max_batch_size=42), "The batch sets the limit"),
        (plan(kv_tokens=42_000), "The KV cache sets the limit: it holds 42 requests of 1000 tokens"),
    ],
)
def test_what_limits(build: BuildPlan, says: str) -> None:
    found = plan_capacity(REPLICA, Demand(peak_per_s=1), build)

    assert says in found.limit
    assert not found.warnings
    assert found.gpus == 4


def test_a_plan_of_another_machine_is_doubted() -> None:
    found = plan_capacity(REPLICA, Demand(peak_per_s=1), plan(tokens_per_s=50_000.0))

    assert any("was the sweep on this machine?" in warning for warning in found.warnings)


def test_an_unstable_sweep_is_doubted() -> None:
    found = plan_capacity(msgspec.structs.replace(REPLICA, stable=False), Demand(peak_per_s=1))

    assert "not stable" in found.warnings[0]


@pytest.mark.parametrize("profile", ["h100-fp8", "cpu-int8"])
def test_the_planners_own_document_is_read(profile: str, tmp_path: Path) -> None:
    program = "import sys; from nemotron_build.cli import main; sys.exit(main())"
    command = [sys.executable, "-c", program, "plan", "--profile", profile, "--json"]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=180)
    assert done.returncode == 0, done.stderr
    path = tmp_path / "plan.json"
    path.write_text(done.stdout)
    found = load_plan(path)

    assert found.profile == profile
    assert found.max_batch_size == json.loads(done.stdout)["max_batch_size"]
    assert bool(found.estimates) == profile.startswith("h100")
    assert (found.kv_sequences(1000) or 0) > 1


@pytest.mark.parametrize("content", ["{", "{}", "[]", '{"profile": 3}'])
def test_another_document_is_refused(content: str, tmp_path: Path) -> None:
    path = tmp_path / "plan.json"
    path.write_text(content)

    with pytest.raises(LoadTestError, match="expected the output of 'nemotron-build plan --json'"):
        load_plan(path)


def test_no_plan_is_said(tmp_path: Path) -> None:
    with pytest.raises(LoadTestError, match="No such file"):
        load_plan(tmp_path / "none.json")


def test_the_table_fits_a_terminal() -> None:
    out = io.StringIO()
    Console(file=out, width=80).print(capacity_table(plan_capacity(REPLICA, Demand(peak_per_s=60), plan())))

    for part in ("Replicas needed", "With one to spare (N+1)", "GPUs in all", "rounded up 8"):
        assert part in out.getvalue()
