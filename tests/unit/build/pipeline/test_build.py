"""`nemotron-build build` on a machine with an H100, of which only trtllm-build and the GPU are made up."""

from __future__ import annotations

import json
import shlex
import subprocess
from pathlib import Path

import pytest

from nemotron_build.checkpoint.shape import read_shape
from nemotron_build.cli import main
from nemotron_build.pipeline.gpu_stages import convert_name
from nemotron_build.pipeline.trtllm_build import check_engine
from nemotron_build.profiles import load_profile
from nemotron_serving.engine.tensorrt_llm.files import read_engine_files
from nemotron_serving.package import Package
from tests.contract.option_parser import parse_options
from tests.unit.build.pipeline.pretend import FIGURES, H100, pretend, write_profile

Run = pytest.CaptureFixture[str]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, compiler: None) -> Path:  # noqa: ARG001
    pretend(monkeypatch)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def build(tiny: Path, *more: str, profile: Path | None = None, package: str = "p") -> int:
    chosen = profile or write_profile(Path.cwd())
    return main(["build", str(tiny), "--profile", str(chosen), "-o", package, *more])


def error_of(capsys: Run) -> str:
    return capsys.readouterr().err.splitlines()[-1]


def test_an_engine_is_built_and_recorded(here: Path, tiny: Path, capsys: Run) -> None:
    assert build(tiny) == 0
    captured = capsys.readouterr()
    assert captured.out == "p\n"
    for line in ("Checking the checkpoint", "Quantizing to FP8", "Verifying", "Compiling the engine", "Made "):
        assert line in captured.err
    package = Package.load(here / "p")
    package.verify_files()
    files = read_engine_files(package)
    assert (files.flow, files.max_batch_size, files.max_seq_len, files.max_num_tokens) == ("engine", 8, 256, 512)
    engine, record = package.manifest.engine, package.manifest.build
    assert (engine.kind, engine.version, engine.device, engine.precision) == ("tensorrt_llm", "1.2.1", H100.name, "fp8")
    assert record is not None
    assert record.versions["tensorrt"] == "10.14.1.48"
    assert record.versions["driver"] == "580.95"
    assert record.hardware["compute_capability"] == "9.0"
    assert record.options["trtllm-build max_seq_len"] == "256"
    assert record.accuracy == FIGURES.as_dict()
    assert set(package.manifest.source) == {"what", "sha256"}
    assert sorted(entry.name for entry in here.iterdir()) == ["bin", "fp8-engine.toml", "p", "p.logs"]
    assert "TensorRT-LLM version: 1.2.1" in (here / "p.logs" / "compile.log").read_text()


def test_rules_come_from_the_model_and_limits_from_the_profile(here: Path, tiny: Path) -> None:
    build(tiny, "--name", "nano")
    serving = Package.load(here / "p").serving
    assert (serving.model_name, serving.chat_format, serving.max_tokens) == ("nano", "nemotron", 64)
    assert serving.thinking.system_on == "detailed thinking on"
    assert (serving.sampling_on.temperature, serving.sampling_on.top_p) == (0.6, 0.95)
    assert serving.sampling_off.temperature == 0
    assert serving.limits.max_batch_size == 8
    names = json.loads((here / "p/tokenizer.json").read_text())["added_tokens"]
    by_id = {token["id"]: token["content"] for token in names}
    assert [by_id[token] for token in serving.stop_token_ids] == ["<|eot_id|>", "<|eom_id|>", "<|end_of_text|>"]


def test_a_kept_working_directory_makes_the_next_build_fast(here: Path, tiny: Path, capsys: Run) -> None:
    assert build(tiny, "--keep-work") == 0
    assert build(tiny, "--force", "--keep-work") == 0
    assert capsys.readouterr().err.count("finished before") == 4
    profile = here / "fp8-engine.toml"
    profile.write_text(profile.read_text().replace("max_batch_size = 8", "max_batch_size = 4"))
    assert main(["build", str(tiny), "--profile", str(profile), "-o", "p", "--force"]) == 0
    # Other limits are another engine, of the same quantized checkpoint.
    assert capsys.readouterr().err.count("finished before") == 3
    assert Package.load(here / "p").serving.limits.max_batch_size == 4
    assert not (here / ".p-build").exists()


