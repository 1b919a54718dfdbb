"""Packages for the simulated engine."""

from __future__ import annotations

import io
import json
import os
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest
from tokenizers import Tokenizer

from nemotron_build.cli import main
from nemotron_build.cpu.openvino_tokenizer import check_round_trip, corpus
from nemotron_build.errors import BuildError
from nemotron_build.simulated import SimulatedOptions, build_simulated, byte_tokenizer, read_scripts
from nemotron_build.steps import Steps
from nemotron_serving.engine.simulated import Script, SimulatedConfig
from nemotron_serving.package import Package
from nemotron_serving.stages.preprocess import Preprocessor
from tests.unit.serving.support import make_package

_OPTIONS = SimulatedOptions(
    ttft_ms=80,
    token_ms=9,
    slowdown=0.02,
    max_batch_size=8,
    max_seq_len=100,
    max_waiting=3,
    kv_cache_tokens=1000,
    script=None,
    tokenizer_from=None,
)


def test_a_chat_template_comes_with_its_tokenizer(tmp_path: Path, steps: Steps) -> None:
    donor = tmp_path / "donor"
    donor.mkdir()
    (donor / "chat_template.jinja").write_text("{{ messages[-1].content }}{{ '<think>\\n' }}")
    make_package(donor, chat_format="template")
    options = replace(_OPTIONS, tokenizer_from=donor)
    build_simulated(tmp_path / "s", options, force=False, steps=steps)
    package = Package.load(tmp_path / "s")
    package.verify_files()
    ids, _ = Preprocessor(package).prepare({"text_input": "Hi"})
    assert Tokenizer.from_file(str(package.tokenizer_path)).decode(ids.tolist()) == "Hi<think>\n"


def _config(package: Path) -> SimulatedConfig:
    return msgspec.json.decode((package / "engine" / "simulated.json").read_bytes(), type=SimulatedConfig)


def test_package_is_whole_and_holds_the_options(tmp_path: Path, steps: Steps) -> None:
    build_simulated(tmp_path / "s", _OPTIONS, force=False, steps=steps)
    package = Package.load(tmp_path / "s")
    package.verify_files()
    assert package.manifest.engine.kind == "simulated"
    assert package.manifest.engine.machine == "any"
    assert package.serving.stop_token_ids == (5, 4, 1)
    assert package.serving.chat_format == "nemotron"
    assert package.serving.thinking.system_on == "detailed thinking on"
    assert package.serving.max_tokens == 50
    limits = package.serving.limits
    assert (limits.max_batch_size, limits.max_seq_len, limits.max_waiting) == (8, 100, 3)
    assert limits.max_prompt_bytes == 1600
    config = _config(tmp_path / "s")
    assert (config.ttft_ms, config.token_ms, config.slowdown, config.kv_cache_tokens) == (80, 9, 0.02, 1000)
    assert config.vocab_size == 262


def test_tokenizer_has_a_token_per_byte(tmp_path: Path, steps: Steps) -> None:
    build_simulated(tmp_path / "s", _OPTIONS, force=False, steps=steps)
    tokenizer = Tokenizer.from_file(str(tmp_path / "s" / "tokenizer.json"))
    assert tokenizer.get_vocab_size() == 262
    assert tokenizer.encode("<|begin_of_text|><|end_of_text|><|eot_id|>").ids == [0, 1, 5]
    assert len(tokenizer.encode("ไทย").ids) == 9
    for text in corpus():
        check_round_trip(tokenizer, text, tokenizer.encode(text, add_special_tokens=False).ids)


def test_same_again_is_left_alone_and_other_needs_force(tmp_path: Path, steps: Steps, said: io.StringIO) -> None:
    target = tmp_path / "s"
    build_simulated(target, _OPTIONS, force=False, steps=steps)
    inode = target.stat().st_ino
    build_simulated(target, _OPTIONS, force=False, steps=steps)
    assert target.stat().st_ino == inode
    assert "with the same content" in said.getvalue()
    slower = SimulatedOptions(**{**vars(_OPTIONS), "token_ms": 50})
    with pytest.raises(BuildError, match=r"other content. Pass --force"):
        build_simulated(target, slower, force=False, steps=steps)
    build_simulated(target, slower, force=True, steps=steps)
    assert _config(target).token_ms == 50


def test_tokenizer_of_another_package(tmp_path: Path, steps: Steps) -> None:
    donor = tmp_path / "donor"
    build_simulated(donor, _OPTIONS, force=False, steps=steps)
    build_simulated(
        tmp_path / "s",
        SimulatedOptions(**{**vars(_OPTIONS), "tokenizer_from": donor}),
        force=False,
        steps=steps,
    )
    assert (tmp_path / "s" / "tokenizer.json").read_bytes() == (donor / "tokenizer.json").read_bytes()


def test_shipped_scripts_cover_the_cases() -> None:
    scripts = read_scripts(None)
    assert scripts[-1].match == ""
    assert any(script.thinking and script.answer for script in scripts[:-1])
    assert any("<TOOLCALL>" in script.answer for script in scripts)
    assert any(script.fail_after_tokens for script in scripts)
    assert any(script.stall_after_tokens and script.stall_ms for script in scripts)
    tokenizer = byte_tokenizer()
    for script in scripts:
        assert tokenizer.decode(tokenizer.encode(script.answer).ids) == script.answer


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('[{"match": "["}]', r"not a regular expression.*\$\[0\]"),
        ('[{"match": "", "ttft_ms": -1}]', r"ttft_ms is -1.*\$\[0\]"),
        ('[{"match": ""}, {"match": "", "anser": "x"}]', r"unknown field `anser`.*\$\[1\]"),
        ('[{"match": "", "fail_after_tokens": "x"}]', r"Expected `int \| null`.*fail_after_tokens"),
        ('[{"match": "", "stall_ms": 5}]', "stall_ms needs stall_after_tokens"),
        ("[]", "the list is empty"),
        ('[{"match": ""', "truncated"),
    ],
)
def test_bad_script_file(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "scripts.json"
    path.write_text(content)
    with pytest.raises(BuildError, match=message) as caught:
        read_scripts(path)
    assert "scripts.json" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_script_file_is_used(tmp_path: Path) -> None:
    path = tmp_path / "scripts.json"
    path.write_text(json.dumps([{"match": "", "answer": "hi"}]))
    assert read_scripts(path) == (Script(match="", answer="hi"),)
    with pytest.raises(BuildError, match="No such file"):
        read_scripts(tmp_path / "absent.json")


@pytest.mark.parametrize("name", ["max_batch_size", "max_seq_len", "kv_cache_tokens", "vocab_size"])
def test_config_sizes_are_at_least_one(name: str) -> None:
    sizes = {"max_batch_size": 1, "max_seq_len": 1, "kv_cache_tokens": 1, "vocab_size": 1}
    SimulatedConfig(**sizes, scripts=())
    with pytest.raises(ValueError, match=f"{name} is 0"):
        SimulatedConfig(**{**sizes, name: 0}, scripts=())


def test_a_path_that_is_not_utf_8_is_told_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["simulated", "-o", str(tmp_path / os.fsdecode(b"raw \xff"))]) == 1
    told = capsys.readouterr().err
    assert "raw \\udcff" in told
    assert "is not in UTF-8, which some libraries cannot be told. Rename it" in told
