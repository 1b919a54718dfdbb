from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from google.protobuf import text_format  # type: ignore[import-untyped]
from tritonclient.grpc import model_config_pb2

from nemotron_serving.launcher.errors import SetupError
from nemotron_serving.launcher.triton_files import (
    STUB_NAME,
    WAITING_BACKEND,
    Triton,
    default_repository,
    model_names,
    prepare_backends,
    prepare_repository,
    runtime_directory,
)


@pytest.mark.parametrize("name", ["plain", "with space", "é", "new\nline", "$HOME"])
def test_the_runtime_directory_means_itself_to_a_shell(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    (tmp_path / name).mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / name))
    made = runtime_directory()
    said = subprocess.run(f"echo {made}", shell=True, capture_output=True, check=True)  # noqa: S602 - what it is about
    assert said.stdout.decode() == f"{made}\n"
    made.rmdir()


def repository(root: Path) -> Path:
    (root / "ensemble").mkdir(parents=True)
    (root / "ensemble" / "config.pbtxt").touch()
    (root / "step" / "1" / "__pycache__").mkdir(parents=True)
    (root / "step" / "config.pbtxt").touch()
    (root / "step" / "1" / "model.py").write_text("text")
    (root / "notes").mkdir()
    return root


def test_every_model_gets_a_version(tmp_path: Path) -> None:
    source, laid_out = repository(tmp_path / "source"), tmp_path / "laid out"
    assert prepare_repository(source, laid_out) == ("ensemble", "step")
    assert (laid_out / "ensemble" / "1").is_dir()
    assert (laid_out / "step" / "1" / "model.py").read_text() == "text"
    assert sorted(path.name for path in laid_out.rglob("*")) == sorted(
        ["ensemble", "1", "config.pbtxt", "step", "1", "model.py", "config.pbtxt"]
    )
    assert not (source / "ensemble" / "1").exists(), "the source is not ours to change"


def test_what_is_served_becomes_parameters_of_the_public_model(tmp_path: Path) -> None:
    source, laid_out = repository(tmp_path / "source"), tmp_path / "laid out"
    prepare_repository(source, laid_out, {"name": 'Nano "8B" \\ é\n', "max_tokens": "5"})
    config = (laid_out / "ensemble" / "config.pbtxt").read_text()
    read = text_format.Parse(config, model_config_pb2.ModelConfig())
    assert {name: value.string_value for name, value in read.parameters.items()} == {
        "name": 'Nano "8B" \\ é',
        "max_tokens": "5",
    }
    assert (source / "ensemble" / "config.pbtxt").read_text() == "", "the source is not ours to change"


def test_a_directory_that_is_no_repository(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "config.pbtxt").touch()
    with pytest.raises(SetupError, match=r"it has no ensemble/config.pbtxt. Models found: other."):
        model_names(tmp_path)


def test_this_installation_has_a_repository() -> None:
    assert "tensorrt_llm" in model_names(default_repository())


def test_the_backend_gets_the_stub_of_this_python(tmp_path: Path) -> None:
    shipped = tmp_path / "shipped"
    shipped.mkdir()
    (shipped / "libtriton_python.so").write_text("library")
    (shipped / STUB_NAME).write_text("of another Python")
    ours = tmp_path / "ours"
    ours.write_text("ours")
    prepare_backends(Triton(Path("tritonserver"), shipped, ours, ()), tmp_path / "backends", default_repository())
    assert (tmp_path / "backends" / "python" / STUB_NAME).read_text() == "ours"
    assert (tmp_path / "backends" / "python" / "libtriton_python.so").read_text() == "library"
    waiting = tmp_path / "backends" / WAITING_BACKEND
    assert (waiting / STUB_NAME).read_text() == "ours"
    assert (waiting / f"libtriton_{WAITING_BACKEND}.so").read_text() == "library"
    assert (waiting / "model.py").read_text() == (default_repository() / "unary" / "1" / "model.py").read_text()


def test_the_model_that_waits_for_others_has_the_backend_with_the_threads(tmp_path: Path) -> None:
    prepare_repository(default_repository(), tmp_path / "laid out")
    configs = {
        name: text_format.Parse((tmp_path / "laid out" / name / "config.pbtxt").read_text(),
                                model_config_pb2.ModelConfig())
        for name in model_names(default_repository())
    }  # fmt: skip
    assert {name for name, config in configs.items() if config.backend == WAITING_BACKEND} == {"unary"}
    original = (default_repository() / "unary" / "config.pbtxt").read_text()
    assert 'backend: "python"' in original, "the source is not ours to change"
