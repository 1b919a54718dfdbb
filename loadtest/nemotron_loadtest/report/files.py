"""Writes a report's files into a directory."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from nemotron_loadtest.capacity import CapacityPlan
from nemotron_loadtest.errors import LoadTestError
from nemotron_loadtest.report.document import Report, decode_report, encode_report
from nemotron_loadtest.report.page import report_html
from nemotron_loadtest.report.sweep import Sweep
from nemotron_loadtest.report.tables import write_metrics, write_requests
from nemotron_loadtest.samples import Sample

JSON_FILE = "report.json"
HTML_FILE = "report.html"
REQUESTS_FILE = "requests.csv"
METRICS_FILE = "metrics.csv"
CAPACITY_FILE = "capacity.json"
SWEEP_FILE = "sweep.json"


def add_capacity(plan: CapacityPlan, directory: Path) -> Path:
    """Put a plan into the report of a sweep that lies in a directory, and write it to capacity.json.

    Returns:
        The HTML page.

    Raises:
        LoadTestError: there is no report, or a file cannot be written.
    """
    try:
        report = decode_report((directory / JSON_FILE).read_bytes())
        planned = msgspec.structs.replace(report, capacity=plan)
        (directory / CAPACITY_FILE).write_bytes(_json(plan))
        (directory / JSON_FILE).write_bytes(encode_report(planned))
        (directory / HTML_FILE).write_text(report_html(planned), encoding="utf-8")
    except OSError as error:
        raise LoadTestError(
            f"{error.filename or directory}: {error.strerror}. Name the directory of a sweep."
        ) from error
    return directory / HTML_FILE


def write_sweep(sweep: Sweep, directory: Path) -> None:
    """Write sweep.json into the directory of its runs.

    Raises:
        LoadTestError: it cannot be written.
    """
    try:
        (directory / SWEEP_FILE).write_bytes(_json(sweep))
    except OSError as error:
        raise LoadTestError(f"{directory / SWEEP_FILE}: {error.strerror}. Name a directory to write to.") from error


def read_sweep(directory: Path) -> Sweep:
    """The sweep that lies in a directory.

    Raises:
        LoadTestError: there is none, or it cannot be read.
    """
    path = directory / SWEEP_FILE
    try:
        return msgspec.json.decode(path.read_bytes(), type=Sweep)
    except OSError as error:
        raise LoadTestError(f"{path}: {error.strerror}, expected the directory of a sweep") from None
    except msgspec.DecodeError as error:
        raise LoadTestError(f"{path} is not the result of a sweep: {error}") from None


def write_report(report: Report, samples: Sequence[Sample], directory: Path) -> Path:
    """Write report.json, report.html, requests.csv and metrics.csv.

    Args:
        report: Of the samples.
        samples: All requests, for their rows.
        directory: Made if it is not there.

    Returns:
        The HTML page.

    Raises:
        LoadTestError: a file cannot be written.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
        (directory / JSON_FILE).write_bytes(encode_report(report))
        (directory / HTML_FILE).write_text(report_html(report), encoding="utf-8")
        write_requests(samples, report.summary.window, directory / REQUESTS_FILE)
        write_metrics(report.summary, directory / METRICS_FILE)
    except OSError as error:
        place = error.filename or directory
        raise LoadTestError(f"{place}: {error.strerror}. Name a directory to write to.") from error
    return directory / HTML_FILE


def _json(value: Any) -> bytes:
    return msgspec.json.format(msgspec.json.encode(value), indent=1) + b"\n"
