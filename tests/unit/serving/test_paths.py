"""A wrong path is answered with what lies there and with the command that helps."""

from __future__ import annotations

from pathlib import Path

import pytest

from nemotron_serving.paths import hub_name, no_checkpoint, no_package
from tests.unit.serving.support import make_package

HUB = "nvidia/Llama-3.1-Nemotron-Nano-8B-v1"
FOLDER = "Llama-3.1-Nemotron-Nano-8B-v1"
DOWNLOAD = f"'hf download {HUB} --local-dir {FOLDER}'"


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory with packages, a checkpoint, GGUF files and others."""
    monkeypatch.chdir(tmp_path)
    make_package(tmp_path / "packages" / "demo")
    make_package(tmp_path / "packages" / "simulated")
    for name in ("model/config.json", "models/one/config.json", "cache/snapshots/1234/config.json"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_text("{}")
    for name in ("files/my model.gguf", "renamed.bin"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"GGUF and more")
    (tmp_path / "README.md").write_text("# read me")
    (tmp_path / "empty").mkdir()
    return tmp_path


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (HUB, f"{HUB} is not there. If it is a model on Hugging Face's hub, download it: {DOWNLOAD}, then "),
        (HUB, f"'nemotron-build build {FOLDER} --profile P -o packages/{FOLDER}'."),
        (
            "package/demo",
            "package/demo is not there. Did you mean packages/demo? If it is a model on Hugging Face's hub, ",
        ),
        ("packages/dmo", "packages/dmo is not there. Did you mean packages/demo?"),
        ("demo", "demo is not there. Did you mean packages/demo?"),
        ("packages/nano", "packages/nano is not there. Packages near it: packages/demo, packages/simulated."),
        ("README.md", "README.md is a file; a package is a directory that nemotron-build made. Packages near it: "),
        ("packages", "packages is not a package, but holds some. Name one: packages/demo, packages/simulated."),
        ("packages/demo/serving.json", "is a file of a package. Name its directory: packages/demo."),
        ("model", "is a checkpoint, not a package. Make one of it: 'nemotron-build build model --profile P -o "),
        ("files/my model.gguf", "'nemotron-build build 'files/my model.gguf' --profile cpu-int4 -o 'packages/my mod"),
        ("renamed.bin", "renamed.bin is a GGUF file, not a package."),
        ("files", "Make one of the GGUF file in it: "),
        ("empty", "empty/manifest.json is missing: empty is not a package. Packages near it: packages/demo"),
    ],
)
@pytest.mark.parametrize("absolute", [False, True])
def test_what_is_not_a_package(given: str, said: str, absolute: bool, here: Path) -> None:
    message = no_package(here / given if absolute else Path(given))
    assert said in message.replace(f"{here}/", "")
    assert "\n" not in message


def test_without_any_package_the_commands_that_make_one_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for given in ("nano", "packages/nano"):
        assert "'nemotron-build demo'" in no_package(Path(given))
        assert "'nemotron-build build CHECKPOINT --profile P -o PACKAGE'" in no_package(Path(given))


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (HUB, f"download it: {DOWNLOAD}, and name {FOLDER} instead."),
        ("modle", "modle is not there. Did you mean model?"),
        ("READ", "READ is not there. Did you mean README.md?"),
        ("other", "other is not there. Name a Hugging Face checkpoint's directory or a GGUF file."),
        ("README.md", "README.md is a file, and no GGUF; expected is a Hugging Face checkpoint's directory or a GGUF"),
        ("model/config.json", "is a file of a checkpoint. Name its directory: model."),
        ("packages/demo", "is a package, made already; expected is a Hugging Face checkpoint's directory or a GGUF"),
        ("packages/demo", "'nemotron-serve packages/demo' serves it."),
        ("files", "is missing, but there is a GGUF file. Name it: 'files/my model.gguf'."),
        ("models", "is missing. Name the checkpoint in it: models/one."),
        ("cache", "is missing. Name the checkpoint in it: cache/snapshots/1234."),
        ("empty", "empty/config.json is missing. Name the directory of a downloaded Hugging Face checkpoint."),
    ],
)
@pytest.mark.parametrize("absolute", [False, True])
def test_what_is_not_a_checkpoint(given: str, said: str, absolute: bool, here: Path) -> None:
    message = no_checkpoint(here / given if absolute else Path(given), gguf=True)
    assert said in message.replace(f"{here}/", "")
    assert "\n" not in message


@pytest.mark.parametrize(
    ("given", "is_one"),
    [
        (HUB, True),
        ("meta-llama/Llama-3.1-8B", True),
        ("model/other", False),  # in a directory that is there
        ("packages/nano", False),
        ("./nano", False),
        ("../a/b", False),
        ("/nvidia/nano", False),
        ("a/b/c", False),
        ("nano", False),
        ("a b/c", False),
    ],
)
def test_which_paths_look_like_a_model_on_the_hub(given: str, is_one: bool, here: Path) -> None:  # noqa: ARG001
    assert (hub_name(Path(given)) == given) is is_one
