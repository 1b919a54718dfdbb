"""The sweep on the page: the capacity in large, the curves, the runs."""

from __future__ import annotations

from html import escape

from nemotron_loadtest.numbers import number
from nemotron_loadtest.report.document import Report, Sweep
from nemotron_loadtest.report.figures import figure_html, table_html
from nemotron_loadtest.report.sweep_figures import sweep_figures, sweep_table


def sweep_section(report: Report, sweep: Sweep) -> str:
    """All of it."""
    found = sweep.capacity
    tone = "good" if found.stable and found.rate_per_s is not None else "warn"
    word = "No rate met the SLO" if found.rate_per_s is None else f"{number(found.rate_per_s)} requests/s"
    chip = "" if found.stable else '<span class="chip warn">NOT STABLE</span>'
    below = "" if found.fails_at_per_s is None else f"; {number(found.fails_at_per_s)} requests/s did not"
    runs = f"{len(found.trials)} runs; the report of one of them is below."
    sentence = f"The highest rate that met the SLO “{sweep.slo}”{below}. {runs}" if found.rate_per_s else runs
    reasons = "".join(f"<li>{escape(reason)}</li>" for reason in found.reasons)
    figures = "".join(figure_html(figure) for figure in sweep_figures(report))
    table = table_html(sweep_table(sweep), caption="The runs, in order; \u2717 marks what did not hold")
    return (
        f'\n<section id="sweep"><h2>Capacity of the server</h2><div class="verdict {tone}">'
        f'<div><span class="word">{escape(word)}</span>{chip}</div><p>{escape(sentence)}</p>'
        f"{f'<ul>{reasons}</ul>' if reasons else ''}</div>"
        f'<div class="pair">{figures}</div>{table}</section>'
    )
