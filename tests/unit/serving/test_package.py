from __future__ import annotations

import hashlib
import platform
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from nemotron_serving.errors import PackageError
from nemotron_serving.package import Limits, Package, check_engine_version, sha256_of, write_package
from tests.unit.serving.support import byte_tokenizer, make_package, manifest, serving_config


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A good package, for each test to damage."""
    return make_package(tmp_path / "package").path


def edit(file: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change a JSON file of a package; the size in the manifest follows, so that only the change itself shows."""
    content = msgspec.json.decode(file.read_bytes())
    change(content)
    file.write_bytes(msgspec.json.encode(content))
    if file.name != "manifest.json":
        edit(file.parent / "manifest.json", lambda it: it["files"][file.name].update(bytes=file.stat().st_size))


def refusal(path: Path) -> str:
    with pytest.raises(PackageError) as caught:
        Package.load(path)
    return str(caught.value)


def test_a_written_package_reads_back(path: Path) -> None:
    package = Package.load(path)
    assert package.serving == serving_config()
    assert package.tokenizer_path.read_text() == byte_tokenizer().to_str(pretty=True)
    assert package.engine_path == path / "engine"
    assert set(package.manifest.files) == {"serving.json", "tokenizer.json", "engine/simulated.json"}
    record = package.manifest.files["serving.json"]
    content = (path / "serving.json").read_bytes()
    assert (record.bytes, record.sha256) == (len(content), hashlib.sha256(content).hexdigest())
    package.verify_files()


def test_writing_again_records_the_files_that_are_there_now(path: Path) -> None:
    (path / "engine" / "model.bin").write_bytes(b"weights")
    package = write_package(path, manifest(), serving_config(max_tokens=7))
    assert package.serving.max_tokens == 7
    assert package.manifest.files["engine/model.bin"].bytes == 7
    package.verify_files()


def test_sha256_of_a_file_larger_than_a_block(tmp_path: Path) -> None:
    content = b"0123456789abcdef" * 100_000
    (tmp_path / "file").write_bytes(content)
    assert sha256_of(tmp_path / "file") == hashlib.sha256(content).hexdigest()


@pytest.mark.parametrize(
    ("here", "said"), [("nowhere", "is not there. "), ("file", "is a file; "), ("x" * 300, "too long")]
)
def test_what_is_no_directory_is_refused(tmp_path: Path, here: str, said: str) -> None:
    (tmp_path / "file").write_text("")
    assert said in refusal(tmp_path / here)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("manifest.json", "is missing, so {path} is no whole package. Build it again."),
        ("serving.json", "is missing, so {path} is no whole package. Build it again."),
        ("tokenizer.json", "is missing; the manifest lists it. Build the package again."),
        ("engine/simulated.json", "is missing; the manifest lists it. Build the package again."),
    ],
)
def test_a_missing_file_is_refused(path: Path, name: str, message: str) -> None:
    (path / name).unlink()
    assert refusal(path) == f"{path / name} {message.format(path=path)}"


def test_a_resized_file_is_refused(path: Path) -> None:
    file = path / "engine" / "simulated.json"
    size = file.stat().st_size
    file.write_bytes(file.read_bytes() + b" ")
    assert refusal(path) == (
        f"{file} was altered: it has {size + 1} bytes, the manifest says {size}. Build the package again."
    )


def test_an_altered_file_of_the_same_size_is_found_by_reading_it(path: Path) -> None:
    file = path / "engine" / "simulated.json"
    file.write_bytes(file.read_bytes()[:-1] + b" ")
    package = Package.load(path)
    with pytest.raises(PackageError, match=r"simulated\.json was altered: its SHA-256 differs from the manifest"):
        package.verify_files()


def test_another_schema_is_refused_before_anything_else_of_the_manifest_is_read(path: Path) -> None:
    (path / "manifest.json").write_text('{"schema_version": 2, "something": "new"}')
    assert refusal(path).startswith(
        f"{path / 'manifest.json'}: schema_version is 2, this version reads 1. Build the package again"
    )


def test_another_machine_is_refused(path: Path) -> None:
    edit(path / "manifest.json", lambda it: it["engine"].update(machine="riscv128"))
    assert refusal(path) == (
        f"{path} was built for riscv128, this machine is {platform.machine()}. "
        "Build the package on this kind of machine."
    )


def test_this_machine_is_accepted(path: Path) -> None:
    edit(path / "manifest.json", lambda it: it["engine"].update(machine=platform.machine()))
    assert Package.load(path).manifest.engine.machine == platform.machine()


