"""Simulated runs: scores as a model of known quality would get, without a model.

A question has a chance p of a right answer. With thinking on (sampled) p comes from a Beta distribution whose mean is
the score and which leaves a given share of the score's variance within a question. With thinking off (greedy) an answer
is always right or always wrong, but for a share of flips.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from nemotron_evals.card import CARD, MODES, SETTINGS, Benchmark, Metric, Mode
from nemotron_evals.results import DataUsed, Measured, Results, ScoredMetric

Array = npt.NDArray[np.float64]

WITHIN = {"math500": 0.55, "aime25": 0.5, "gpqa": 0.6, "ifeval": 0.4, "bfcl": 0.22, "mbpp": 0.58, "mtbench": 0.5}
FLIPS = 0.1


def chances(random: np.random.Generator, of: Benchmark, mode: Mode, mean: float) -> Array:
    """Of a right answer, by question; in a column."""
    if mode == "on":
        size = WITHIN[of.name] / (1 - WITHIN[of.name])
        return random.beta(mean * size, (1 - mean) * size, (of.questions, 1)) if 0 < mean < 1 else np.full((1, 1), mean)
    fixed = (random.random((of.questions, 1)) < mean).astype(np.float64)
    flips = random.random((of.questions, 1)) < (FLIPS if 0 < mean < 1 else 0)
    return np.where(flips, random.random((of.questions, 1)), fixed)


def answers(random: np.random.Generator, chance: Array, repeats: int) -> Array:
    """0/1 scores, shape (Q, k)."""
    return (random.random((len(chance), repeats)) < chance).astype(np.float64)


def instructions(random: np.random.Generator, chance: Array, asked: Array, repeats: int) -> Array:
    """Followed shares of each prompt's instructions, shape (Q, k)."""
    count = asked.astype(np.int64)[:, None]
    return random.binomial(count, chance, (len(chance), repeats)) / count


def measured(of: Benchmark, mode: Mode, scores: dict[str, Any], **changes: Any) -> Measured:
    """A benchmark in one mode; scores by metric."""
    table = next(iter(scores.values()))
    questions, repeats = len(table), len(table[0])
    weights = {"instruction": changes.pop("weights", None)}
    given: dict[str, Any] = {
        "benchmark": of.name,
        "thinking": mode,
        "questions": [f"{of.name}-{number}" for number in range(questions)],
        "repeats": repeats,
        "expected": questions * repeats,
        "failed": 0,
        "metrics": [
            ScoredMetric(name=name, scores=np.asarray(rows, np.float64).tolist(), weights=weights.get(name))
            for name, rows in scores.items()
        ],
        "overlong": [[False] * repeats] * questions,
        "output_tokens": [[100] * repeats] * questions,
        "settings": SETTINGS[mode],
        "data": DataUsed(source="own", revision="", sha256="0" * 64, rows=questions),
    }
    return Measured(**(given | changes))


def run(*parts: Measured, **changes: Any) -> Results:
    """A run of these."""
    given: dict[str, Any] = {
        "url": "http://127.0.0.1:9000/v1",
        "model": "nemotron",
        "started": "2026-11-29T10:00:00+00:00",
        "finished": "2026-11-29T12:30:00+00:00",
        "hours": 2.5,
        "versions": {},
        "measured": list(parts),
    }
    return Results(**(given | changes))


def card_mean(metric: Metric, mode: Mode) -> float:
    """The card's figure as a fraction."""
    return metric.card[mode] * metric.unit


MACHINE_SCORED: list[tuple[Benchmark, Metric, Mode]] = [
    (of, metric, mode) for of in CARD if not of.judged for metric in of.metrics for mode in MODES
]
"""Fourteen figures: all but MT-Bench's."""

REDRAWN = 0.15


def lowered(chance: Array, loss: float) -> Array:
    """Chances whose mean is lower by `loss`, each by the same factor, so that none falls below 0."""
    mean = float(np.mean(chance))
    return chance * max(0.0, mean - loss) / mean if mean else chance


def pair(random: np.random.Generator, loss: float, modes: tuple[Mode, ...] = MODES) -> tuple[Results, Results]:
    """Runs of the card's table but MT-Bench by two engines, the second of which loses so much in every figure above 0.

    Sampled answers of both are drawn by the same chances. Greedy ones are the same for both, but for a share of the
    questions (REDRAWN) on which other rounding leads to another answer, right by the score's own chance.
    """
    sides: tuple[list[Measured], list[Measured]] = ([], [])
    for of in CARD:
        for mode in modes:
            if of.judged:
                continue
            asked = random.integers(1, 4, of.questions).astype(np.float64)
            tables: tuple[dict[str, Array], dict[str, Array]] = ({}, {})
            for metric in of.metrics:
                mean = card_mean(metric, mode)
                chance = chances(random, of, mode, mean)
                other = lowered(chance, loss)
                if mode == "off":
                    redrawn = random.random((of.questions, 1)) < REDRAWN
                    lost = random.random((of.questions, 1)) < loss / mean if mean else False
                    other = np.where(lost, 0.0, np.where(redrawn, (random.random((of.questions, 1)) < mean), chance))
                for side, its in zip(tables, (chance, other), strict=True):
                    side[metric.name] = (
                        instructions(random, its, asked, of.repeats[mode])
                        if metric.name == "instruction"
                        else answers(random, its, of.repeats[mode])
                    )
            for parts, side in zip(sides, tables, strict=True):
                weights = asked.tolist() if of.name == "ifeval" else None
                parts.append(measured(of, mode, side, weights=weights))
    return run(*sides[0]), run(*sides[1])
