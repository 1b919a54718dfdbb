"""Plans and comparisons as tables and a drawing for people, and as documents for programs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from nemotron_build.errors import UsageError
from nemotron_build.plan.model import PlannedModel
from nemotron_build.plan.plan import Concurrency, CpuPlan, Estimate, Plan
from nemotron_build.plan.roofline import FITTED
from nemotron_build.plan.validation import Comparison, ErrorSummary
from nemotron_build.profiles import Profile

_GB = 1e9
_BLUE, _ORANGE, _GREEN, _GREY = "#1f5fa8", "#c8601a", "#2f7d4f", "#8a8a8a"
_SIZE_INCHES, _DOTS_PER_INCH = (8.0, 6.4), 150


def plan_table(plan: Plan, source: PlannedModel) -> RenderableType:
    """A plan for a terminal of 80 columns."""
    several = plan.tp_size > 1
    cards = f"{plan.tp_size} x {plan.gpu_title}" if several else plan.gpu_title
    memory = plan.memory
    shares = [
        ("weights", memory.weights, ""),
        ("activations", memory.activations, f"a step of {plan.max_num_tokens} tokens"),
        ("runtime", memory.runtime, f"CUDA, logits of {plan.max_batch_size} requests"),
        (
            "KV cache",
            memory.kv_pool,
            f"{memory.kv_pool_tokens:,} tokens of {memory.kv_bytes_per_token / 1024:g} KiB",
        ),
        (
            "free",
            memory.total - memory.weights - memory.activations - memory.runtime - memory.kv_pool,
            "a tenth of what the model leaves",
        ),
    ]
    return Group(
        _heading("Model", source.description),
        _heading("On", f"{cards}, {memory.total / _GB:.1f} GB{' each' if several else ''}"),
        _heading("As", f"{plan.profile}: {plan.precision.upper()} weights, {plan.kv_cache.upper()} KV cache"),
        _heading(
            "Build for",
            f"max_batch_size {plan.max_batch_size}, max_seq_len {plan.max_seq_len}, "
            f"max_num_tokens {plan.max_num_tokens}",
        ),
        _memory_table(shares, "memory of each" if several else "memory"),
        _concurrency_table(plan.concurrency),
        Text(),
        _speed_table(plan),
        *_remarks(plan.warnings, plan.notes),
    )


def cpu_plan_table(plan: CpuPlan, source: PlannedModel) -> RenderableType:
    """A CPU's plan for a terminal of 80 columns."""
    kv_bytes = plan.kv_cache_gib * 2**30
    shares = [
        ("weights", plan.weights, ""),
        ("server", plan.runtime, "Triton, tokenizers, compiled kernels"),
        ("KV cache", kv_bytes, f"{plan.kv_pool_tokens:,} tokens of {plan.kv_bytes_per_token / 1024:g} KiB"),
        ("free", plan.memory_total - plan.weights - plan.runtime - kv_bytes, "for the system and others"),
    ]
    return Group(
        _heading("Model", source.description),
        _heading("On", f"this machine's CPU, {plan.memory_total / _GB:.1f} GB of memory"),
        _heading("As", f"{plan.profile}: {plan.precision.upper()} weights, 16-bit KV cache"),
        _heading("Build for", f"max_batch_size {plan.max_batch_size}, max_seq_len {plan.max_seq_len}"),
        _memory_table(shares, "memory"),
        _concurrency_table(plan.concurrency),
        *_remarks((), plan.notes),
    )


def profiles_table(profiles: list[Profile]) -> Table:
    """The profiles with what tells them apart."""
    limits_titles = ("max_\nbatch_size", "max_\nseq_len", "max_\nnum_tokens")
    table = _table("profile", "GPU", "weights", "KV cache", *limits_titles, left=4)
    for profile in profiles:
        limits = profile.limits
        kv_cache = "16-bit" if profile.target == "openvino" else profile.kv_cache.upper()
        sizes = (limits.max_batch_size, limits.max_seq_len, limits.max_num_tokens)
        table.add_row(profile.name, profile.gpu or "CPU", profile.precision.upper(), kv_cache, *map(str, sizes))
    return table


def validation_table(throughput: list[Comparison], latency: list[Comparison]) -> RenderableType:
    """Every figure, fitted ones first, and what it comes to."""
    parts: list[RenderableType] = []
    for fitted, title in ((True, "Rows that the constants were fitted on"), (False, "Rows that judge")):
        table = _table("version", "GPU", "weights", "in/out", "published", "predicted", "error", left=3)
        table.title, table.title_justify = f"{title}: output tokens/s", "left"
        for row in throughput:
            if row.fitted == fitted:
                table.add_row(row.version, row.gpu, row.precision.upper(), *_figures(row, ",.0f"))
        parts.append(table)
    interval = _table("GPU", "req/s", "in/out", "published", "predicted", "error", left=1)
    interval.title, interval.title_justify = "Inter-token latency of a server, BF16: ms", "left"
    for row in latency:
        interval.add_row(row.gpu, str(row.requests_per_s), *_figures(row, ".1f"))
    summary = _table("", "rows", "median error", "worst error", left=1)
    for what, rows in (("throughput", throughput), ("latency", latency)):
        for kinds, kind in (((True,), "fitted"), ((False,), "judged"), ((True, False), "all")):
            errors = ErrorSummary.of([row for row in rows if row.fitted in kinds])
            summary.add_row(f"{what}, {kind}", str(errors.rows), f"{errors.median:.1%}", f"{errors.worst:.1%}")
    return Group(*parts, interval, summary)


