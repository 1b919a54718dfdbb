"""The rows of the benchmarks: from a directory, from wheels, and what is said where they are missing or altered."""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path
from types import ModuleType

import pytest
from msgspec.structs import replace

from nemotron_evals import data
from nemotron_evals.card import CARD, Benchmark, benchmark
from nemotron_evals.errors import DataError
from tests.evals import rows


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return rows.write(tmp_path_factory.mktemp("rows"))


@pytest.mark.parametrize("one", CARD, ids=lambda one: str(one.name))
def test_every_benchmark_is_read_from_a_directory(one: Benchmark, directory: Path) -> None:
    found = data.load(one, directory)
    assert found.used.rows == len(found.questions) > 0
    assert found.used.source == one.data.file
    assert found.used.known is (False if one.data.hub_files else None)


def test_files_as_the_hub_has_them_are_read_one_behind_the_other(tmp_path: Path) -> None:
    for name, row in zip(("aime2025-I.jsonl", "aime2025-II.jsonl"), rows.AIME, strict=True):
        (tmp_path / name).write_text(json.dumps(row))
    found = data.load(benchmark("aime25"), tmp_path)
    assert [(one.id, one.fields["answer"]) for one in found.questions] == [("1", "104"), ("2", "336")]
    assert found.used.source == "aime2025-I.jsonl and aime2025-II.jsonl"


def test_the_hash_is_of_the_rows_and_not_of_their_file(tmp_path: Path) -> None:
    first = rows.write(tmp_path / "a")
    second = rows.write(tmp_path / "b")
    lines = [json.dumps(dict(reversed(row.items()))) for row in rows.MATH]
    (second / "math500.jsonl").write_text("\n\n".join(lines))
    hashes = {data.load(benchmark("math500"), where).used.sha256 for where in (first, second)}
    assert len(hashes) == 1
    (second / "math500.jsonl").write_text("\n".join(lines[:1]))
    assert data.load(benchmark("math500"), second).used.sha256 not in hashes


def test_arguments_of_ifeval_that_are_null_are_none(tmp_path: Path) -> None:
    row = {**rows.IFEVAL[0], "kwargs": [{"num_sentences": None}, {"num_sentences": 2, "relation": "at least"}]}
    (tmp_path / "ifeval.jsonl").write_text(json.dumps(row))
    fields = data.load(benchmark("ifeval"), tmp_path).questions[0].fields
    assert fields["arguments"] == [{}, {"num_sentences": 2, "relation": "at least"}]


def test_the_wheels_have_all_questions_with_the_hashes_that_are_pinned() -> None:
    for name in ("bfcl", "mtbench"):
        found = data.load(benchmark(name), None)
        assert len(found.questions) == benchmark(name).questions
        assert found.used.known


def test_bfcl_is_joined_by_line_where_its_ids_differ() -> None:
    questions = {one.id: one.fields for one in data.load(benchmark("bfcl"), None).questions}
    fields = questions["live_multiple_1052-79-0"]  # whose answer is called …1052-279-0
    names = {one["name"] for one in fields["functions"]}
    assert fields["gold"]
    assert all(set(one) <= names for one in fields["gold"])


@pytest.mark.parametrize(
    ("name", "where", "message"),
    [
        ("math500", None, "'--data DIR' reads math500.jsonl, or test.jsonl as the hub has it; '--data hub' reads"),
        ("gpqa", None, "ask its owners for access, download gpqa_diamond.csv"),
        ("gpqa", "hub", "ask its owners for access, download gpqa_diamond.csv"),
        ("mbpp", Path("empty"), "the rows of MBPP are missing: expected mbpp.jsonl, or test-00000-of-00001"),
        ("mbpp", Path("nowhere"), "there is no such directory"),
    ],
)
def test_missing_rows_are_said_with_what_to_do(tmp_path: Path, name: str, where: Path | None, message: str) -> None:
    (tmp_path / "empty").mkdir()
    place = tmp_path / where if isinstance(where, Path) else where
    with pytest.raises(DataError, match=message):
        data.load(benchmark(name), place)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "math500.jsonl, line 1: not JSON"),
        ("[]", "line 1: a list given, expected an object"),
        ('{"problem": "p"}', "row 1: no field 'answer', as MATH500 has"),
        ('{"problem": 1, "answer": "2"}', "row 1: problem is int, expected text"),
        ('{"problem": "p", "answer": "1", "unique_id": "a"}\n' * 2, "two rows have the id 'a'"),
        ("", "math500.jsonl has no rows of MATH500"),
    ],
)
def test_rows_that_are_none_are_named(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "math500.jsonl").write_text(text)
    with pytest.raises(DataError, match=message):
        data.load(benchmark("math500"), tmp_path)


def test_what_is_wrong_with_a_private_row_is_said_without_its_text(tmp_path: Path) -> None:
    (tmp_path / "gpqa_diamond.csv").write_text(f"Question,Correct Answer\n{rows.CANARY},{rows.CANARY}\n")
    with pytest.raises(DataError, match="row 1: no field 'Incorrect Answer 1'") as error:
        data.load(benchmark("gpqa"), tmp_path)
    assert rows.CANARY not in str(error.value)


class Hub(ModuleType):
    """What stands in for huggingface_hub: it has one file, and knows what was asked of it."""

    def __init__(self, path: Path | None) -> None:
        super().__init__("huggingface_hub")
        self.path = path
        self.asked: list[tuple[str, str, str]] = []

    def hf_hub_download(self, repository: str, name: str, *, repo_type: str, revision: str) -> str:
        assert repo_type == "dataset"
        self.asked.append((repository, name, revision))
        if self.path is None:
            raise OSError("no route to the hub\nand more")
        return str(self.path)


def test_the_hub_is_asked_for_pinned_files_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "test.jsonl"
    path.write_text(json.dumps(rows.MATH[0]))
    hub = Hub(path)
    monkeypatch.setitem(sys.modules, "huggingface_hub", hub)
    math = benchmark("math500")
    with pytest.raises(DataError, match=r"test\.jsonl of HuggingFaceH4/MATH-500 at 6e4ed1a2a79a was altered"):
        data.load(math, "hub")
    assert hub.asked == [("HuggingFaceH4/MATH-500", "test.jsonl", math.data.revision)]
    here = hashlib.sha256(path.read_bytes()).hexdigest()
    pinned = replace(math, data=replace(math.data, hub_files={"test.jsonl": here}))
    found = data.load(pinned, "hub").used
    assert (found.source, found.revision, found.known) == (
        "HuggingFaceH4/MATH-500: test.jsonl",
        math.data.revision,
        True,
    )


def test_without_the_hub_it_is_said_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", Hub(None))
    with pytest.raises(DataError, match="cannot be had from the hub: no route to the hub"):
        data.load(benchmark("ifeval"), "hub")
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(DataError, match=r"needs huggingface-hub and pyarrow: pip install '\.\[hub\]'"):
        data.load(benchmark("ifeval"), "hub")
