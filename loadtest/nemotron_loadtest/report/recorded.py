"""Reports of runs that lie in their directories: `report_of(directory)`."""

from __future__ import annotations

from pathlib import Path

import msgspec

from nemotron_loadtest.analysis import Slo, load_slo
from nemotron_loadtest.report.document import Facts, Report, make_report
from nemotron_loadtest.report.sweep import Sweep
from nemotron_loadtest.run.record import SERVER, RunRecord, measured_window, read_run
from nemotron_loadtest.samples import Sample
from nemotron_loadtest.server import ServerSample, decode_server_sample

_CUT_OFF = {
    "interrupt": "Somebody stopped the run",
    "failures": "The server was given up",
    "workers": "Processes that send have gone",
    None: "The run was killed",
}


def report_of(
    directory: Path, *, title: str = "", slo: Slo | None = None, sweep: Sweep | None = None
) -> tuple[Report, list[Sample]]:
    """Make the report of a run from what it left; also of one that was killed.

    Args:
        directory: With run.json, samples.jsonl and server.jsonl.
        title: Of the report; the directory's name if none is given.
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
