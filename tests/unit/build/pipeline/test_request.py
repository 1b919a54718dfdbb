"""What a build starts from, and what of it reaches the package."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from nemotron_build.cli import main
from nemotron_build.errors import CheckpointError
from nemotron_build.pipeline.request import open_source, source_name
from nemotron_build.profiles import load_profile
from nemotron_serving.package import Package
from nemotron_serving.stages.preprocess import Preprocessor
from tests.unit.build.pipeline.pretend import pretend, write_profile

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def own(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    pretend(monkeypatch)
    monkeypatch.chdir(tmp_path)
    return Path(shutil.copytree(tiny, tmp_path / "own"))


def build(checkpoint: Path, *more: str) -> int:
    profile = write_profile(Path.cwd(), flow="pytorch")
    return main(["build", str(checkpoint), "--profile", str(profile), "-o", "p", *more])


def test_names_come_from_directory_file_or_download_cache(tmp_path: Path) -> None:
    assert source_name(tmp_path / "Nano-8B") == "Nano-8B"
    assert source_name(tmp_path / "Nano.Q4_0.gguf") == "Nano.Q4_0"
    cached = tmp_path / "models--nvidia--Llama-3.1-Nemotron-Nano-8B-v1" / "snapshots" / COMMIT
    assert source_name(cached) == "Llama-3.1-Nemotron-Nano-8B-v1"


def test_a_template_of_its_own_is_used_on_demand(own: Path) -> None:
    template = "{{ bos_token }}{% for message in messages %}{{ message.content }}{% endfor %}"
    (own / "chat_template.jinja").write_text(template)
    assert build(own) == 0
    assert not Path("p/chat_template.jinja").exists()
    assert build(own, "--force", "--chat-format", "template") == 0
    assert Path("p/chat_template.jinja").read_text() == template
    serving = Package.load(Path("p")).serving
    assert serving.chat_format == "template"
    # It is Nemotron all the same: its system line switches the thinking.
    assert serving.thinking.system_off == "detailed thinking off"


def test_a_template_that_reads_no_think_is_switched_by_it(own: Path) -> None:
    closed = r"{{ '<think>\n\n</think>\n\n' }}"
    template = (
        "{% set off = '/no_think' in messages[0].content %}{{ bos_token }}"
        "{% for message in messages %}{{ message.content }}<|eot_id|>{% endfor %}{% if off %}" + closed + "{% endif %}"
    )
    (own / "chat_template.jinja").write_text(template)
    assert build(own, "--chat-format", "template") == 0
    preprocessor = Preprocessor(Package.load(Path("p")))
    for thinking, start in ((True, "expected"), (False, "closed"), (None, "closed")):
        asked = {} if thinking is None else {"thinking": thinking}
        settings = preprocessor.prepare({"text_input": "Hi", **asked})[1]
        assert settings.output is not None and settings.output.start == start


def test_a_template_that_is_not_there_is_refused_before_anything_is_done(
    own: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert build(own, "--chat-format", "template") == 3
    captured = capsys.readouterr().err
    assert captured.count("\n") == 1
    assert "has no chat template" in captured


def test_values_are_scanned_on_demand(own: Path, capsys: pytest.CaptureFixture[str]) -> None:
    weights = load_file(own / "model.safetensors")
    weights["model.norm.weight"] = np.full_like(weights["model.norm.weight"], ml_dtypes.bfloat16("nan"))
    save_file(weights, own / "model.safetensors", {"format": "pt"})
    assert build(own, "--scan-values") == 3
    assert "model.norm.weight" in capsys.readouterr().err.splitlines()[-1]
    assert not Path(".p-build").exists()
    assert main(["check", "own"]) == 0
    assert main(["check", "own", "--scan-values"]) == 3


def test_a_touched_file_is_read_again_and_a_changed_one_builds_again(
    own: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    build(own, "--keep-work")
    config = own / "generation_config.json"
    config.touch()
    capsys.readouterr()
    build(own, "--keep-work", "--force")
    assert capsys.readouterr().err.count("finished before") == 2
    before = Package.load(Path("p")).manifest.source["sha256"]
    content = json.loads(config.read_text())
    config.write_text(json.dumps({**content, "do_sample": False}))
    build(own, "--force")
    assert "finished before" not in capsys.readouterr().err
    assert Package.load(Path("p")).manifest.source["sha256"] != before


def test_the_revision_of_a_download_is_recorded(own: Path, tmp_path: Path) -> None:
    cached = tmp_path / "models--nvidia--Nano" / "snapshots" / COMMIT
    shutil.copytree(own, cached)
    build(cached)
    package = Package.load(Path("p"))
    assert package.manifest.source["revision"] == COMMIT
    assert package.serving.model_name == "Nano"


def test_a_gguf_is_for_cpus(tmp_path: Path) -> None:
    (tmp_path / "nano.gguf").touch()
    with pytest.raises(CheckpointError, match="only CPU profiles can be built from"):
        open_source(tmp_path / "nano.gguf", load_profile("h100-fp8"))
