from __future__ import annotations

import dataclasses
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Optional, Union

import pytest

from nemotron_serving.launcher.cli import main
from nemotron_serving.launcher.engine_library import canonical_type, recorded_api
from tests.fakes import importable
from tests.fakes.packages import make_package


@pytest.fixture
def library() -> Iterator[Any]:
    with importable() as module:
        yield module


def check(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, list[str]]:
    """Exit status, and the lines that are not ok."""
    status = main(["check", "--engine", *arguments])
    lines = capsys.readouterr().out.splitlines()
    return status, [" ".join(line.split()) for line in lines if not line.startswith("ok ")]


@pytest.mark.usefixtures("library")
def test_the_recorded_release_has_no_differences(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "--engine"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["ok", "TensorRT-LLM", "1.2.1,", "compared", "with", "1.2.1"]
    assert len(lines) == 1 + len(recorded_api().objects)
    assert all(line.startswith("ok ") for line in lines)


def test_without_tensorrt_llm_it_says_what_is_needed(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt_llm", None)
    status, lines = check(capsys)
    assert status == 1
    assert len(lines) == 1
    assert lines[0].startswith("FAIL TensorRT-LLM tensorrt_llm cannot be imported: ")
    assert lines[0].endswith("26.07-trtllm-python-py3 on a machine with a GPU.")


def test_fields_that_are_gone_or_have_another_name_are_told_one_by_one(
    library: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    fields = [(field.name, field.type) for field in dataclasses.fields(library.SamplingParams) if field.init]
    renamed = [("bad_strings" if name == "bad" else name, kind) for name, kind in fields if name != "seed"]
    monkeypatch.setattr(library, "SamplingParams", dataclasses.make_dataclass("SamplingParams", renamed))
    config = sys.modules["tensorrt_llm.llmapi"].KvCacheConfig
    monkeypatch.delitem(config.model_fields, "tokens_per_block")
    assert check(capsys) == (
        1,
        [
            "FAIL SamplingParams bad is not there, recorded is Optional[Union[str, List[str]]]",
            "FAIL SamplingParams seed is not there, recorded is Optional[int]",
            "FAIL KvCacheConfig tokens_per_block is not there, recorded is int",
        ],
    )


def test_another_type_wants_a_look_and_is_no_failure(
    capsys: pytest.CaptureFixture[str], library: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    del library
    arguments = sys.modules["tensorrt_llm.llmapi"].KvCacheConfig.model_fields
    monkeypatch.setitem(arguments, "max_tokens", SimpleNamespace(annotation=str))
    monkeypatch.setitem(arguments, "tokens_per_block", SimpleNamespace(annotation=int))
    assert check(capsys) == (0, ["look KvCacheConfig max_tokens is str, recorded is Optional[int]"])


def test_a_method_that_is_gone(
    library: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(library.LLM, "_check_health")
    monkeypatch.delattr(sys.modules["tensorrt_llm.llmapi"].RequestOutput, "abort")
    status, lines = check(capsys)
    assert status == 1
    assert [line.partition(":")[0] for line in lines] == [
        "FAIL LLM._check_health is not there",
        "FAIL RequestOutput abort is not there, recorded is () -> None",
    ]


@pytest.mark.parametrize(("flow", "status"), [("pytorch", 0), ("engine", 1)])
@pytest.mark.usefixtures("library")
def test_a_checkpoint_does_not_need_what_later_releases_have_removed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, flow: str, status: int
) -> None:
    package = make_package(tmp_path / "package", flow)
    monkeypatch.setitem(sys.modules, "tensorrt_llm._tensorrt_engine", None)
    monkeypatch.delattr("tensorrt_llm.llmapi.llm_args.TrtLlmArgs")
    found, lines = check(capsys, str(package.path))
    assert found == status
    assert [line.split()[1] for line in lines] == (["_tensorrt_engine.LLM", "TrtLlmArgs"] if status else [])


def test_a_package_that_cannot_be_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, lines = check(capsys, str(tmp_path / "nowhere"))
    assert status == 1
    assert "nowhere is not there" in lines[0]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Optional[int]", "Union[int, NoneType]"),
        ("Optional[int]", "int | None"),
        ("Optional[Union[str, List[str]]]", "Union[str, list[str], None]"),
        ("typing.Optional[torch.Tensor]", "Optional[Tensor]"),
        ("Optional[ForwardRef('GuidedDecodingParams')]", "Optional[tensorrt_llm.GuidedDecodingParams]"),
        ("Literal['a', 'b']", "Literal['b','a']"),
        ("Annotated[int, 'positive']", "int"),
        ("Dict[str, Optional[int]]", "dict[str, int | None]"),
    ],
)
def test_spellings_of_one_type_are_equal(one: str, other: str) -> None:
    assert canonical_type(one) == canonical_type(other)


@pytest.mark.parametrize(("one", "other"), [("int", "str"), ("Optional[int]", "int"), ("List[int]", "List[str]")])
def test_types_that_differ_differ(one: str, other: str) -> None:
    assert canonical_type(one) != canonical_type(other)


def test_annotations_of_a_real_class_are_read(
    library: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    real = {"seed": Optional[int], "bad": Optional[Union[str, list[str]]]}  # noqa: UP045, UP007 - as the wheel has it
    fields = [
        (field.name, real.get(field.name, field.type))
        for field in dataclasses.fields(library.SamplingParams)
        if field.init
    ]
    monkeypatch.setattr(library, "SamplingParams", dataclasses.make_dataclass("SamplingParams", fields))
    assert check(capsys) == (0, [])
