"""Traces in the formats that people publish."""

from __future__ import annotations

import itertools
import json
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nemotron_loadtest.arrivals import TraceRequest, read_trace
from nemotron_loadtest.arrivals.traces import check_trace, line_parser
from nemotron_loadtest.errors import ScenarioError
from nemotron_loadtest.scenario import Trace

FILES = Path(__file__).parent / "traces"

MOONCAKE = '{"timestamp": 0, "input_length": 600, "output_length": 5, "hash_ids": [1, 2]}\n'
AZURE = "TIMESTAMP,ContextTokens,GeneratedTokens\n"
BURSTGPT = "Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type\n"


def read(path: Path) -> list[TraceRequest]:
    return list(read_trace(Trace(path=str(path))))


def written(directory: Path, text: str | bytes) -> Path:
    path = directory / "trace"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


@pytest.mark.parametrize(
    ("name", "requests"),
    [
        (
            "mooncake.jsonl",
            [
                TraceRequest(0, 1100, 52, (46, 47, 48)),
                TraceRequest(0, 600, 500, (46, 49)),
                TraceRequest(3, 20, 3, (50,)),
            ],
        ),
        ("azure_2023.csv", [TraceRequest(0, 374, 44), TraceRequest(4.314579, 396, 109), TraceRequest(60, 20, 5)]),
        (
            "azure_2024.csv",
            [TraceRequest(0, 2162, 5), TraceRequest(0.990070, 2399, 6), TraceRequest(86399.99007, 76, 15)],
        ),
        ("burstgpt_1.csv", [TraceRequest(0, 472, 18), TraceRequest(40, 1087, 230), TraceRequest(115, 300, 1)]),
        ("burstgpt_3.csv", [TraceRequest(0, 906, 446), TraceRequest(51, 36, 29)]),
    ],
)
def test_each_format_is_known_by_its_first_line(name: str, requests: list[TraceRequest]) -> None:
    found = read(FILES / name)
    assert [one.at_s for one in found] == pytest.approx([one.at_s for one in requests], abs=1e-6)
    assert [(one.input_tokens, one.output_tokens, one.hash_ids) for one in found] == [
        (one.input_tokens, one.output_tokens, one.hash_ids) for one in requests
    ]


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "line 1: the format is not known"),
        ("when,what\n1,2\n", "line 1: the format is not known, expected a JSON line with timestamp"),
        (MOONCAKE + '{"timestamp": 1, "input_length": 6}\n', "line 2: Object missing required field `output_length`"),
        (MOONCAKE + "\n" + '{"timestamp": 1,\n', "line 3: Input data was truncated"),
        (MOONCAKE.replace("600", "-1"), r"line 1: Expected `int` >= 0 - at `\$.input_length`"),
        (MOONCAKE.replace("600", "1e3000"), "line 1: "),
        (
            AZURE + "2023-11-16 18:15:46.68,374\n",
            "line 2: 2 columns, expected TIMESTAMP, ContextTokens, GeneratedTokens",
        ),
        (AZURE + "yesterday,374,44\n", "line 2: TIMESTAMP is 'yesterday', expected a time"),
        (AZURE + "2023-11-16 18:15:46.x,374,44\n", "line 2: TIMESTAMP is '2023-11-16 18:15:46.x', expected a time"),
        (AZURE + "2023-11-16 18:15:46,3.5,44\n", "line 2: ContextTokens is '3.5', expected a whole number"),
        (
            AZURE + "2023-11-16 18:15:46,3,9999999999\n",
            "line 2: GeneratedTokens is '9999999999', expected a whole number",
        ),
        (BURSTGPT + "nan,M,5,5,10,x\n", "line 2: Timestamp is 'nan', expected a time"),
        (BURSTGPT + "5,M,,5,10,x\n", "line 2: Request tokens is '', expected a whole number"),
        (BURSTGPT + "5,M,5,5,10,x\n4,M,5,5,10,x\n", "line 3: it is earlier than the line before it; sort the file"),
        (b"\xff\xfe\x00", "it is not UTF-8 text"),
    ],
)
def test_a_broken_line_is_named(text: str | bytes, complaint: str, tmp_path: Path) -> None:
    path = written(tmp_path, text)
    with pytest.raises(ScenarioError, match=complaint) as error:
        read(path)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ScenarioError, match=r"nowhere.csv: No such file or directory, expected a trace"):
        read(tmp_path / "nowhere.csv")


