"""Reports of a run: JSON, CSV, one HTML page, and a view in the terminal while it goes on."""

from __future__ import annotations

from nemotron_loadtest.report.comparison import comparison_html, difference_title
from nemotron_loadtest.report.document import (
    REPORT_SCHEMA_VERSION,
    Facts,
    Report,
    Sweep,
    SweepPoint,
    decode_report,
    encode_report,
    make_report,
    sweep_point,
)
from nemotron_loadtest.report.files import add_capacity, facts_of, read_sweep, report_of, write_report, write_sweep
from nemotron_loadtest.report.page import report_html
from nemotron_loadtest.report.terminal import LiveView, capacity_table

__all__ = [
    "REPORT_SCHEMA_VERSION",
    "Facts",
    "LiveView",
    "Report",
    "Sweep",
    "SweepPoint",
    "add_capacity",
    "capacity_table",
    "comparison_html",
    "decode_report",
    "difference_title",
    "encode_report",
    "facts_of",
    "make_report",
    "read_sweep",
    "report_html",
    "report_of",
    "sweep_point",
    "write_report",
    "write_sweep",
]
