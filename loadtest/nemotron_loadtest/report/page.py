"""The report as one HTML file: no scripts, nothing from elsewhere.

The pages are Jinja2 templates that escape all that they show; templates/base.html has what every page has.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from nemotron_loadtest.numbers import NO_VALUE, in_unit, number, share
from nemotron_loadtest.report import sections
from nemotron_loadtest.report.document import Report
from nemotron_loadtest.report.plots import Table, drawing, plot_style
from nemotron_loadtest.report.run_figures import distribution_figures, timeline_figure
from nemotron_loadtest.report.sweep_figures import sweep_figures, sweep_table


def report_html(report: Report) -> str:
    """The page of a run, or of a sweep and one of its runs."""
    return render(
        "report.html",
        title=f"{report.states[0]}: {report.facts.title}",
        report=report,
        sections=sections,
        sweep_figures=sweep_figures(report),
        distribution_figures=list(distribution_figures(report)),
        timeline_figure=timeline_figure(report),
    )


def render(template: str, **shown: Any) -> str:
    """A page from a template of this package, or from one in a string that begins with its tag `extends`."""
    environment = _environment()
    page = environment.from_string(template) if template.startswith("{%") else environment.get_template(template)
    with plot_style():
        return page.render(shown)


@cache
def _environment() -> Environment:
    """With what templates call: see templates/parts.html for the figures and the tables."""
    environment = Environment(
        loader=PackageLoader("nemotron_loadtest.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"number": number, "share": share, "in_unit": in_unit}
    environment.globals |= {"NO_VALUE": NO_VALUE, "Table": Table, "drawing": drawing, "sweep_table": sweep_table}
    return environment
