"""`nemotron-build simulated`: a package without a model, whose engine plays scripts with a given timing."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import msgspec
from tokenizers import Tokenizer, pre_tokenizers

from nemotron_build.byte_level import byte_level_bpe
from nemotron_build.errors import BuildError, UsageError
from nemotron_build.json_file import write_json
from nemotron_build.serving_defaults import (
    DEFAULT_MAX_TOKENS,
    NEMOTRON_SAMPLING_OFF,
    NEMOTRON_SAMPLING_ON,
    NEMOTRON_STOP_TOKENS,
    nemotron_thinking,
    new_limits,
    new_manifest,
)
from nemotron_build.steps import Steps
from nemotron_build.target import good_package, staged
from nemotron_serving import __version__
from nemotron_serving.chat.formats import NEMOTRON
from nemotron_serving.engine.simulated import SIMULATED_CONFIG, Script, SimulatedConfig
from nemotron_serving.package import (
    CHAT_TEMPLATE,
    ENGINE_DIR,
    TOKENIZER,
    EngineSpec,
    Manifest,
    Package,
    ServingConfig,
    write_package,
)

NAME = "simulated"
# Those of Llama 3.1 that Nemotron's chat format uses.
_CONTROL_TOKENS = [
    "<|begin_of_text|>",
    "<|end_of_text|>",
    "<|start_header_id|>",
    "<|end_header_id|>",
    "<|eom_id|>",
    "<|eot_id|>",
]
_MIN_ANSWER_TOKENS = 16


@dataclass(frozen=True)
class SimulatedOptions:
    """What the command line decides; the attributes are those of `SimulatedConfig` and `Limits`."""

    ttft_ms: float
    token_ms: float
    slowdown: float
    max_batch_size: int
    max_seq_len: int
    max_waiting: int
    kv_cache_tokens: int
    script: Path | None
    tokenizer_from: Path | None
    name: str = NAME


def build_simulated(target: Path, options: SimulatedOptions, *, force: bool, steps: Steps) -> None:
    """Write a package for the simulated engine.

    Args:
        target: Directory of the package.
        options: Behaviour, sizes, texts and tokenizer.
        force: Replace a package that is there and differs.
        steps: Where progress is shown.

    Raises:
        BuildError: a bad script, or something else is at `target`.
        ValueError: a time or size out of range, see `SimulatedConfig`.
        PackageError: `tokenizer_from` is not a package.
    """
    if options.kv_cache_tokens < options.max_seq_len:
        raise UsageError(
            f"--kv-cache-tokens is {options.kv_cache_tokens}, expected at least the --max-seq-len of one request, "
            f"{options.max_seq_len}."
        )
    scripts = read_scripts(options.script)
    with staged(target) as work:
        donor = Package.load(options.tokenizer_from) if options.tokenizer_from else None
        serving = _serving(options, donor)
        tokenizer_path = work.package / TOKENIZER
        if donor:
            shutil.copyfile(donor.tokenizer_path, tokenizer_path)
            if CHAT_TEMPLATE in donor.manifest.files:
                shutil.copyfile(donor.path / CHAT_TEMPLATE, work.package / CHAT_TEMPLATE)
        else:
            byte_tokenizer().save(str(tokenizer_path))
        config = SimulatedConfig(
            ttft_ms=options.ttft_ms,
            token_ms=options.token_ms,
            slowdown=options.slowdown,
            max_batch_size=options.max_batch_size,
            max_seq_len=options.max_seq_len,
            kv_cache_tokens=options.kv_cache_tokens,
            vocab_size=Tokenizer.from_file(str(tokenizer_path)).get_vocab_size(),
            scripts=scripts,
        )
        write_json(work.package / ENGINE_DIR / SIMULATED_CONFIG, config)
        made = write_package(work.package, _manifest(options.name), serving)
        present = None if force else good_package(target)
        if present:
            if present.manifest != made.manifest:
                raise BuildError(
                    f"{target} holds {present.manifest.name} with other content. Pass --force to replace it."
                )
            steps.say(f"{target} is there already, with the same content.")
            return
        work.finish()
    steps.done(f"Made {target}: serve it with 'nemotron-serve {target}'.")


def byte_tokenizer() -> Tokenizer:
    """A tokenizer of one token per byte, after the control tokens of Nemotron's chat format."""
    return byte_level_bpe(_CONTROL_TOKENS + sorted(pre_tokenizers.ByteLevel.alphabet()), [], _CONTROL_TOKENS)


def read_scripts(path: Path | None) -> tuple[Script, ...]:
    """Read a JSON list of scripts; None reads the ones that ship with nemotron-build.

    Raises:
        BuildError: naming the file, the position and the field at fault.
    """
    if path is None:
        content = resources.files("nemotron_build").joinpath("simulated_scripts.json").read_bytes()
        return msgspec.json.decode(content, type=tuple[Script, ...])
    try:
        scripts = msgspec.json.decode(path.read_text(encoding="utf-8-sig"), type=tuple[Script, ...])
    except OSError as error:
        raise BuildError(f"--script {path}: {error.strerror}.") from None
    except ValueError as error:
        raise BuildError(f"--script {path}: {error}.") from None
    if not scripts:
        raise BuildError(f'--script {path}: the list is empty. One script with "match": "" answers everything.')
    return scripts


def _serving(options: SimulatedOptions, donor: Package | None) -> ServingConfig:
    serving = ServingConfig(
        model_name=NAME,
        chat_format=NEMOTRON,
        default_system_prompt="",
        stop_token_ids=tuple(_CONTROL_TOKENS.index(token) for token in NEMOTRON_STOP_TOKENS),
        max_tokens=min(DEFAULT_MAX_TOKENS, options.max_seq_len // 2),
        sampling_on=NEMOTRON_SAMPLING_ON,
        sampling_off=NEMOTRON_SAMPLING_OFF,
        thinking=nemotron_thinking(min_answer_tokens=_MIN_ANSWER_TOKENS),
        limits=new_limits(
            max_seq_len=options.max_seq_len, max_batch_size=options.max_batch_size, max_waiting=options.max_waiting
        ),
    )
    if donor is None:
        return serving
    # The control tokens of a tokenizer and the way a prompt is written belong together.
    return msgspec.structs.replace(
        serving,
        chat_format=donor.serving.chat_format,
        default_system_prompt=donor.serving.default_system_prompt,
        stop_token_ids=donor.serving.stop_token_ids,
        thinking=msgspec.structs.replace(
            donor.serving.thinking, max_thinking_tokens=None, min_answer_tokens=_MIN_ANSWER_TOKENS
        ),
    )


def _manifest(name: str) -> Manifest:
    engine = EngineSpec(kind="simulated", version=__version__, device="cpu", machine="any", precision="no weights")
    return new_manifest(name, engine, {"what": "no model: scripts and timing in engine/simulated.json"})
