"""Profiles: those that ship are sound, and a user's own is read strictly."""

from __future__ import annotations

from pathlib import Path

import pytest

from nemotron_build.errors import BuildError
from nemotron_build.plan.gpus import GPUS
from nemotron_build.profiles import builtin_profiles, changed_profile, load_profile, profile_text

ON_GPUS = [profile for profile in builtin_profiles() if profile.gpu]

_MINE = """\
description = "mine"
target = "tensorrt_llm"
precision = "fp8"
gpu = "h100"

[limits]
max_batch_size = 8
max_seq_len = 8192
"""


def test_every_gpu_has_bf16_and_fp8_where_it_can() -> None:
    wanted = {f"{gpu.name}-bf16" for gpu in GPUS.values()}
    wanted |= {f"{gpu.name}-fp8" for gpu in GPUS.values() if gpu.compute_capability >= (8, 9)}
    assert {profile.name for profile in ON_GPUS} == wanted
    assert {profile.name for profile in builtin_profiles()} - wanted == {"cpu-int4", "cpu-int8", "cpu-bf16"}


def test_a_name_says_gpu_and_precision() -> None:
    for profile in ON_GPUS:
        assert profile.name == f"{profile.gpu}-{profile.precision}"
        assert profile.kv_cache == "bf16"


def test_a_users_own(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(_MINE)
    profile = load_profile(str(path))
    assert (profile.name, profile.limits.max_batch_size, profile.tp_size) == ("mine", 8, 1)
    assert profile_text(str(path)) == _MINE


def test_a_byte_order_mark(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(_MINE, encoding="utf-8-sig")
    assert load_profile(str(path)).limits.max_batch_size == 8
    assert profile_text(str(path)) == _MINE


def test_a_printed_profile_can_be_used_as_ones_own(tmp_path: Path) -> None:
    path = tmp_path / "l40s-fp8.toml"
    path.write_text(profile_text("l40s-fp8"))
    assert load_profile(str(path)) == load_profile("l40s-fp8")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('"fp8"', '"int4"', "precision is 'int4'; target tensorrt_llm takes bf16, fp8"),
        ('"fp8"', '"fp4"', "line 3: precision: Invalid enum value 'fp4', expected one of bf16, fp8, int8, int4"),
        ("precision", "precison", "line 3: there is no field 'precison'; did you mean precision?"),
        ("max_batch_size = 8", "max_batch_size = '8'", "line 7: max_batch_size: Expected `int`, got `str`"),
        ("[limits]", "[accuracy]\nkl = 1\n[limits]", "line 7: there is no field 'kl' in [accuracy]; expected are min_"),
        ('gpu = "h100"\n', "", "target tensorrt_llm needs a name"),
        ('"tensorrt_llm"', '"openvino"', "precision is 'fp8'; target openvino takes bf16, int8, int4"),
        ("max_batch_size = 8", "max_batch_size = 0", "max_batch_size is 0, expected at least 1"),
        (
            "max_batch_size",
            "max_batch",
            "line 7: there is no field 'max_batch' in [limits]; did you mean max_batch_size?",
        ),
        ("max_seq_len = 8192", "max_seq_len = 4096", "max_tokens 4096 leaves no room for a prompt in max_seq_len 4096"),
        ("max_seq_len = 8192", "", "line 6: max_seq_len is missing in [limits]."),
        ("[limits]", "[limits", "cannot be used"),
    ],
)
def test_bad_profiles_are_named_with_what_was_expected(tmp_path: Path, old: str, new: str, message: str) -> None:
    path = tmp_path / "mine.toml"
    assert old in _MINE
    path.write_text(_MINE.replace(old, new))
    with pytest.raises(BuildError) as caught:
        load_profile(str(path))
    assert message in str(caught.value)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    ("line", "name"),
    [
        ('kv_cache = "fp8"', "kv_cache"),
        ("tp_size = 2", "tp_size"),
        ('flow = "pytorch"', "flow"),
        ("build_options = { workers = 2 }", "build_options"),
        ("calibration = { samples = 8 }", "calibration"),
        ("accuracy = { max_mean_kl = 0.1 }", "accuracy"),
    ],
)
def test_what_is_for_gpus_is_refused_for_cpus(tmp_path: Path, line: str, name: str) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(f"{line}\n{profile_text('cpu-int8')}")
    with pytest.raises(BuildError, match=rf"{name} is for target tensorrt_llm\. Leave it out for target openvino"):
        load_profile(str(path))


@pytest.mark.parametrize("name", ["h1000-bf16", "missing.toml", "../h100-bf16x"])
def test_unknown_names_list_the_known(name: str) -> None:
    with pytest.raises(BuildError, match=r"Name one of a100-bf16, .*or the path of a \.toml file"):
        load_profile(name)


def test_changes_reach_profile_and_limits_and_are_checked() -> None:
    changed = changed_profile(load_profile("h100-bf16"), {"tp_size": 2, "max_seq_len": 2048, "precision": "fp8"})
    assert (changed.tp_size, changed.precision, changed.limits.max_seq_len) == (2, "fp8", 2048)
    assert changed.limits.max_tokens < 2048
    with pytest.raises(BuildError, match="precision is 'int8'"):
        changed_profile(load_profile("h100-bf16"), {"precision": "int8"})
