"""A package: the directory that `nemotron-build` writes and `nemotron-serve` serves.

    PACKAGE/
      manifest.json    schema, versions, hardware, size and SHA-256 of every other file
      serving.json     chat format, thinking policy, generation defaults, limits
      tokenizer.json   Hugging Face tokenizers format
      chat_template.jinja  only where serving.json names it as the chat format
      engine/          what the engine named in the manifest loads

Nothing else passes between build and serve. `load` refuses what it does not understand; `verify_files` reads
every byte and is meant for the launcher and for `nemotron-build verify`, not for each model's start.
"""

from __future__ import annotations

import hashlib
import platform
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

import msgspec

from nemotron_serving.contract import RANGES
from nemotron_serving.errors import PackageError
from nemotron_serving.paths import MANIFEST, no_package

SCHEMA_VERSION = 1
SERVING = "serving.json"
TOKENIZER = "tokenizer.json"
CHAT_TEMPLATE = "chat_template.jinja"
ENGINE_DIR = "engine"

_CPU_ENGINES = ("openvino", "simulated")

_T = TypeVar("_T")


class _SchemaVersion(msgspec.Struct, frozen=True):
    schema_version: int


class SamplingDefaults(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Decoding used where the caller says nothing. Temperature 0 is greedy; top_k 0 and top_p 1 keep all tokens."""

    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int = 0
    repetition_penalty: float = 1.0

    def out_of_range(self) -> str | None:
        """The first field that no request could ask for either; None if all can be."""
        for name, value in msgspec.structs.asdict(self).items():
            low, high = RANGES[name]
            if not low <= value <= high or (name == "top_p" and value == 0):
                return name
        return None


class ThinkingPolicy(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How this model is made to think, and to stop thinking.

    Attributes:
        default: Whether a request that says nothing gets thinking.
        prefill_on: Text that opens the assistant turn with thinking on. Ending in an open `<think>` it makes
            the first output thinking.
        prefill_off: The same with thinking off.
        max_thinking_tokens: Budget where the caller gives none; None leaves the end to the model.
        min_answer_tokens: Part of max_tokens kept for the answer; where there is no room for it, less is thought,
            at the least one token.
        system_on: The first system line with thinking on, such as `detailed thinking on`; empty for a model that is
            not switched by its system prompt.
        system_off: The same with thinking off.
        system_text: Where a caller's own system text goes when such a line is written: to the head of the first
            `user` turn, or below the line in the `system` turn.
    """

    default: bool
    prefill_on: str
    prefill_off: str
    max_thinking_tokens: int | None
    min_answer_tokens: int
    system_on: str = ""
    system_off: str = ""
    system_text: Literal["user", "system"] = "user"


class Limits(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What one server admits.

    Attributes:
        max_seq_len: Prompt plus output tokens of a request.
        max_prompt_bytes: UTF-8 bytes of a request's text, checked before any tokenizing.
        max_batch_size: Requests generating at once.
        max_waiting: Requests queued behind them; the next one is refused with UNAVAILABLE.
        default_timeout_ms: Deadline of a request that names none. It bounds what abandoned streams cost.
    """

    max_seq_len: int
    max_prompt_bytes: int
    max_batch_size: int
    max_waiting: int
    default_timeout_ms: int

    @property
    def max_in_flight(self) -> int:
        """Requests admitted at one time."""
        return self.max_batch_size + self.max_waiting


class ServingConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The content of serving.json: how requests to this model are read, bounded and defaulted."""

    model_name: str
    chat_format: str
    default_system_prompt: str
    stop_token_ids: tuple[int, ...]
    max_tokens: int
    sampling_on: SamplingDefaults
    sampling_off: SamplingDefaults
    thinking: ThinkingPolicy
    limits: Limits


class EngineSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which engine the package is for.

    Attributes:
        kind: A name that `nemotron_serving.engine.open_engine` knows: `openvino`, `simulated` or
            `tensorrt_llm`.
        version: Version of the engine's library that wrote the files; compared up to the second dot, and exactly for a
            TensorRT engine.
        device: `cpu`, or the GPU name the engine was compiled for.
        machine: `platform.machine()` of the hardware it runs on, such as `x86_64`.
        precision: Weight format, for people to read.
    """

    kind: str
    version: str
    device: str
    machine: str
    precision: str


class FileRecord(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Size in bytes and SHA-256 (hex) of one file of the package."""

    bytes: int
    sha256: str


class BuildRecord(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How the engine's files were made, for people and audits; nothing here changes how they are served.

    Attributes:
        profile: Name of the profile.
        versions: Versions of the libraries that made them: `tensorrt_llm`, `tensorrt`, `cuda`, `driver`, `modelopt`, …
        hardware: Where they were made: `gpu`, `compute_capability`, …
        options: What the tools were given.
        accuracy: Figures of the quantized model against its source, such as `top1_agreement`.
    """

    profile: str
    versions: dict[str, str] = {}
    hardware: dict[str, str] = {}
    options: dict[str, str] = {}
    accuracy: dict[str, float] = {}


class Manifest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The content of manifest.json; `build` is there where a checkpoint was converted."""

    schema_version: int
    name: str
    created_by: str
    source: dict[str, str]
    engine: EngineSpec
    files: dict[str, FileRecord]
    build: BuildRecord | None = None


@dataclass(frozen=True)
class Package:
    """A package that was read and understood."""

    path: Path
    manifest: Manifest
    serving: ServingConfig

    @property
    def tokenizer_path(self) -> Path:
        """Path of tokenizer.json."""
        return self.path / TOKENIZER

    @property
    def engine_path(self) -> Path:
        """Directory with the engine's own files."""
        return self.path / ENGINE_DIR

    @classmethod
    def load(cls, path: Path) -> Package:
        """Read a package and check all that can be checked without reading the large files.

        Raises:
            PackageError: a missing or resized file, another schema, another machine, or limits that do not fit.
        """
        try:
            if not (path / MANIFEST).is_file() and not (path / SERVING).is_file():
                raise PackageError(no_package(path))
        except OSError as error:  # a directory that may not be entered, a name that is too long
            raise PackageError(f"{path} cannot be read: {error.strerror}. Name a package's directory.") from error
        found = _read(path / MANIFEST, _SchemaVersion).schema_version
        if found != SCHEMA_VERSION:
            raise PackageError(
                f"{path / MANIFEST}: schema_version is {found!r}, this version reads {SCHEMA_VERSION}. "
                "Build the package again with the nemotron-build of this version."
            )
        manifest = _read(path / MANIFEST, Manifest)
        serving = _read(path / SERVING, ServingConfig)
        package = cls(path, manifest, serving)
        package._check_present()
        package._check_machine()
        _check_limits(serving, path / SERVING)
        return package

    def verify_files(self) -> None:
        """Compare the SHA-256 of every file with the manifest.

        Raises:
            PackageError: naming the first file that was altered.
        """
        for name, record in self.manifest.files.items():
            if sha256_of(self.path / name) != record.sha256:
                raise PackageError(
                    f"{self.path / name} was altered: its SHA-256 differs from the manifest. Build the package again."
                )

    def _check_present(self) -> None:
        for required in (SERVING, TOKENIZER):
            if required not in self.manifest.files:
                raise PackageError(f"{self.path / MANIFEST} does not list {required}. Build the package again.")
        for name, record in self.manifest.files.items():
            file = self.path / name
            if not file.is_file():
                raise PackageError(f"{file} is missing; the manifest lists it. Build the package again.")
            if file.stat().st_size != record.bytes:
                raise PackageError(
                    f"{file} was altered: it has {file.stat().st_size} bytes, the manifest says {record.bytes}. "
                    "Build the package again."
                )

    def _check_machine(self) -> None:
        wanted, here = self.manifest.engine.machine, platform.machine()
        if wanted not in (here, "any"):
            raise PackageError(
                f"{self.path} was built for {wanted}, this machine is {here}. "
                "Build the package on this kind of machine."
            )
        device = self.manifest.engine.device
        if self.manifest.engine.kind in _CPU_ENGINES and device != "cpu":
            raise PackageError(f"{self.path} names the device {device!r}, its engine runs on 'cpu'. Build it again.")


def check_engine_version(spec: EngineSpec, installed: str) -> None:
    """Refuse engine files written by another release (first two numbers) of the engine's library.

    Raises:
        PackageError: naming both versions.
    """
    if spec.version.split(".")[:2] != installed.split(".")[:2]:
        raise PackageError(
            f"The package was built with {spec.kind} {spec.version}, installed is {installed}. "
            f"Build it again here, or install {spec.kind} {spec.version}."
        )


def write_package(path: Path, manifest: Manifest, serving: ServingConfig) -> Package:
    """Complete a directory that holds tokenizer.json and engine/: write serving.json and the manifest.

    Args:
        path: The directory. Every file in it is recorded.
        manifest: What to write; its `files` are replaced by what is found.
        serving: The content of serving.json.

    Returns:
        The package, read back and checked.
    """
    _write(path / SERVING, serving)
    files = {
        file.relative_to(path).as_posix(): FileRecord(file.stat().st_size, sha256_of(file))
        for file in sorted(path.rglob("*"))
        if file.is_file() and file != path / MANIFEST
    }
    _write(path / MANIFEST, msgspec.structs.replace(manifest, files=files))
    return Package.load(path)


def sha256_of(path: Path) -> str:
    """SHA-256 of a file as hex digits."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _check_limits(serving: ServingConfig, where: Path) -> None:
    limits, thinking = serving.limits, serving.thinking
    for name, value in msgspec.structs.asdict(limits).items():
        least = 0 if name == "max_waiting" else 1
        if value < least:
            raise PackageError(f"{where}: limits.{name} is {value}, expected at least {least}.")
    if limits.default_timeout_ms > (most := RANGES["timeout_ms"][1]):
        raise PackageError(
            f"{where}: limits.default_timeout_ms is {limits.default_timeout_ms}, expected at most {most}."
        )
    if thinking.min_answer_tokens >= limits.max_seq_len:
        raise PackageError(f"{where}: thinking.min_answer_tokens {thinking.min_answer_tokens} leaves no room to think.")
    for name, sampling in (("sampling_on", serving.sampling_on), ("sampling_off", serving.sampling_off)):
        if sampling.out_of_range() is not None:
            raise PackageError(f"{where}: {name} is out of range: {sampling}.")
    if not serving.stop_token_ids:
        raise PackageError(f"{where}: stop_token_ids is empty, expected at least one token that ends the output.")
    if serving.max_tokens < 1:
        raise PackageError(f"{where}: max_tokens is {serving.max_tokens}, expected at least 1.")
    if serving.max_tokens >= limits.max_seq_len:
        raise PackageError(
            f"{where}: max_tokens {serving.max_tokens} leaves no room for a prompt "
            f"in limits.max_seq_len {limits.max_seq_len}."
        )
    if thinking.min_answer_tokens < 1 or (
        thinking.max_thinking_tokens is not None and thinking.max_thinking_tokens < 1
    ):
        raise PackageError(f"{where}: thinking.min_answer_tokens and max_thinking_tokens must be positive.")


def _read(path: Path, kind: type[_T]) -> _T:
    try:
        return msgspec.json.decode(path.read_bytes(), type=kind)
    except FileNotFoundError:
        raise PackageError(f"{path} is missing, so {path.parent} is no whole package. Build it again.") from None
    except (OSError, ValueError) as error:
        raise PackageError(f"{path} cannot be used: {error}. Build the package again.") from error


def _write(path: Path, value: Any) -> None:
    path.write_bytes(msgspec.json.format(msgspec.json.encode(value), indent=2) + b"\n")
