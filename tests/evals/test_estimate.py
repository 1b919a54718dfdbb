"""What a run takes and can tell: counts by hand, power as the verdicts have it, hours that follow what they should."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from nemotron_evals import results, statistics
from nemotron_evals.card import CARD, MODES, benchmark
from nemotron_evals.cli import main
from nemotron_evals.errors import EvalError
from nemotron_evals.estimate import ASSUMED, as_text, make_estimate
from nemotron_evals.verdicts import judge
from tests.evals import streams

AIME, MATH, IFEVAL = benchmark("aime25"), benchmark("math500"), benchmark("ifeval")


def test_requests_are_questions_times_repeats_times_turns() -> None:
    found = make_estimate(CARD, MODES)
    assert {(one.benchmark, one.thinking): one.requests for one in found.parts}[("aime25", "on")] == 30 * 16
    assert {(one.benchmark, one.thinking): one.requests for one in found.parts}[("mtbench", "off")] == 80 * 1 * 2
    assert found.requests == sum(one.requests for one in found.parts)
    assert found.output_tokens == sum(one.output_tokens for one in found.parts)
    assert all(one.hours > 0 for one in found.parts)


def test_every_benchmark_has_its_assumptions() -> None:
    assert set(ASSUMED) == {one.name for one in CARD}


@pytest.mark.parametrize(("other", "gpus"), [("h100-fp8", 1), ("h200-bf16", 1), ("h100-bf16", 4)])
def test_faster_and_more_gpus_take_less_time(other: str, gpus: int) -> None:
    usual = make_estimate([AIME, MATH], ["on"])
    assert make_estimate([AIME, MATH], ["on"], profile=other, gpus=gpus).hours < usual.hours


def test_an_earlier_run_replaces_what_was_assumed() -> None:
    """Also a short one; what it has not asked stays assumed."""
    rows = [[1.0, 0.0], [1.0, 1.0], [0.0, 0.0], [1.0, 1.0]] * 5
    earlier = streams.run(streams.measured(MATH, "on", {"accuracy": rows}, output_tokens=[[500, 700]] * 20), limit=20)
    found = make_estimate([MATH], MODES, like=earlier)
    on, off = found.parts
    assert (on.mean_tokens, on.measured) == (600, True)
    assert on.output_tokens == 500 * 4 * 600
    assert not off.measured
    error = np.sqrt(statistics.noise(rows) * (1 / 4 + 1 / 3) / 500)
    assert found.powers[0].half_width == pytest.approx(100 * statistics.Z * error + 0.05)
    assert any("Measured" in sentence for sentence in found.assumed)
    assert any("Assumed" in sentence for sentence in found.assumed)


def test_the_half_width_is_the_verdicts() -> None:
    """Of a run with the same noise."""
    random = np.random.default_rng(11)
    chance = streams.chances(random, MATH, "on", 0.954)
    run = streams.run(streams.measured(MATH, "on", {"accuracy": streams.answers(random, chance, 4)}))
    (figure,) = judge(run)
    assert make_estimate([MATH], ["on"], like=run).powers[0].half_width == pytest.approx(figure.half_width)


def test_power_lies_between_a_loss_of_whole_questions_and_one_spread_over_all() -> None:
    """A server that loses MATH500's margin, alone in its table; the second kind adds noise of its own.

    400 runs of each from a fixed seed, known to within 2 points.
    """
    whole, spread = (share_found(np.random.default_rng(7), whole=kind) for kind in (True, False))
    planned = make_estimate([MATH], ["on"]).powers[0].power
    print(f"power: planned {100 * planned:.0f} %, simulated {100 * spread:.0f} to {100 * whole:.0f} %")
    assert spread < planned < whole


def share_found(random: np.random.Generator, *, whole: bool, runs: int = 400) -> float:
    found = 0
    for _ in range(runs):
        chance = streams.chances(random, MATH, "on", 0.954)
        card = round(statistics.score(streams.answers(random, chance, 3)), 3)
        share = 0.02 / float(chance.mean())
        worse = np.where(random.random(chance.shape) < share, 0.0, chance) if whole else chance * (1 - share)
        worse = worse * ((float(chance.mean()) - 0.02) / float(worse.mean()))
        ours = streams.answers(random, worse, 4)
        difference = statistics.difference(ours, card, card_repeats=3, rounding=0.0005)
        found += difference.p < statistics.ALPHA and difference.difference < 0
    return found / runs


def test_more_figures_in_the_table_cost_power() -> None:
    alone, among = make_estimate([MATH], ["on"]), make_estimate(CARD, MODES)
    assert alone.powers[0].power > among.powers[0].power


def test_the_repeats_for_ninety_per_cent_have_it_and_none_where_the_cards_runs_are_too_few() -> None:
    powers = {(one.benchmark, one.metric, one.thinking): one for one in make_estimate(CARD, MODES).powers}
    gpqa = powers["gpqa", "accuracy", "off"]
    assert gpqa.power < 0.9
    assert gpqa.repeats_for_90 is not None
    assert gpqa.repeats_for_90 > gpqa.repeats
    assert powers["aime25", "accuracy", "on"].repeats_for_90 is None
    for one in powers.values():
        assert (one.power >= 0.9) == (one.repeats_for_90 is not None and one.repeats_for_90 <= one.repeats)


def test_the_gates_share_of_passes_is_that_of_the_definition() -> None:
    found = make_estimate(CARD, MODES)
    assert 0.4 < found.gate_half_width < 1.2
    assert 0.5 < found.gate_pass < 1
    fewer = make_estimate([AIME], ["on"])
    assert fewer.gate_half_width > found.gate_half_width
    assert fewer.gate_pass < found.gate_pass


def test_the_command_says_what_it_assumes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["estimate", "--tasks", "math500,aime25", "--thinking", "on"]) == 0
    printed = capsys.readouterr().out
    assert "hours on 1 NVIDIA H100" in printed
    assert "Assumed" in printed
    assert "repeats for 90 %" in printed
    run = tmp_path / "run"
    run.mkdir()
    results.write(run, streams.run(streams.measured(MATH, "on", {"accuracy": [[1.0, 0.0]] * 5}), limit=5))
    assert main(["estimate", "--like", str(run), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["parts"][0]["measured"] is True


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--thinking", "maybe"], "expected on, off or on,off"),
        (["--tasks", "math5000"], "there is no benchmark 'math5000'"),
        (["--profile", "h1000"], "no profile 'h1000'"),
        (["--profile", "cpu-bf16"], "is for CPUs"),
        (["--gpus", "0"], "expected at least 1"),
        (["--like", "nowhere"], "has no results.json"),
    ],
)
def test_what_cannot_be_estimated_is_refused_in_one_line(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["estimate", *arguments]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1


def test_no_gpu_at_all_is_an_error() -> None:
    with pytest.raises(EvalError, match="at least 1"):
        make_estimate([IFEVAL], ["on"], gpus=-1)


def test_the_text_fits_a_terminal() -> None:
    assert max(map(len, as_text(make_estimate(CARD, MODES)).splitlines())) <= 100
