"""The last stage: what a build made becomes a package, all at once, with the record of how it was made.

Into it go the engine's files, the tokenizer, serving.json and the manifest.
"""

from __future__ import annotations

import os
import platform
import shutil
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from nemotron_build.chat_format import check_tokenizer, choose_format, is_llama3, order_stop_tokens
from nemotron_build.machine import Machine
from nemotron_build.pipeline.request import Request
from nemotron_build.pipeline.stages import read_conversion
from nemotron_build.pipeline.trtllm_build import engine_options
from nemotron_build.profiles import Profile
from nemotron_build.serving_defaults import (
    MIN_ANSWER_TOKENS,
    NEMOTRON_SAMPLING_OFF,
    NEMOTRON_SAMPLING_ON,
    NO_THINK,
    nemotron_thinking,
    new_limits,
    new_manifest,
    plain_thinking,
    slash_thinking,
)
from nemotron_build.target import staged
from nemotron_serving.chat.formats import CHATML, TEMPLATE
from nemotron_serving.engine.tensorrt_llm.files import TENSORRT_LLM
from nemotron_serving.package import (
    CHAT_TEMPLATE,
    ENGINE_DIR,
    TOKENIZER,
    BuildRecord,
    EngineSpec,
    Package,
    SamplingDefaults,
    ServingConfig,
    write_package,
)

if TYPE_CHECKING:
    from tokenizers import Tokenizer

_READABLE = 0o644
# What computes in each precision, for checkpoints that are compiled for no GPU in particular.
_LEAST_CAPABILITY = {"bf16": "8.0", "fp8": "8.9"}
# What is installed and had no part in it.
_OF_OTHERS = {
    "tensorrt_llm": ("openvino",),
    "openvino": ("tensorrt_llm", "tensorrt", "modelopt", "torch", "transformers", "driver", "cuda"),
}


@dataclass(frozen=True)
class Content:
    """What a package is made of.

    Attributes:
        name: What people and clients call the model.
        engine: Directory whose files become `engine/`.
        engine_files: Which of them; None for all.
        tokenizer: The tokenizer.json.
        stop_token_ids: Those that the checkpoint names, and those of its tokenizer's family.
        template: The checkpoint's own chat template, if it has one.
        chat_format: The format asked for; None takes the one that fits the tokenizer.
        sampling: What the checkpoint recommends, if it says so.
        source: Where the model came from.
        spec: The engine that serves it.
        build: How it was made.
    """

    name: str
    engine: Path
    tokenizer: Path
    stop_token_ids: Sequence[int]
    spec: EngineSpec
    build: BuildRecord
    template: str | None = None
    chat_format: str | None = None
    sampling: SamplingDefaults | None = None
    engine_files: tuple[str, ...] | None = None
    source: dict[str, str] = field(default_factory=dict)


def package_content(
    request: Request, engine: Path, *, sha256: str, accuracy: Mapping[str, float], machine: Machine
) -> Content:
    """Gather what goes into the package of a build.

    Args:
        request: What was built.
        engine: Directory with the engine's files.
        sha256: Hash over the source's files.
        accuracy: Figures of the quantized model, if it was measured; a CPU's are with its files.
        machine: Where it was built.
    """
    content = Content(
        name=request.name,
        engine=engine,
        tokenizer=request.source.tokenizer or engine / TOKENIZER,
        stop_token_ids=request.source.stop_token_ids,
        spec=_spec(request, machine),
        build=_record(request, accuracy, machine),
        template=request.source.chat_template,
        chat_format=request.chat_format,
        sampling=request.source.sampling,
        source=_source(request, sha256),
    )
    return _converted_for_cpu(content) if request.profile.target == "openvino" else content


def assemble(target: Path, content: Content, profile: Profile, *, link: bool) -> Package:
    """Write a package, and check that its tokenizer fits its chat format.

    Args:
        target: Directory of the package; a package that is there is replaced.
        content: What goes into it.
        profile: Gives the limits.
        link: Link the engine's files where the disk is the same, which takes no time and no room. Only for files that
            nobody writes to any more.

    Raises:
        BuildError: something else is at `target`.
        CheckpointError: the chat format does not fit the tokenizer.
        VerificationError: the tokenizer does not write prompts as it has to.
    """
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(content.tokenizer))
    serving = serving_config(content, profile, tokenizer)
    check_tokenizer(tokenizer, serving.chat_format, serving.stop_token_ids)
    manifest = new_manifest(f"{content.name}-{profile.name}", content.spec, content.source, content.build)
    with staged(target) as work:
        _bring(content, work.package / ENGINE_DIR, link=link)
        shutil.copyfile(content.tokenizer, work.package / TOKENIZER)
        if serving.chat_format == TEMPLATE:
            (work.package / CHAT_TEMPLATE).write_text(content.template or "", encoding="utf-8")
        write_package(work.package, manifest, serving)
        work.finish()
    return Package.load(target)