def test_marks_of_other_systems_and_empty_lines_do_not_matter(tmp_path: Path) -> None:
    text = "\ufeff" + BURSTGPT.replace("\n", "\r\n") + '5,"A, B",1,2,3,x\r\n\r\n9,M,1,2,3,x'
    assert read(written(tmp_path, text)) == [TraceRequest(0, 1, 2), TraceRequest(4, 1, 2)]


def test_checking_goes_as_far_as_the_run_does(tmp_path: Path) -> None:
    trace = Trace(path=str(written(tmp_path, BURSTGPT + "0,M,5,5\n9,M,5,5\nbroken\n")))
    check_trace(trace, 9)
    with pytest.raises(ScenarioError, match="line 4: 1 columns"):
        check_trace(trace, 10)
    with pytest.raises(ScenarioError, match="there is no request in it"):
        check_trace(Trace(path=str(written(tmp_path, BURSTGPT + "0,M,5,0\n"))), 10)


def test_a_long_trace_is_not_held_in_memory(tmp_path: Path) -> None:
    path = tmp_path / "long.csv"
    with path.open("w") as file:
        file.write(BURSTGPT)
        file.writelines(f"{number},M,5,5,10,x\n" for number in range(50_000))
    tracemalloc.start()
    assert sum(1 for _ in read_trace(Trace(path=str(path)))) == 50_000
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1_000_000


REQUESTS = st.lists(st.tuples(st.integers(0, 10**6), st.integers(1, 10**6), st.integers(1, 10**6)), min_size=1)


@given(requests=REQUESTS, form=st.sampled_from(["mooncake", "azure", "burstgpt"]))
def test_what_is_written_is_read(
    requests: list[tuple[int, int, int]], form: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    milliseconds = list(itertools.accumulate(gap for gap, _, _ in requests))
    lines = {"mooncake": "", "azure": AZURE, "burstgpt": BURSTGPT}[form]
    for at, (_, inputs, outputs) in zip(milliseconds, requests, strict=True):
        if form == "mooncake":
            lines += json.dumps({"timestamp": at, "input_length": inputs, "output_length": outputs}) + "\n"
        elif form == "azure":
            day, rest = divmod(at, 86_400_000)
            hours, minutes, seconds = rest // 3_600_000, rest // 60_000 % 60, rest // 1000 % 60
            date = f"2024-05-{10 + day:02d} {hours:02d}:{minutes:02d}:{seconds:02d}.{rest % 1000:03d}000+00:00"
            lines += f"{date},{inputs},{outputs}\n"
        else:
            lines += f"{at / 1000},GPT-4,{inputs},{outputs},{inputs + outputs},API log\n"
    found = read(written(tmp_path_factory.mktemp("written"), lines))
    assert [(one.input_tokens, one.output_tokens) for one in found] == [(one[1], one[2]) for one in requests]
    assert [one.at_s for one in found] == pytest.approx(
        [(at - milliseconds[0]) / 1000 for at in milliseconds], abs=1e-5
    )


@given(st.sampled_from([MOONCAKE, AZURE, BURSTGPT]), st.text())
def test_any_line_is_read_or_refused(first: str, line: str) -> None:
    parse = line_parser(first)
    try:
        request = parse(line)
    except ValueError:
        return
    assert request.input_tokens >= 0


@given(st.text())
def test_any_first_line_is_known_or_refused(line: str) -> None:
    try:
        line_parser(line)
    except ValueError as error:
        assert "expected" in str(error)