def plan_document(plan: Plan | CpuPlan, source: PlannedModel) -> dict[str, Any]:
    """A plan as JSON's types, with the figures that are computed from others."""
    document: dict[str, Any] = {"model": {"source": source.description, "parameters": source.shape.parameters}}
    document |= msgspec.to_builtins(plan)
    if isinstance(plan, Plan):
        document["memory"]["kv_pool_tokens"] = plan.memory.kv_pool_tokens
    return document


def validation_document(throughput: list[Comparison], latency: list[Comparison]) -> dict[str, Any]:
    """The comparison as JSON's types; `median_error` and `worst_error` are of every published throughput."""
    everything = ErrorSummary.of(throughput)
    return {
        "median_error": everything.median,
        "worst_error": everything.worst,
        "judged": msgspec.to_builtins(ErrorSummary.of([row for row in throughput if not row.fitted])),
        "fitted": msgspec.to_builtins(ErrorSummary.of([row for row in throughput if row.fitted])),
        "latency_judged": msgspec.to_builtins(ErrorSummary.of([row for row in latency if not row.fitted])),
        "constants": {
            "compute": {"-".join(key): value for key, value in FITTED.compute.items()},
            "attention": FITTED.attention,
            "memory": FITTED.memory,
            "step_s": FITTED.step_s,
        },
        "rows": [_row_document(row) for row in throughput],
        "latency_rows": [_row_document(row) for row in latency],
    }


def draw_plan(plan: Plan, curve: list[Estimate], target: Path) -> None:
    """Draw throughput and latency against the batch, with the memory limit marked, as a PNG.

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


def _row_document(row: Comparison) -> dict[str, Any]:
    document: dict[str, Any] = msgspec.to_builtins(row)
    return {**document, "error": row.error}


def _figures(row: Comparison, number: str) -> tuple[str, str, str, str]:
    size = f"{row.workload.input_tokens}/{row.workload.output_tokens}"
    return size, format(row.published, number), format(row.predicted, number), f"{row.error:+.1%}"


def _heading(label: str, text: str) -> Text:
    return Text.assemble((f"{label:<10}", "dim"), text)


def _memory_table(shares: list[tuple[str, int, str]], title: str) -> RenderableType:
    table = _table(title, "GB", "", left=1)
    table.columns[2].justify = "left"
    for name, size, remark in shares:
        table.add_row(name, f"{size / _GB:.1f}", remark)
    return Group(Text(), table, Text())


def _concurrency_table(concurrency: tuple[Concurrency, ...]) -> RenderableType:
    table = _table("tokens of each request", *(f"{item.tokens:,}" for item in concurrency), left=1)
    table.add_row("requests at once", *(f"{item.sequences:,}" for item in concurrency))
    return table


def _speed_table(plan: Plan) -> RenderableType:
    table = _table("requests", "tokens/s", "ITL ms", "TTFT ms", "bound by", "", left=0)
    table.columns[4].justify = table.columns[5].justify = "left"
    table.title_justify = "left"
    table.title = (
        f"Estimated: {plan.workload.input_tokens} tokens in, {plan.workload.output_tokens} out; "
        f"prefill {plan.prefill_tokens_per_s:,.0f} tokens/s"
    )
    for row in plan.estimates:
        table.add_row(*_speed(row), _limit(row, plan), style="" if row.fits else "dim")
    return table


def _speed(row: Estimate) -> tuple[str, ...]:
    return (str(row.batch), f"{row.output_tokens_per_s:,.0f}", f"{row.itl_ms:.1f}", f"{row.ttft_ms:,.0f}", row.bound)


def _limit(row: Estimate, plan: Plan) -> str:
    if row.fits:
        return "← the most that run" if row.batch == plan.batch_limit else ""
    return "no memory" if row.batch > plan.memory_limit else "beyond max_batch_size"


def _remarks(warnings: tuple[str, ...], notes: tuple[str, ...]) -> list[RenderableType]:
    return [
        *([Text()] if warnings or notes else []),
        *(Text(f"Warning: {warning}", "yellow") for warning in warnings),
        *(Text(note, "dim") for note in notes),
    ]


def _table(*columns: str, left: int) -> Table:
    """Without lines; the first `left` columns to the left, figures to the right."""
    table = Table(box=None, header_style="bold", title_style="bold", pad_edge=False, padding=(0, 2, 0, 0))
    for number, column in enumerate(columns):
        table.add_column(column, justify="left" if number < left else "right")
    return table


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