def serving_config(content: Content, profile: Profile, tokenizer: Tokenizer) -> ServingConfig:
    """serving.json of a package.

    Raises:
        CheckpointError: see `choose_format`.
    """
    limits = profile.limits
    chat_format = choose_format(tokenizer, content.chat_format, has_template=content.template is not None)
    # A model of Nemotron's kind is switched by its system line, also where its own template writes the prompt.
    nemotron = is_llama3(tokenizer) and chat_format != CHATML
    thinking = nemotron_thinking if nemotron else plain_thinking
    if nemotron and chat_format == TEMPLATE and NO_THINK in (content.template or ""):
        thinking = slash_thinking
    others = content.sampling or SamplingDefaults()
    min_answer = max(1, min(MIN_ANSWER_TOKENS, limits.max_seq_len // 4))
    return ServingConfig(
        model_name=content.name,
        chat_format=chat_format,
        default_system_prompt="",
        stop_token_ids=order_stop_tokens(tokenizer, content.stop_token_ids),
        max_tokens=max(1, min(limits.max_tokens, limits.max_seq_len // 2)),
        sampling_on=NEMOTRON_SAMPLING_ON if nemotron else others,
        sampling_off=NEMOTRON_SAMPLING_OFF if nemotron else others,
        thinking=thinking(min_answer_tokens=min_answer),
        limits=new_limits(
            max_seq_len=limits.max_seq_len, max_batch_size=limits.max_batch_size, max_waiting=limits.max_waiting
        ),
    )


def engine_spec(profile: Profile, version: str, device: str) -> EngineSpec:
    """The engine that serves a package of this profile.

    Args:
        profile: What was built.
        version: Release of the engine's library.
        device: `cpu`, the name of the GPU that an engine was compiled on, or for a checkpoint, which is compiled for
            none, the kind of GPU that it needs.
    """
    precision = profile.precision if profile.kv_cache == "bf16" else f"{profile.precision}, KV cache {profile.kv_cache}"
    compiled = profile.target == "openvino" or profile.flow == "engine"
    machine = platform.machine() if compiled else "any"
    return EngineSpec(kind=profile.target, version=version, device=device, machine=machine, precision=precision)


def _source(request: Request, sha256: str) -> dict[str, str]:
    revision = {"revision": request.source.revision} if request.source.revision else {}
    return {"what": request.source.path.name, **revision, "sha256": sha256}


def _converted_for_cpu(content: Content) -> Content:
    """With what converting found out, which for a GGUF file is the only place that knows it."""
    from nemotron_build.cpu.to_openvino import ENGINE_FILES

    conversion = read_conversion(content.engine)
    return replace(
        content,
        engine_files=ENGINE_FILES,
        tokenizer=content.engine / TOKENIZER,
        stop_token_ids=conversion.stop_token_ids,
        template=conversion.chat_template,
        spec=msgspec.structs.replace(content.spec, precision=conversion.precision),
        build=msgspec.structs.replace(content.build, accuracy=conversion.accuracy),
    )


def _spec(request: Request, machine: Machine) -> EngineSpec:
    profile = request.profile
    if profile.target == "openvino":
        return engine_spec(profile, machine.versions["openvino"], "cpu")
    if profile.compiles:
        return engine_spec(profile, machine.versions["tensorrt_llm"], machine.gpus[0].name)
    needed = max(_LEAST_CAPABILITY[profile.precision], _LEAST_CAPABILITY[profile.kv_cache])
    return engine_spec(profile, TENSORRT_LLM, f"any GPU of compute capability {needed} or newer")


def _record(request: Request, accuracy: Mapping[str, float], machine: Machine) -> BuildRecord:
    profile = request.profile
    options: dict[str, str] = {"precision": profile.precision}
    if profile.target == "tensorrt_llm":
        options |= {"kv_cache": profile.kv_cache, "flow": profile.flow, "tp_size": str(profile.tp_size)}
        if profile.quantizes:
            texts = request.calibration.name if request.calibration else "those that ship"
            calibration = profile.calibration
            options["calibration"] = (
                f"up to {calibration.samples} texts of up to {calibration.max_tokens} tokens: {texts}"
            )
        if profile.compiles:
            options |= {f"trtllm-build {name}": value for name, value in engine_options(profile).items()}
    hardware = {"machine": platform.machine()}
    if machine.gpus:
        gpu = machine.gpus[0]
        hardware |= {"gpu": gpu.name, "gpus": str(len(machine.gpus)), "compute_capability": gpu.compute_capability}
    return BuildRecord(
        profile=profile.name,
        versions={
            name: version for name, version in machine.versions.items() if name not in _OF_OTHERS[profile.target]
        },
        hardware=hardware,
        options=options,
        accuracy=dict(accuracy),
    )


def _bring(content: Content, target: Path, *, link: bool) -> None:
    names = content.engine_files
    files = sorted(content.engine.rglob("*")) if names is None else [content.engine / name for name in names]
    for file in files:
        if not file.is_file():
            continue
        place = target / file.relative_to(content.engine)
        place.parent.mkdir(parents=True, exist_ok=True)
        if link:
            with suppress(OSError):
                os.link(file.resolve(), place)
                place.chmod(_READABLE)  # some libraries write for their user alone
        if not place.exists():
            shutil.copyfile(file, place)
