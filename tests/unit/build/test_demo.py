"""The demo package: its configuration, and what happens where something is there already."""

from __future__ import annotations

import io
from importlib import metadata
from pathlib import Path

import msgspec
import pytest

from nemotron_build import demo
from nemotron_build.byte_level import byte_level_bpe
from nemotron_build.cpu.gguf_tokenizer import GgufVocabulary
from nemotron_build.cpu.to_openvino import ENGINE_FILES
from nemotron_build.demo import build_demo, serving_config
from nemotron_build.errors import BuildError
from nemotron_build.steps import Steps
from nemotron_serving.package import EngineSpec, Manifest, Package, write_package

_VOCABULARY = GgufVocabulary(
    model="gpt2",
    pre="smollm",
    tokens=["<|endoftext|>", "<|im_start|>", "<|im_end|>"],
    types=[3, 3, 3],
    merges=[],
    eos_token_id=2,
    chat_template="{% if x %}{{ '<|im_start|>system\nYou are small<|im_end|>\n' }}{% endif %}",
    context_length=8192,
)


@pytest.fixture
def built(tmp_path: Path) -> Path:
    """A whole package that says it is the demo, without the model."""
    path = tmp_path / "demo"
    (path / "engine").mkdir(parents=True)
    for name in ENGINE_FILES:
        (path / "engine" / name).write_bytes(b"")
    byte_level_bpe(_VOCABULARY.tokens, [], _VOCABULARY.tokens).save(str(path / "tokenizer.json"))
    engine = EngineSpec("openvino", metadata.version("openvino-genai"), "cpu", "any", "int4 (Q4_1)")
    write_package(path, Manifest(1, demo.NAME, "test", {}, engine, {}), serving_config(_VOCABULARY))
    return path


def _build(target: Path, steps: Steps, *, force: bool = False) -> None:
    build_demo(target, cache=target.parent / "cache", wheel=target.parent / "absent.whl", force=force, steps=steps)


def test_serving_config_comes_from_the_gguf() -> None:
    config = serving_config(_VOCABULARY)
    assert config.default_system_prompt == ""  # with the template's the answers are often wrong
    assert config.stop_token_ids == (2, 0)
    assert config.limits.max_seq_len == 8192
    assert config.limits.max_prompt_bytes == 131_072


def test_other_chat_template_is_refused() -> None:
    with pytest.raises(BuildError, match="chat template"):
        serving_config(GgufVocabulary(**{**vars(_VOCABULARY), "chat_template": "[INST]"}))


def test_good_package_is_left_alone(built: Path, steps: Steps, said: io.StringIO) -> None:
    _build(built, steps)
    assert "is there already" in said.getvalue()


def test_package_of_an_earlier_version_is_built_again(built: Path, steps: Steps) -> None:
    package = Package.load(built)
    (built / "engine" / "openvino_tokenizer.xml").unlink()
    write_package(built, package.manifest, package.serving)
    with pytest.raises(BuildError, match=r"absent.whl is not a file"):
        _build(built, steps)


def test_package_with_the_system_prompt_of_earlier_versions_is_built_again(built: Path, steps: Steps) -> None:
    package = Package.load(built)
    write_package(
        built, package.manifest, msgspec.structs.replace(package.serving, default_system_prompt="You are old")
    )
    with pytest.raises(BuildError, match=r"absent.whl is not a file"):
        _build(built, steps)


def test_force_builds_although_it_is_there(built: Path, steps: Steps) -> None:
    with pytest.raises(BuildError, match=r"absent.whl is not a file"):
        _build(built, steps, force=True)
    Package.load(built).verify_files()


def test_damaged_package_is_refused(built: Path, steps: Steps) -> None:
    (built / "tokenizer.json").unlink()
    with pytest.raises(BuildError, match=r"tokenizer.json is missing.* --force"):
        _build(built, steps)


def test_package_of_another_openvino_is_refused(built: Path, steps: Steps) -> None:
    package = Package.load(built)
    old = msgspec.structs.replace(package.manifest.engine, version="2024.1.0.0")
    write_package(built, msgspec.structs.replace(package.manifest, engine=old), package.serving)
    with pytest.raises(BuildError, match=r"built with openvino 2024.1.0.0.* --force"):
        _build(built, steps)


def test_interrupted_conversion_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, steps: Steps) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(demo, "obtain_wheel", lambda *_: tmp_path)
    monkeypatch.setattr(demo, "extract_gguf", interrupt)
    with pytest.raises(KeyboardInterrupt):
        _build(tmp_path / "demo", steps)
    assert list(tmp_path.iterdir()) == []