@pytest.mark.usefixtures("here")
def test_another_release_of_a_library_converts_again(tiny: Path, capsys: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    build(tiny, "--keep-work")
    pretend(monkeypatch, modelopt="0.47.0")
    capsys.readouterr()
    build(tiny, "--force")
    assert [line for line in capsys.readouterr().err.splitlines() if "finished before" in line] == [
        "✓ Checking the checkpoint: finished before, and nothing it depends on has changed",
        # What it made is the same as before, so the rest stays.
        "✓ Verifying the converted checkpoint: finished before, and nothing it depends on has changed",
        "✓ Compiling the engine with trtllm-build: finished before, and nothing it depends on has changed",
    ]


def test_a_failure_keeps_what_was_finished_and_names_the_log(
    here: Path, tiny: Path, capsys: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRTLLM_BUILD_FAKE", "fail")
    assert build(tiny) == 1
    message = error_of(capsys)
    assert "trtllm-build ended with status 1" in message
    assert "OutOfMemory" in message
    log = here / ".p-build/logs/compile.log"
    assert str(log) in message
    assert log.read_text().startswith("$ trtllm-build --checkpoint_dir")
    assert not (here / "p").exists()
    monkeypatch.delenv("TRTLLM_BUILD_FAKE")
    assert build(tiny) == 0
    assert capsys.readouterr().err.count("finished before") == 3


@pytest.mark.parametrize(
    ("behaviour", "status", "message"),
    [
        ("full", 6, "No space left on device"),
        ("old", 5, "version is '1.2.0', profile fp8-engine needs '1.2.1'. The reason is in trtllm-build's log, {logs}"),
    ],
)
def test_a_bad_engine_is_no_engine(
    here: Path, tiny: Path, capsys: Run, monkeypatch: pytest.MonkeyPatch, behaviour: str, status: int, message: str
) -> None:
    monkeypatch.setenv("TRTLLM_BUILD_FAKE", behaviour)
    assert build(tiny) == status
    assert message.format(logs=here / ".p-build/logs/compile.log") in error_of(capsys)
    assert (here / ".p-build/logs/compile.log").stat().st_size
    assert sorted(entry.name for entry in (here / ".p-build").iterdir()) == [
        "check", "logs", "nemotron-build.lock", "quantize", "verify",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("gpus", "libraries", "message"),
    [
        ((), {}, "no GPU was found here. 'nemotron-build container build"),
        ((H100.__class__("NVIDIA A100-SXM4-80GB", "8.0", 81920 << 20),), {}, "found was NVIDIA A100-SXM4-80GB"),
        ((H100,), {"tensorrt_llm": "1.3.0"}, "TensorRT-LLM 1.2.1; version 1.3.0 was found"),
        ((H100,), {"tensorrt_llm": None}, "it was not found here. 'nemotron-build container build"),
    ],
)
def test_what_cannot_be_compiled_here_is_refused_before_anything_is_done(
    here: Path, tiny: Path, capsys: Run, monkeypatch: pytest.MonkeyPatch, gpus: object, libraries: object, message: str
) -> None:
    pretend(monkeypatch, gpus=gpus, **libraries)  # type: ignore[arg-type]
    assert build(tiny) == 4
    captured = capsys.readouterr()
    assert captured.err.count("\n") == 1
    assert message in captured.err
    assert not (here / ".p-build").exists()


def test_the_same_kind_of_gpu_under_another_name_will_do(
    here: Path, tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend(monkeypatch, gpus=(H100.__class__("NVIDIA H100 PCIe", "9.0", 81559 << 20),))
    assert build(tiny) == 0
    assert Package.load(here / "p").manifest.engine.device == "NVIDIA H100 PCIe"


def test_a_package_that_is_there_is_replaced_on_demand_alone(here: Path, tiny: Path, capsys: Run) -> None:
    build(tiny)
    before = (here / "p/manifest.json").read_bytes()
    capsys.readouterr()
    assert build(tiny, "--name", "other") == 1
    assert "p is there already. Pass --force" in error_of(capsys)
    assert (here / "p/manifest.json").read_bytes() == before
    assert build(tiny, "--name", "other", "--force") == 0
    assert Package.load(here / "p").serving.model_name == "other"
    (here / "mine").mkdir()
    (here / "mine/thesis.tex").touch()
    assert build(tiny, "--force", package="mine") == 1
    assert "is not a package: thesis.tex" in error_of(capsys)


@pytest.mark.parametrize(
    ("change", "status", "message"),
    [
        (('gpu = "h100"', 'gpu = "a100"'), 4, "needs compute capability 8.9"),
        (('flow = "engine"', 'flow = "engine"\ntp_size = 3'), 4, "tp_size 3 does not divide"),
        (("max_seq_len = 256", "max_seq_len = 4096"), 4, "the model knows 512 positions"),
        (('flow = "engine"', 'flow = "engine"\nbuild_options = {opt_num_tokens = 8}'), 1, "opt_num_tokens cannot be"),
    ],
)
def test_impossible_profiles_are_refused_at_once(
    here: Path, tiny: Path, capsys: Run, change: tuple[str, str], status: int, message: str
) -> None:
    profile = write_profile(here)
    profile.write_text(profile.read_text().replace(*change))
    assert build(tiny, profile=profile) == status
    assert message in error_of(capsys)
    assert not (here / ".p-build").exists()


def test_dry_run_prints_what_would_run_and_needs_nothing(
    here: Path, tiny: Path, capsys: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend(monkeypatch, gpus=(), tensorrt_llm=None)
    assert build(tiny, "--dry-run", package="a package") == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    comments = [line for line in captured.out.splitlines() if line.startswith("# ")]
    assert [comment.split(":")[0] for comment in comments[1:]] == [
        "# check", "# quantize", "# verify", "# compile", "# package", "# all",
    ]  # fmt: skip
    lines = [shlex.split(line) for line in captured.out.splitlines() if line and not line.startswith("#")]
    assert [line[:2] for line in lines] == [
        ["nemotron-build", "check"],
        ["nemotron-build", "quantize"],
        ["nemotron-build", "verify"],
        ["trtllm-build", "--checkpoint_dir"],
        ["nemotron-build", "package"],
    ]
    work = here / ".a package-build"
    options = parse_options(lines[3][1:])
    assert options.checkpoint_dir == str(work / "quantize/files")
    assert not work.exists()


def test_the_printed_commands_make_the_package(here: Path, tiny: Path, capsys: Run) -> None:
    build(tiny, "--dry-run")
    lines = [shlex.split(line) for line in capsys.readouterr().out.splitlines() if line and not line.startswith("#")]
    for line in lines:
        if line[0] == "trtllm-build":
            subprocess.run(line, check=True, capture_output=True)
        else:
            assert main(line[1:]) == 0, line
    package = Package.load(here / "p")
    check_engine(package.engine_path, load_profile("fp8-engine.toml"))
    assert package.manifest.build is not None
    assert package.manifest.build.accuracy == FIGURES.as_dict()


def test_a_package_on_another_disk_is_a_copy_and_needs_room_there(
    here: Path, tiny: Path, capsys: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    from nemotron_build.pipeline import build as module

    monkeypatch.setattr(module, "same_disk", lambda *_: False)
    monkeypatch.setattr(module, "directory_bytes", lambda _: 10**15)
    assert build(tiny, "--work", "w") == 6
    assert "the package needs about 1,000,000.0 GB" in error_of(capsys)
    assert sorted(entry.name for entry in here.iterdir()) == ["bin", "fp8-engine.toml", "w"]
    monkeypatch.setattr(module, "directory_bytes", lambda _: 0)
    assert build(tiny, "--work", "w") == 0
    assert capsys.readouterr().err.count("finished before") == 4


def test_each_command_is_for_its_precision(here: Path, tiny: Path, capsys: Run) -> None:
    profile = str(write_profile(here))
    assert main(["convert", str(tiny), "--profile", profile, "-o", "c"]) == 2
    assert "use 'nemotron-build quantize'" in error_of(capsys)
    assert main(["quantize", str(tiny), "--profile", profile, "-o", "c"]) == 0
    assert main(["quantize", str(tiny), "--profile", profile, "-o", "c"]) == 1
    assert "c is there already" in error_of(capsys)
    assert main(["compile", str(tiny), "--profile", profile, "-o", "e"]) == 1
    assert "is not a TensorRT-LLM checkpoint" in error_of(capsys)
    assert main(["verify", "c"]) == 2
    assert "--source CHECKPOINT --profile P" in error_of(capsys)
    assert sorted(entry.name for entry in here.iterdir()) == ["bin", "c", "fp8-engine.toml"]
    assert convert_name(load_profile(profile)) == "quantize"


def test_the_stages_fit_a_built_in_profile_to_the_model_as_a_build_does(here: Path, tiny: Path, capsys: Run) -> None:
    positions = read_shape(tiny).max_position_embeddings
    assert load_profile("h100-bf16").limits.max_seq_len > positions
    named = ["--profile", "h100-bf16"]
    assert main(["convert", str(tiny), *named, "-o", "c"]) == 0
    assert main(["compile", "c", *named, "-o", "e"]) == 0
    assert f"max_seq_len is {positions} instead of" in capsys.readouterr().err
    assert main(["package", str(tiny), "--engine", "e", *named, "-o", "p"]) == 0
    assert read_engine_files(Package.load(here / "p")).max_seq_len == positions
    assert main(["compile", "c", *named, "-o", "f", "--max-seq-len", str(positions + 1)]) == 4
    assert f"the model knows {positions} positions" in error_of(capsys)
