"""`nemotron-build verify` of packages whose parts do not fit each other."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from nemotron_build.cli import main
from nemotron_build.errors import VerificationError
from nemotron_build.verify.package import is_package, verify
from nemotron_serving.errors import PackageError
from tests.fakes.packages import checkpoint_config, engine_config, make_package


def two_ranks() -> dict[str, Any]:
    config = engine_config()
    config["pretrained_config"]["mapping"]["world_size"] = 2
    return config


@pytest.mark.parametrize("flow", ["engine", "pytorch"])
def test_whole_packages_pass(flow: str, tmp_path: Path) -> None:
    make_package(tmp_path / "p", flow)
    _, checks = verify(tmp_path / "p")
    assert len(checks) == 2


@pytest.mark.parametrize(
    ("flow", "config", "message"),
    [
        ("engine", lambda: engine_config(max_batch_size=4), "max_batch_size is 4, the package promises 8"),
        ("engine", lambda: engine_config(max_seq_len=512), "max_seq_len is 512, the package promises 8192"),
        ("engine", lambda: {**engine_config(), "version": "1.2.0"}, "version is '1.2.0'"),
        ("engine", two_ranks, "rank1.engine is missing"),
        ("pytorch", lambda: checkpoint_config(max_position_embeddings=512), "the checkpoint knows 512 positions"),
        ("pytorch", lambda: {**checkpoint_config(), "architectures": []}, "neither an engine nor a checkpoint"),
    ],
)
def test_an_engine_that_holds_less_is_named(
    flow: str, config: Callable[[], dict[str, Any]], message: str, tmp_path: Path
) -> None:
    make_package(tmp_path / "p", flow, config())
    with pytest.raises(VerificationError, match=message):
        verify(tmp_path / "p")


def test_a_template_has_to_be_there(tmp_path: Path) -> None:
    make_package(tmp_path / "p", "engine", chat_format="template")
    with pytest.raises(VerificationError, match=r"has no chat_template\.jinja"):
        verify(tmp_path / "p")


def test_a_changed_byte_is_found_first(tmp_path: Path) -> None:
    make_package(tmp_path / "p", "engine")
    (tmp_path / "p/engine/rank0.engine").write_bytes(b"weightz")
    with pytest.raises(PackageError, match="was altered"):
        verify(tmp_path / "p")


def test_what_is_no_package_is_a_converted_checkpoint_or_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["verify", str(tmp_path / "nothing")]) == 5
    (tmp_path / "config.json").write_text(json.dumps({}))
    assert not is_package(tmp_path)
    assert main(["verify", str(tmp_path), "--run"]) == 2
    make_package(tmp_path / "p", "engine")
    assert main(["verify", str(tmp_path / "p"), "--source", "s"]) == 2
    messages = capsys.readouterr().err.splitlines()
    assert "is not there" in messages[0]
    assert "--source CHECKPOINT" in messages[1]
    assert "a package is verified by itself" in messages[2]
