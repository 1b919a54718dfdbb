"""What a build is asked for, the model it starts from included, and whether it is possible at all.

A model is a Hugging Face checkpoint, or for CPUs a GGUF file. What cannot be built is refused before anything is done.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from nemotron_build.errors import CheckpointError, UnsupportedError, UsageError
from nemotron_build.machine import InstalledGpu, Machine
from nemotron_build.pipeline.trtllm_build import engine_options
from nemotron_build.plan.gpus import find_gpu
from nemotron_build.plan.limits import check_length
from nemotron_build.plan.plan import make_plan
from nemotron_build.plan.roofline import Workload
from nemotron_build.profiles import Profile
from nemotron_build.steps import Report
from nemotron_serving.engine.tensorrt_llm.files import IMAGE, TENSORRT_LLM
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
        shape: Sizes and constants of the model.
        files: All that a build reads.
        stop_token_ids: Tokens that end an output.
        chat_template: Jinja source, where it has one.
        sampling: What it recommends, where it says so.
        revision: The commit on the hub that it was downloaded from, where that is known.
        notes: What is ignored, one line each.
        tokenizer: Its tokenizer.json; None where converting makes it.
        checkpoint: The model as a checkpoint; None for a GGUF file.
        gguf: The model as a GGUF file, whose fields take seconds to read; None for a checkpoint.
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
        """Size of all files."""
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


@dataclass(frozen=True)
class Request:
    """What to build.

    Attributes:
        source: The model.
        profile: What to make of it.
        profile_argument: How the profile was named: its name, or the absolute path of its file.
        name: What people and clients call the model.
        chat_format: None for the one that fits the tokenizer.
        calibration: File of texts for FP8's scales; None for the texts that ship.
        held_out: File of texts that accuracy is measured with; None for the texts that ship.
        scan_values: Whether every value of the source is looked at.
        limit_arguments: The limits that were given as options, to be written behind `profile_argument`.
        notes: What of the profile does not hold for this model, a line each.
    """

    source: Source
    profile: Profile
    profile_argument: str
    name: str
    chat_format: str | None = None
    calibration: Path | None = None
    held_out: Path | None = None
    scan_values: bool = False
    limit_arguments: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def profile_options(self) -> list[str]:
        """How a command of a stage is told the profile."""
        return ["--profile", self.profile_argument, *self.limit_arguments]

    @property
    def checkpoint(self) -> Checkpoint:
        """The source as a checkpoint, which it is for every GPU profile and where values are scanned."""
        assert self.source.checkpoint is not None, "open_source refuses a GGUF file for a GPU"  # noqa: S101
        return self.source.checkpoint


def check_possible(request: Request) -> None:
    """Refuse what no GPU, or not the profile's, can do with this model, and a chat format that does not fit it.

    Raises:
        UsageError: an option that the source cannot have.
        UnsupportedError: saying what would be possible.
        CheckpointError: the tokenizer lacks the chat format's tokens, or there is no template.
        VerificationError: the tokenizer writes other prompts than it has to.
    """
    if request.scan_values:
        check_scannable(request.source)
    for option, file in (("--calibration", request.calibration), ("--held-out", request.held_out)):
        if file and request.profile.target == "openvino":
            raise UsageError(f"{option} is for GPUs: profile {request.profile.name} uses no texts. Leave it out.")
        if file and not file.is_file():
            raise UsageError(f"{option} {file}: there is no such file.")
    if request.source.tokenizer:
        _check_chat(request, request.source.tokenizer)
    check_hardware(request)


def check_scannable(source: Source) -> None:
    """Refuse `--scan-values` where there are no safetensors to scan.

    Raises:
        UsageError: the source is a GGUF file.
    """
    if source.checkpoint is None:
        raise UsageError(
            f"--scan-values reads a checkpoint's safetensors; {source.path} is a GGUF file, whose values are "
            "looked at while it is converted. Leave the option out."
        )


def check_hardware(request: Request) -> None:
    """Refuse what the hardware of the profile cannot do with this model.

    Raises:
        UnsupportedError: saying what would be possible.
    """
    profile, shape = request.profile, request.source.shape
    if profile.target == "openvino":
        check_length(shape, profile)
        return
    half = profile.limits.max_seq_len // 2
    make_plan(shape, find_gpu(profile.gpu or ""), profile, Workload(half, half))
    if profile.compiles:
        engine_options(profile)


def require_compiler(profile: Profile, machine: Machine) -> InstalledGpu:
    """The GPU that an engine of this profile is compiled on.

    Raises:
        UnsupportedError: no GPU, another one, too few, or not the release of TensorRT-LLM that has engines.
    """
    wanted = find_gpu(profile.gpu or "")
    advice = (
        f"'nemotron-build container build …' with the same arguments prints the command for {IMAGE}, "
        f"to be run on a machine with {wanted.title}."
    )
    if not machine.gpus:
        raise UnsupportedError(
            f"Profile {profile.name} compiles an engine for {wanted.title}; no GPU was found here. {advice}"
        )
    gpu = machine.gpus[0]
    if not wanted.runs_engines_of(gpu):
        raise UnsupportedError(
            f"Profile {profile.name} is for {wanted.title}, found was {gpu.name}: an engine runs only on the kind of "
            "GPU that compiled it. Name the profile of this GPU, or use a machine with that one."
        )
    if len(machine.gpus) < profile.tp_size:
        raise UnsupportedError(
            f"Profile {profile.name} has tp_size {profile.tp_size}, found were {len(machine.gpus)} GPUs. "
            "Look at CUDA_VISIBLE_DEVICES and docker's --gpus."
        )
    found = machine.versions.get("tensorrt_llm")
    if found != TENSORRT_LLM:
        here = f"version {found} was found" if found else "it was not found here"
        raise UnsupportedError(f"Engines are compiled by trtllm-build of TensorRT-LLM {TENSORRT_LLM}; {here}. {advice}")
    return gpu


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


def _check_chat(request: Request, path: Path) -> None:
    from tokenizers import Tokenizer

    from nemotron_build.chat_format import check_tokenizer, choose_format

    tokenizer, source = Tokenizer.from_file(str(path)), request.source
    chat_format = choose_format(tokenizer, request.chat_format, has_template=source.chat_template is not None)
    check_tokenizer(tokenizer, chat_format, source.stop_token_ids)
