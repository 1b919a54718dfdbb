"""A run's directory, also that of a run which was killed."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from nemotron_loadtest.errors import LoadTestError
from nemotron_loadtest.metrics import Window
from nemotron_loadtest.run.record import RUN, SAMPLES, Recorder, measured_window, new_record, read_run
from nemotron_loadtest.samples import Arrival, Sample
from nemotron_loadtest.scenario import Chat, Lines, Scenario

SAMPLE = Sample(
    request_id="r",
    user="grpc_stream",
    thinking=True,
    intended_s=0,
    started_s=0.001,
    ended_s=1,
    outcome="ok",
    arrivals=(Arrival(0.5, 1), Arrival(1, 3)),
    output_tokens=3,
)
SECRET = Scenario(url="https://user:password@host:1", user="http_stream", duration_s=10)


def test_what_was_written_is_read(tmp_path: Path) -> None:
    record = new_record(SECRET)
    recorder = Recorder(tmp_path / "new" / "run", record)
    recorder.write(SAMPLE)
    ended = msgspec.structs.replace(record, ended_by="interrupt", sent_until_s=4.5)
    recorder.close(ended)
    assert read_run(tmp_path / "new" / "run") == (ended, [SAMPLE])
    assert measured_window(ended, [SAMPLE]) == Window(5, 4.5)
    assert b"password" not in (tmp_path / "new" / "run" / RUN).read_bytes()


def test_prompts_are_not_kept(tmp_path: Path) -> None:
    prompt = "the patient's name is"
    options = {"stop": [prompt], "response_format": {"name": prompt}, "temperature": 0.6, "seed": 3}
    for workload in (Chat(ask=prompt, options=options), Lines(path="own.jsonl", options=options)):
        record = new_record(Scenario(workload=workload))
        Recorder(tmp_path / workload.__class__.__name__, record).close(record)
        assert record.scenario.workload.options["temperature"] == 0.6
        assert record.scenario.workload.options["stop"] == ["(21 characters)"]
    for path in tmp_path.glob("*/*"):
        assert prompt not in path.read_text()


def test_a_killed_run_can_be_read(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path, new_record(SECRET))
    recorder.write(SAMPLE)
    recorder.write(SAMPLE)
    path = tmp_path / SAMPLES
    path.write_bytes(path.read_bytes()[:-20])
    record, samples = read_run(tmp_path)
    assert (record.ended_by, samples) == (None, [SAMPLE])
    assert measured_window(record, samples) == Window(5, SAMPLE.started_s)
    recorder.close(record)


def test_a_run_is_never_written_over(tmp_path: Path) -> None:
    record = new_record(SECRET)
    Recorder(tmp_path, record).close(record)
    with pytest.raises(LoadTestError, match="has a run already"):
        Recorder(tmp_path, record)


def test_a_directory_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(LoadTestError, match="cannot be written"):
        Recorder(tmp_path / "file" / "run", new_record(SECRET))


def test_a_broken_line_is_named(tmp_path: Path) -> None:
    record = new_record(SECRET)
    Recorder(tmp_path, record).close(record)
    (tmp_path / SAMPLES).write_bytes(b'{"half": 1}\n')
    with pytest.raises(LoadTestError, match="line 1"):
        read_run(tmp_path)


def test_a_record_of_another_version_is_refused(tmp_path: Path) -> None:
    record = msgspec.structs.replace(new_record(SECRET), schema_version=2)
    Recorder(tmp_path, record).close(record)
    with pytest.raises(LoadTestError, match=r"run\.json has schema version 2, this nemotron-bench reads 1"):
        read_run(tmp_path)


def test_a_record_without_its_version_is_none(tmp_path: Path) -> None:
    (tmp_path / SAMPLES).touch()
    (tmp_path / RUN).write_text("{}")
    with pytest.raises(LoadTestError, match=r"not the record of a run: .*schema_version"):
        read_run(tmp_path)


def test_no_run_at_all(tmp_path: Path) -> None:
    with pytest.raises(LoadTestError, match=r"expected run\.json and samples\.jsonl"):
        read_run(tmp_path)
