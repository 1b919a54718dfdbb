"""The commands profiles and plan as a user meets them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from nemotron_build.cli import main
from nemotron_build.profiles import builtin_profiles, load_profile
from tests.unit.build.tiny import tiny_checkpoint

COUNT = {"type": "integer", "minimum": 0}
POSITIVE = {"type": "number", "exclusiveMinimum": 0}
PLAN_SCHEMA: dict[str, Any] = {
    "type": "object",
    "required": ["model", "profile", "gpu", "memory", "concurrency", "estimates", "warnings", "notes", "batch_limit"],
    "properties": {
        "model": {"required": ["source", "parameters"]},
        "memory": {
            "required": ["total", "weights", "activations", "runtime", "kv_bytes_per_token", "kv_pool"],
            "additionalProperties": COUNT,
        },
        "max_batch_size": COUNT,
        "max_seq_len": COUNT,
        "max_num_tokens": COUNT,
        "prefill_tokens_per_s": POSITIVE,
        "concurrency": {"items": {"required": ["tokens", "sequences"], "additionalProperties": COUNT}},
        "estimates": {
            "minItems": 3,
            "items": {
                "required": ["batch", "output_tokens_per_s", "itl_ms", "ttft_ms", "bound", "fits"],
                "properties": {
                    "batch": COUNT,
                    "output_tokens_per_s": POSITIVE,
                    "itl_ms": POSITIVE,
                    "ttft_ms": POSITIVE,
                    "bound": {"enum": ["memory", "compute", "overhead"]},
                    "fits": {"type": "boolean"},
                },
            },
        },
        "warnings": {"items": {"type": "string"}},
    },
}


def out(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert main(list(arguments)) == 0
    return capsys.readouterr().out


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str]:
    status = main(list(arguments))
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    return status, captured.err


def test_profiles_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    text = out(capsys, "profiles")
    rows = [line.split()[:2] for line in text.splitlines()[2:]]
    assert rows == [[profile.name, profile.gpu or "CPU"] for profile in builtin_profiles()]
    listed = json.loads(out(capsys, "profiles", "--json"))
    assert [profile["name"] for profile in listed] == [profile.name for profile in builtin_profiles()]
    assert listed[0]["limits"]["max_seq_len"] == 36864


def test_a_profile_is_printed_to_start_from(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "h100-fp8.toml"
    path.write_text(out(capsys, "profiles", "h100-fp8"))
    assert load_profile(str(path)) == load_profile("h100-fp8")


@pytest.mark.parametrize(
    "arguments", [("--gpu", "h100"), ("--profile", "rtx-4090-fp8"), ("--gpu", "l40s", "--tp", "2")]
)
def test_json_has_the_schema(arguments: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    jsonschema.validate(json.loads(out(capsys, "plan", "--json", *arguments)), PLAN_SCHEMA)


def test_the_table_fits_80_columns_and_says_what_the_model_is(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    text = out(capsys, "plan", "--profile", "h100-fp8")
    assert "no checkpoint was named" in text
    assert "max_batch_size 224, max_seq_len 36864, max_num_tokens 8192" in text
    assert "← the most that run" in text
    assert "…" not in text
    assert max(map(len, text.splitlines())) <= 80


def test_several_gpus_are_told_apart_from_one(capsys: pytest.CaptureFixture[str]) -> None:
    text = out(capsys, "plan", "--gpu", "h100", "--tp", "2")
    assert "2 x NVIDIA H100 80GB HBM3, 85.5 GB each" in text
    assert "memory of each" in text


def test_what_if_options_change_the_plan(capsys: pytest.CaptureFixture[str]) -> None:
    plan = json.loads(
        out(
            capsys, "plan", "--profile", "h100-bf16", "--precision", "fp8", "--kv-cache", "fp8", "--max-seq-len",
            "65536", "--max-batch-size", "64", "--max-num-tokens", "4096", "--input-tokens", "500",
            "--output-tokens", "2000", "--json",
        )
    )  # fmt: skip
    assert (plan["precision"], plan["kv_cache"], plan["max_seq_len"]) == ("fp8", "fp8", 65536)
    assert (plan["max_batch_size"], plan["max_num_tokens"], plan["batch_limit"]) == (64, 4096, 64)
    assert plan["workload"] == {"input_tokens": 500, "output_tokens": 2000}
    assert plan["memory"]["kv_bytes_per_token"] == 65536


def test_a_checkpoint_is_read_by_its_headers(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tiny_checkpoint(tmp_path / "tiny")
    plan = json.loads(out(capsys, "plan", str(tmp_path / "tiny"), "--gpu", "rtx-3090", "--json"))
    assert "tensors" in plan["model"]["source"]
    assert plan["memory"]["weights"] == 2 * plan["model"]["parameters"]


def test_a_config_alone_is_enough(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tiny_checkpoint(tmp_path)
    for shard in tmp_path.glob("*.safetensors*"):
        shard.unlink()
    assert "no weights are there yet" in out(capsys, "plan", str(tmp_path), "--gpu", "h100")


def test_a_gguf_file_is_planned_for_a_cpu(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "300")  # no path is broken
    quantization = pytest.importorskip("gguf").GGMLQuantizationType.Q8_0
    from tests.unit.build.cpu.gguf_models import write_gguf

    file = tmp_path / "tiny.gguf"
    write_gguf(tiny_checkpoint(tmp_path / "tiny"), file, quantization)
    profile = tmp_path / "small.toml"
    limits = "[limits]\nmax_batch_size = 2\nmax_seq_len = 512\nmax_tokens = 64\n"
    profile.write_text(f'description = ""\ntarget = "openvino"\nprecision = "int8"\n{limits}')
    assert "tiny.gguf" in out(capsys, "plan", str(file), "--profile", str(profile)).replace("\n", "")
    file.write_text("no model")
    status, message = refused(capsys, "plan", str(file), "--profile", str(profile))
    assert (status, "cannot be read as GGUF" in message) == (3, True)


def test_a_checkpoint_of_another_shape_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tiny_checkpoint(tmp_path)
    config = tmp_path / "config.json"
    content = json.loads(config.read_text())
    config.write_text(json.dumps({**content, "num_hidden_layers": content["num_hidden_layers"] + 1}))
    status, message = refused(capsys, "plan", str(tmp_path), "--gpu", "h100")
    assert status == 3
    assert "missing" in message


def test_a_plot_is_a_png(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = tmp_path / "plots" / "plan.png"
    out(capsys, "plan", "--gpu", "h100", "--plot", str(target))
    content = target.read_bytes()
    assert content.startswith(b"\x89PNG\r\n\x1a\n")
    width, height = (int.from_bytes(content[start : start + 4], "big") for start in (16, 20))
    assert width > 800
    assert height > 600


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["--gpu", "a100", "--precision", "fp8"], 4, "Use bf16 on it"),
        (["--gpu", "h100", "--tp", "3"], 4, "does not divide the model's 8 KV heads"),
        (["--gpu", "h10"], 2, "; did you mean h100? Name one of h100"),
        (["--gpu", "h100", "--precision", "int8"], 4, "GPUs take bf16 and fp8"),
        (["--profile", "h100-bf16", "--precision", "int8"], 1, "takes bf16, fp8"),
        (["--profile", "cpu-int4", "--gpu", "h100"], 2, "is for CPUs, and --gpu is for GPUs"),
        (["--gpu", "rtx-3090", "--max-seq-len", "131072"], 4, "What would fit: shorter sequences"),
        (["--gpu", "h100", "--plot", "plan.pdf"], 2, "does not end in .png"),
        (["/nowhere", "--gpu", "h100"], 3, "/nowhere is not there"),
        (["--profile", "nope"], 2, "There is no profile 'nope'"),
    ],
)
def test_refusals_are_one_line(
    arguments: list[str], status: int, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    found, line = refused(capsys, "plan", *arguments)
    assert found == status
    assert message in line


def test_a_cpu_is_planned_by_its_memory(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nemotron_build.machine.machine_memory", lambda: 16 * 2**30)
    assert "No speed is estimated" in out(capsys, "plan", "--profile", "cpu-int4")
    plan = json.loads(out(capsys, "plan", "--profile", "cpu-int4", "--json"))
    assert plan["kv_pool_tokens"] >= plan["max_seq_len"] == 16384


def test_validation_prints_what_it_promises(capsys: pytest.CaptureFixture[str]) -> None:
    found = json.loads(out(capsys, "plan", "--validate", "--json"))
    assert found["median_error"] <= 0.15
    assert found["worst_error"] <= 0.35
    assert len(found["rows"]) == found["judged"]["rows"] + found["fitted"]["rows"] == 123
    for row in found["rows"]:
        assert row["error"] == pytest.approx(row["predicted"] / row["published"] - 1)
    assert found["worst_error"] == max(abs(row["error"]) for row in found["rows"])
    text = out(capsys, "plan", "--validate")
    assert "throughput, judged" in text and "throughput, all" in text
    assert f"{found['median_error']:.1%}" in text


def test_nothing_heavy_is_imported_for_a_plan() -> None:
    code = (
        "import sys\n"
        "from nemotron_build.cli import main\n"
        "assert main(['plan', '--gpu', 'h100']) == 0\n"
        "heavy = {'torch', 'transformers', 'matplotlib', 'openvino', 'modelopt', 'scipy'} & set(sys.modules)\n"
        "sys.exit(str(heavy) if heavy else 0)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
