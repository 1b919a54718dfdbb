"""Files of a run and its report: reads what a run left, and writes report.json, report.html and the CSV tables."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec

from nemotron_loadtest.analysis import PERCENTILES, Distribution, Group, Slo, Summary, load_slo
from nemotron_loadtest.capacity import CapacityPlan
from nemotron_loadtest.errors import LoadTestError
from nemotron_loadtest.metrics import DISTRIBUTIONS, LATENCIES, METRICS, RATIOS, Latency, PerRequest, Window
from nemotron_loadtest.report.document import Facts, Report, Sweep, decode_report, encode_report, make_report
from nemotron_loadtest.report.page import report_html
from nemotron_loadtest.run.record import SERVER, RunRecord, measured_window, read_run
from nemotron_loadtest.samples import Sample
from nemotron_loadtest.server import ServerSample, decode_server_sample

JSON_FILE = "report.json"
HTML_FILE = "report.html"
REQUESTS_FILE = "requests.csv"
METRICS_FILE = "metrics.csv"
CAPACITY_FILE = "capacity.json"
SWEEP_FILE = "sweep.json"
_CUT_OFF = {
    "interrupt": "Somebody stopped the run",
    "failures": "The server was given up",
    "workers": "Processes that send have gone",
    None: "The run was killed",
}
_PER_REQUEST = tuple(
    metric for metric in DISTRIBUTIONS if isinstance(metric, PerRequest) and not hasattr(Sample, metric.name)
)
_PLAIN = (
    "request_id",
    "worker",
    "user",
    "thinking",
    "turn",
    "outcome",
    "error_type",
    "finish_reason",
    "intended_s",
    "started_s",
    "ended_s",
    "prompt_tokens",
    "cached_tokens",
    "output_tokens",
    "reasoning_tokens",
)
_STATISTICS = ("count", "mean", "std", "min", "max", *PERCENTILES)


def report_of(
    directory: Path, *, title: str = "", slo: Slo | None = None, sweep: Sweep | None = None
) -> tuple[Report, list[Sample]]:
    """Make the report of a run from what it left; also of one that was killed.

    Args:
        directory: With run.json, samples.jsonl and server.jsonl.
        title: The report's title; the directory's name if none is given.
        slo: To judge by; None takes that of the scenario.
        sweep: The search that the run is part of.

    Returns:
        The report, and the run's requests.

    Raises:
        LoadTestError: there is no run, or it cannot be read.
    """
    record, samples = read_run(directory)
    wanted = slo or (load_slo(record.scenario.slo) if record.scenario.slo else None)
    report = make_report(
        samples,
        measured_window(record, samples),
        facts_of(record, title or directory.resolve().name),
        slo=wanted,
        server=_server_samples(directory),
        sweep=sweep,
    )
    return report, samples


def facts_of(record: RunRecord, title: str) -> Facts:
    """What a record says of a run beside its samples."""
    cut_off = ""
    if record.ended_by != "duration":
        cut_off = _CUT_OFF[record.ended_by] + (f": {record.problem}." if record.problem else ".")
    environment = {name: str(value) for name, value in (*record.machine.items(), *record.versions.items())}
    return Facts(
        title=title,
        started_at=record.started_at,
        description=record.scenario.description,
        cut_off=cut_off,
        not_sent=record.not_sent,
        busy=record.busy,
        scenario=msgspec.to_builtins(record.scenario),
        environment={
            "servers": ", ".join(record.urls),
            "sending processes": str(record.workers),
            "prompts measured with": record.measured_with or "",
            **environment,
        },
    )


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
        report: What was made of the samples.
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


def write_requests(samples: Iterable[Sample], window: Window, path: Path) -> None:
    """A row a request, in the order of their intended starts; nothing in a field is no value.

    Latencies are in milliseconds from the intended start, and again from the actual one. `measured` tells whether
    the request is part of the figures: whether it began in the window.
    """
    with path.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow([*_PLAIN, "measured", *_latency_columns(), *(metric.name for metric in _PER_REQUEST)])
        for sample in sorted(samples, key=lambda sample: sample.intended_s):
            table.writerow([*_request(sample), int(window.holds(sample.intended_s)), *_values(sample)])


def write_metrics(summary: Summary, path: Path) -> None:
    """A row a metric, for all requests and for those with thinking on and off, from each start."""
    with path.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(["metric", "title", "unit", "thinking", "from", "value", *_STATISTICS])
        for thinking, group in summary.groups.items():
            for name, origin, value in _rows(group):
                metric = METRICS[name]
                table.writerow([name, metric.title, metric.unit, thinking, origin, *_statistics(value)])


def _server_samples(directory: Path) -> list[ServerSample]:
    """Of whole lines; none where nothing was scraped."""
    try:
        lines = (directory / SERVER).read_bytes().split(b"\n")[:-1]
    except OSError:
        return []
    found = []
    for line in lines:
        try:
            found.append(decode_server_sample(line))
        except msgspec.DecodeError:
            continue
    return found


def _json(value: Any) -> bytes:
    return msgspec.json.format(msgspec.json.encode(value), indent=1) + b"\n"


def _latency_columns() -> list[str]:
    names = [metric.name.removesuffix("_ms") for metric in LATENCIES]
    return [f"{name}{suffix}" for name in names for suffix in ("_ms", "_from_actual_ms")]


def _request(sample: Sample) -> list[object]:
    return [_shown(getattr(sample, name)) for name in _PLAIN]


def _values(sample: Sample) -> Iterator[object]:
    for latency in LATENCIES:
        yield _shown(latency.of(sample, "intended"))
        yield _shown(latency.of(sample, "actual"))
    for metric in _PER_REQUEST:
        yield _shown(metric.of(sample))


def _rows(group: Group) -> Iterator[tuple[str, str, Distribution | float | None]]:
    for metric in (*LATENCIES, *DISTRIBUTIONS):
        if isinstance(metric, Latency):
            yield metric.name, "intended", group.latencies[metric.name].intended
            yield metric.name, "actual", group.latencies[metric.name].actual
        else:
            yield metric.name, "", group.distributions[metric.name]
    for ratio in RATIOS:
        yield ratio.name, "", group.figures[ratio.name]


def _statistics(value: Distribution | float | None) -> list[object]:
    if isinstance(value, Distribution):
        return ["", *(_shown(getattr(value, name)) for name in _STATISTICS)]
    return [_shown(value), *("" for _ in _STATISTICS)]


def _shown(value: object) -> object:
    if value is None:
        return ""
    if isinstance(value, bool):
        return int(value)
    return round(value, 6) if isinstance(value, float) else value
