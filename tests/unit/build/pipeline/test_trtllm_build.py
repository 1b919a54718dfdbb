"""An engine that is not what the profile asks for is noticed, whatever differs."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from nemotron_build.errors import VerificationError
from nemotron_build.pipeline.trtllm_build import build_command, check_engine
from nemotron_build.profiles import Profile, ProfileLimits
from tests.fakes import trtllm_build
from tests.fakes.packages import engine_config

PROFILE = Profile(
    name="p",
    description="",
    target="tensorrt_llm",
    precision="fp8",
    gpu="h100",
    tp_size=2,
    limits=ProfileLimits(max_batch_size=4, max_seq_len=256, max_num_tokens=8192),
)


@pytest.fixture(params=["bf16", "fp8", "fp8+kv"])
def profile(request: pytest.FixtureRequest) -> Profile:
    precision, _, kv = request.param.partition("+")
    return msgspec.structs.replace(PROFILE, precision=precision, kv_cache="fp8" if kv else "bf16")


def engine(tmp_path: Path, profile: Profile, monkeypatch: pytest.MonkeyPatch) -> Path:
    checkpoint = tmp_path / "c"
    checkpoint.mkdir()
    quantization = {
        "quant_algo": "FP8" if profile.precision == "fp8" else None,
        "kv_cache_quant_algo": "FP8" if profile.kv_cache == "fp8" else None,
    }
    mapping = {"world_size": profile.tp_size, "tp_size": profile.tp_size}
    sizes = engine_config()["pretrained_config"]
    config = {**sizes, "dtype": "bfloat16", "mapping": mapping, "quantization": quantization}
    (checkpoint / "config.json").write_text(json.dumps(config))
    monkeypatch.chdir(tmp_path)
    trtllm_build.main(build_command(profile, checkpoint, tmp_path / "e")[1:])
    return tmp_path / "e"


def test_what_was_asked_for_is_accepted(profile: Profile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    check_engine(engine(tmp_path, profile, monkeypatch), profile)


def build(name: str, value: Any) -> Callable[[dict[str, Any]], None]:
    return lambda config: config["build_config"].__setitem__(name, value)


def plugin(name: str, value: Any) -> Callable[[dict[str, Any]], None]:
    return lambda config: config["build_config"]["plugin_config"].__setitem__(name, value)


def model(part: str, name: str, value: Any) -> Callable[[dict[str, Any]], None]:
    return lambda config: config["pretrained_config"][part].__setitem__(name, value)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda config: config.__setitem__("version", "1.1.0"), "version is '1.1.0'"),
        (build("max_batch_size", 2048), "max_batch_size is 2048"),
        (build("max_seq_len", 131072), "max_seq_len is 131072"),
        (build("max_num_tokens", 512), "max_num_tokens is 512, profile p needs 1024"),
        (build("max_beam_width", 4), "max_beam_width is 4"),
        (plugin("use_paged_context_fmha", False), "use_paged_context_fmha is False"),
        (plugin("multiple_profiles", False), "multiple_profiles is False"),
        (plugin("use_fp8_context_fmha", True), "use_fp8_context_fmha is True"),
        (plugin("gemm_plugin", "auto"), "gemm_plugin is 'auto'"),
        (model("mapping", "tp_size", 1), "tp_size is 1"),
        (model("quantization", "quant_algo", None), "quant_algo is None, profile p needs 'FP8'"),
        (model("quantization", "kv_cache_quant_algo", "FP8"), "kv_cache_quant_algo is 'FP8'"),
        (lambda config: config["pretrained_config"].__setitem__("dtype", "float16"), "dtype is 'float16'"),
    ],
)
def test_each_difference_is_named(
    change: Callable[[dict[str, Any]], None], named: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = engine(tmp_path, PROFILE, monkeypatch)
    config = json.loads((made / "config.json").read_text())
    change(config)
    (made / "config.json").write_text(json.dumps(config))
    with pytest.raises(VerificationError) as caught:
        check_engine(made, PROFILE)
    assert named in str(caught.value)


@pytest.mark.parametrize("damage", ["missing", "empty", "no config", "no JSON"])
def test_every_rank_and_the_config_are_there(damage: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = engine(tmp_path, PROFILE, monkeypatch)
    file = made / ("rank1.engine" if damage in ("missing", "empty") else "config.json")
    if damage in ("missing", "no config"):
        file.unlink()
    else:
        file.write_text("")
    with pytest.raises(VerificationError, match=file.name):
        check_engine(made, PROFILE)


def test_what_a_profile_changes_itself_is_its_own_business(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    changed = msgspec.structs.replace(PROFILE, build_options={"multiple_profiles": "disable"})
    check_engine(engine(tmp_path, changed, monkeypatch), changed)
