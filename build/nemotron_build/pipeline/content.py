"""What goes into the package of a build, and the record of how it was made."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import msgspec

from nemotron_build.machine import Machine
from nemotron_build.pipeline.assemble import Content, engine_spec
from nemotron_build.pipeline.cpu_stage import read_conversion
from nemotron_build.pipeline.request import Request
from nemotron_build.pipeline.trtllm_build import engine_options
from nemotron_serving.engine.tensorrt_llm.files import TENSORRT_LLM
from nemotron_serving.package import TOKENIZER, BuildRecord, EngineSpec

# What computes in each precision, for checkpoints that are compiled for no GPU in particular.
_LEAST_CAPABILITY = {"bf16": "8.0", "fp8": "8.9"}
# What is installed and had no part in it.
_OF_OTHERS = {
    "tensorrt_llm": ("openvino",),
    "openvino": ("tensorrt_llm", "tensorrt", "modelopt", "torch", "transformers", "driver", "cuda"),
}


def package_content(
    request: Request, engine: Path, *, sha256: str, accuracy: Mapping[str, float], machine: Machine
) -> Content:
    """Gather it.

    Args:
        request: What was built.
        engine: Directory with the engine's files.
        sha256: Of the source.
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
