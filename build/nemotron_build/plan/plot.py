"""Throughput and latency against the batch, with the memory limit marked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from nemotron_build.errors import UsageError
from nemotron_build.plan.plan import Estimate, Plan

_BLUE, _ORANGE, _GREEN, _GREY = "#1f5fa8", "#c8601a", "#2f7d4f", "#8a8a8a"
_SIZE_INCHES, _DOTS_PER_INCH = (8.0, 6.4), 150


def draw_plan(plan: Plan, curve: list[Estimate], target: Path) -> None:
    """Write a PNG.

    Args:
        plan: What was planned.
        curve: Estimates at growing batches, from within the limit to beyond it.
        target: The file; its directory is made.

    Raises:
        UsageError: the name does not end in .png.
    """
    if target.suffix.lower() != ".png":
        raise UsageError(f"{target} does not end in .png, the one format that is drawn.")
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=_SIZE_INCHES, dpi=_DOTS_PER_INCH, layout="constrained")
    FigureCanvasAgg(figure)
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3, 2))
    figure.suptitle(_title(plan), fontsize=11)
    _draw_throughput(upper, plan, curve)
    _draw_latency(lower, plan, curve)
    target.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(target)


def _title(plan: Plan) -> str:
    cards = f"{plan.tp_size} x {plan.gpu_title}" if plan.tp_size > 1 else plan.gpu_title
    return (
        f"{cards}, {plan.precision.upper()} weights, {plan.kv_cache.upper()} KV cache\n"
        f"{plan.workload.input_tokens} tokens in, {plan.workload.output_tokens} out (estimated)"
    )


def _draw_throughput(axes: Any, plan: Plan, curve: list[Estimate]) -> None:
    _draw_line(axes, curve, [row.output_tokens_per_s for row in curve], _BLUE, "")
    best = plan.best
    axes.plot(best.batch, best.output_tokens_per_s, "o", color=_BLUE)
    by_batch = ", max_batch_size" if plan.batch_limit < plan.memory_limit else ""
    axes.annotate(
        f"{best.batch} requests{by_batch}: {best.output_tokens_per_s:,.0f} tokens/s",
        (best.batch, best.output_tokens_per_s),
        textcoords="offset points",
        xytext=(-10, 6),
        ha="right",
    )
    axes.set_ylabel("output tokens/s")
    axes.set_ylim(bottom=0)
    axes.yaxis.set_major_formatter("{x:,.0f}")
    _mark_limit(axes, plan, curve)
    axes.annotate(
        f"KV cache full at {plan.memory_limit}",
        (plan.memory_limit, 0),
        xycoords=("data", "axes fraction"),
        textcoords="offset points",
        xytext=(-6, 8),
        ha="right",
        color=_GREY,
    )


def _draw_latency(axes: Any, plan: Plan, curve: list[Estimate]) -> None:
    from matplotlib.ticker import LogLocator, NullFormatter

    _draw_line(axes, curve, [row.itl_ms for row in curve], _ORANGE, "between tokens")
    _draw_line(axes, curve, [row.ttft_ms for row in curve], _GREEN, "to the first token")
    axes.set_ylabel("ms")
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_formatter("{x:g}")
    axes.set_xlabel("requests generating at once")
    axes.legend(frameon=False, loc="upper left")
    _mark_limit(axes, plan, curve)


def _draw_line(axes: Any, curve: list[Estimate], values: list[float], colour: str, label: str) -> None:
    """Solid as far as requests fit, dashed beyond."""
    last = max(index for index, row in enumerate(curve) if row.fits)
    batches = [row.batch for row in curve]
    axes.plot(batches[: last + 1], values[: last + 1], color=colour, label=label, linewidth=2)
    axes.plot(batches[last:], values[last:], color=colour, linestyle="--", linewidth=1.2, alpha=0.6)


def _mark_limit(axes: Any, plan: Plan, curve: list[Estimate]) -> None:
    axes.axvline(plan.memory_limit, color=_GREY, linewidth=1)
    axes.axvspan(plan.memory_limit, curve[-1].batch, color=_GREY, alpha=0.15, linewidth=0)
    axes.set_xlim(1, curve[-1].batch)
    axes.grid(which="major", alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
