"""The report as one HTML file: no scripts, nothing from elsewhere."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from functools import cache
from html import escape
from importlib.resources import files

from nemotron_loadtest.report.capacity_section import capacity_section
from nemotron_loadtest.report.distribution_figures import distribution_figures
from nemotron_loadtest.report.document import Report
from nemotron_loadtest.report.figures import figure_html
from nemotron_loadtest.report.key_figures import cards, tiles
from nemotron_loadtest.report.sections import all_metrics, conduct, definitions, failures, setting
from nemotron_loadtest.report.sweep_section import sweep_section
from nemotron_loadtest.report.timeline_figure import timeline_figure
from nemotron_loadtest.report.verdict_section import verdict_section


def report_html(report: Report) -> str:
    """The page."""
    return html_page(f"{report.states[0]}: {report.facts.title}", "".join(_body(report)))


def html_page(title: str, body: str) -> str:
    """A whole document in the reports' style: no scripts, nothing from elsewhere."""
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">"
        f"<title>{escape(title)}</title><style>{_style()}</style></head>\n<body>\n{body}\n</body></html>\n"
    )


def _body(report: Report) -> Iterator[str]:
    yield _head(report)
    yield "<main>"
    if report.sweep:
        yield sweep_section(report, report.sweep)
    if report.capacity:
        yield capacity_section(report.capacity)
    if report.sweep:
        yield '\n<h2 id="run">One of the runs</h2>'
    yield f"{verdict_section(report)}{tiles(report)}"
    yield _section("key", "Key figures", cards(report))
    if found := "".join(figure_html(figure) for figure in distribution_figures(report)):
        yield _section("distributions", "Distributions", f'<div class="pair">{found}</div>')
    yield _section("time", "Over time", figure_html(timeline_figure(report)))
    yield _section("failures", "Failures", failures(report))
    yield _section("conduct", "Steadiness and overload", conduct(report))
    yield _section("every-metric", "Every metric", all_metrics(report))
    yield _section("setting", "Scenario and environment", setting(report))
    yield f"</main><footer>{definitions()}</footer>"


def _head(report: Report) -> str:
    facts, window = report.facts, report.summary.window
    parts = [facts.description, f"Started {_moment(facts.started_at)}", f"{window.length_s:,.0f} s measured"]
    line = escape(" · ".join(filter(None, parts)))
    return f'<header><h1>{escape(facts.title)}</h1><p class="muted">{line}</p></header>'


def _moment(iso: str) -> str:
    """Without the fractions of a second."""
    try:
        return datetime.fromisoformat(iso).strftime("%Y-%m-%d %H:%M:%S %Z").strip()
    except ValueError:
        return iso


def _section(identity: str, title: str, content: str) -> str:
    return f'\n<section id="{identity}"><h2>{escape(title)}</h2>{content}</section>'


@cache
def _style() -> str:
    return files("nemotron_loadtest.report").joinpath("style.css").read_text(encoding="utf-8")
