"""What a build starts from: a Hugging Face checkpoint, or for CPUs a GGUF file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from nemotron_build.errors import CheckpointError
from nemotron_build.profiles import Profile
from nemotron_build.steps import Report
from nemotron_serving.package import SamplingDefaults
from nemotron_serving.paths import is_gguf, no_checkpoint

if TYPE_CHECKING:
    from nemotron_build.checkpoint.check import Checkpoint
    from nemotron_build.checkpoint.shape import ModelShape
    from nemotron_build.cpu.gguf_file import GgufFile

GGUF = ".gguf"


@dataclass(frozen=True)
class Source:
    """A model to build from, and what the package needs to know of it.

    Attributes:
        path: The directory, or the GGUF file.
        shape: Of the model.
        files: All that a build reads.
        stop_token_ids: Tokens that end an output.
        chat_template: Jinja source, where it has one.
        sampling: What it recommends, where it says so.
        revision: The commit on the hub that it was downloaded from, where that is known.
        notes: What is ignored, one line each.
        tokenizer: Its tokenizer.json; None where converting makes it.
        checkpoint: The same as a checkpoint; None for a GGUF file.
        gguf: The same as a GGUF file, whose fields take seconds to read; None for a checkpoint.
    """

    path: Path
    shape: ModelShape
    files: tuple[Path, ...]
    stop_token_ids: tuple[int, ...]
    chat_template: str | None
    sampling: SamplingDefaults | None = None
    revision: str | None = None
    notes: tuple[str, ...] = ()
    tokenizer: Path | None = None
    checkpoint: Checkpoint | None = None
    gguf: GgufFile | None = None

    @property
    def bytes(self) -> int:
        """Of all files."""
        return sum(file.stat().st_size for file in self.files)

    def fingerprint(self, report: Report) -> str:
        """SHA-256 (hex) that changes with any of the files; reads them all."""
        from nemotron_build.checkpoint.files import fingerprint_of

        return fingerprint_of(self.files, report)


def open_source(path: Path, profile: Profile) -> Source:
    """Check a source from its headers.

    Raises:
        CheckpointError: it is damaged, not of the right kind, or a GGUF file for a GPU.
    """
    on_cpu = profile.target == "openvino"
    if not path.exists() or (path.is_file() and not is_gguf(path)):
        raise CheckpointError(no_checkpoint(path, gguf=on_cpu))
    if not is_gguf(path):
        return _from_checkpoint(path)
    if not on_cpu:
        raise CheckpointError(
            f"{path} is a GGUF file, which only CPU profiles can be built from. Profile {profile.name} needs the "
            "model's Hugging Face checkpoint."
        )
    return open_gguf(path)


def open_gguf(path: Path) -> Source:
    """Check a GGUF file from its fields.

    Raises:
        CheckpointError: it is damaged, or not of a Llama-shaped model.
    """
    from nemotron_build.cpu.gguf_file import GgufFile
    from nemotron_build.cpu.gguf_tokenizer import read_vocabulary
    from nemotron_build.cpu.gguf_weights import GgufSource

    file = GgufFile(path)
    vocabulary = read_vocabulary(file)
    return Source(
        path=path,
        shape=GgufSource(file).shape,
        files=(path,),
        stop_token_ids=vocabulary.stop_token_ids,
        chat_template=vocabulary.chat_template or None,
        gguf=file,
    )


def source_name(path: Path) -> str:
    """The model's name as the path tells it; in Hugging Face's cache that is `models--OWNER--NAME` above the commit."""
    if path.suffix == GGUF:
        return path.stem
    real = path.resolve()
    if real.parent.name == "snapshots":
        return real.parent.parent.name.rpartition("--")[2]
    return real.name


def _from_checkpoint(path: Path) -> Source:
    from nemotron_build.checkpoint.check import check_checkpoint

    checkpoint = check_checkpoint(path)
    return Source(
        path=path,
        shape=checkpoint.shape,
        files=checkpoint.files,
        stop_token_ids=checkpoint.stop_token_ids,
        chat_template=checkpoint.tokenizer.chat_template,
        sampling=checkpoint.generation.sampling,
        revision=checkpoint.revision,
        notes=checkpoint.notes,
        tokenizer=checkpoint.tokenizer.path,
        checkpoint=checkpoint,
    )