@pytest.mark.parametrize("name", ["serving.json", "tokenizer.json"])
def test_a_manifest_that_leaves_out_a_file_is_refused(path: Path, name: str) -> None:
    edit(path / "manifest.json", lambda it: it["files"].pop(name))
    assert refusal(path) == f"{path / 'manifest.json'} does not list {name}. Build the package again."


@pytest.mark.parametrize(
    ("name", "change", "problem"),
    [
        ("manifest.json", lambda it: it.update(colour="red"), "unknown field `colour`"),
        ("manifest.json", lambda it: it.pop("schema_version"), "missing required field `schema_version`"),
        ("manifest.json", lambda it: it["engine"].pop("kind"), r"required field `kind` - at `$.engine`"),
        ("serving.json", lambda it: it.update(colour="red"), "unknown field `colour`"),
        ("serving.json", lambda it: it["limits"].update(colour=1), "unknown field `colour` - at `$.limits`"),
        ("serving.json", lambda it: it["thinking"].pop("default"), "required field `default` - at `$.thinking`"),
        ("serving.json", lambda it: it.update(max_tokens="many"), "Expected `int`, got `str` - at `$.max_tokens`"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_fields_that_do_not_fit_are_refused_by_name(
    path: Path, name: str, change: Callable[[dict[str, Any]], object], problem: str
) -> None:
    edit(path / name, change)
    message = refusal(path)
    assert message.startswith(f"{path / name} cannot be used: ")
    assert problem in message
    assert message.endswith("Build the package again.")


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b"[]"])
def test_a_manifest_that_is_not_json_is_refused(path: Path, content: bytes) -> None:
    (path / "manifest.json").write_bytes(content)
    assert refusal(path).startswith(f"{path / 'manifest.json'} cannot be used: ")


@pytest.mark.parametrize("name", Limits.__struct_fields__)
def test_limits_that_admit_nothing_are_refused(path: Path, name: str) -> None:
    least = 0 if name == "max_waiting" else 1
    edit(path / "serving.json", lambda it: it["limits"].update({name: least - 1}))
    assert refusal(path) == f"{path / 'serving.json'}: limits.{name} is {least - 1}, expected at least {least}."


def test_no_waiting_at_all_is_accepted(path: Path) -> None:
    edit(path / "serving.json", lambda it: it["limits"].update(max_waiting=0))
    assert Package.load(path).serving.limits.max_waiting == 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"max_tokens": 2048}, "max_tokens 2048 leaves no room for a prompt in limits.max_seq_len 2048."),
        ({"max_tokens": 0}, "max_tokens is 0, expected at least 1."),
        ({"stop_token_ids": []}, "stop_token_ids is empty, expected at least one token that ends the output."),
        (
            {"thinking": {"min_answer_tokens": 0}},
            "thinking.min_answer_tokens and max_thinking_tokens must be positive.",
        ),
        (
            {"thinking": {"min_answer_tokens": -1}},
            "thinking.min_answer_tokens and max_thinking_tokens must be positive.",
        ),
        (
            {"thinking": {"max_thinking_tokens": 0}},
            "thinking.min_answer_tokens and max_thinking_tokens must be positive.",
        ),
    ],
    ids=str,
)
def test_a_configuration_that_nothing_can_be_served_with_is_refused(
    path: Path, change: dict[str, Any], message: str
) -> None:
    def apply(it: dict[str, Any]) -> None:
        for name, value in change.items():
            it[name] = {**it[name], **value} if isinstance(value, dict) else value

    edit(path / "serving.json", apply)
    assert refusal(path) == f"{path / 'serving.json'}: {message}"


def test_writing_a_package_that_cannot_be_served_is_refused(path: Path) -> None:
    with pytest.raises(PackageError, match="leaves no room for a prompt"):
        write_package(path, manifest(), serving_config(max_tokens=4096))


@pytest.mark.parametrize(
    ("written_by", "installed", "fits"),
    [
        ("2026.4.1.0", "2026.4.1.0-2636-abc", True),
        ("2026.4.1.0", "2026.4.0.0", True),
        ("2026.4.1.0", "2026.5.0.0", False),
        ("2026.4.1.0", "2027.4.1.0", False),
        ("1.2.1", "1.20.1", False),
    ],
)
def test_engine_files_go_with_their_release(written_by: str, installed: str, fits: bool) -> None:
    spec = manifest(kind="openvino", version=written_by).engine
    if fits:
        check_engine_version(spec, installed)
        return
    with pytest.raises(PackageError) as caught:
        check_engine_version(spec, installed)
    assert str(caught.value) == (
        f"The package was built with openvino {written_by}, installed is {installed}. "
        f"Build it again here, or install openvino {written_by}."
    )
