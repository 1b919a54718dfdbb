"""The demo's model as it is fetched: the whole build of its package, and the checkpoint to measure accuracy on."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from rich.console import Console

from nemotron_build import demo
from nemotron_build.cpu.gguf_file import GgufFile
from nemotron_build.cpu.to_openvino import ENGINE_FILES
from nemotron_build.demo_model import default_cache
from nemotron_build.steps import Steps
from nemotron_serving.package import Package
from tests.unit.build.demo_checkpoint import demo_gguf


@pytest.fixture(scope="module")
def gguf(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GgufFile]:
    file = demo_gguf(tmp_path_factory.mktemp("demo"))
    yield file
    file.path.unlink()


def test_the_whole_build(gguf: GgufFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """But for what `gguf` did before: unpacking the model and reading its fields."""
    monkeypatch.setattr(demo, "extract_gguf", lambda *_: gguf.path)
    monkeypatch.setattr(demo, "GgufFile", lambda _: gguf)
    target, steps = tmp_path / "demo", Steps(Console(stderr=True))
    try:
        demo.build_demo(target, cache=default_cache(), wheel=None, force=False, steps=steps)
        Package.load(target).verify_files()
        names = sorted(file.relative_to(target).as_posix() for file in target.rglob("*") if file.is_file())
        engine = [f"engine/{name}" for name in sorted(ENGINE_FILES)]
        assert names == [*engine, "manifest.json", "serving.json", "tokenizer.json"]
    finally:
        shutil.rmtree(target, ignore_errors=True)
