"""Profiles: what to build, for which hardware, within which limits. One small TOML file each, found and read here."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any, Literal, get_args, get_type_hints

import msgspec

from nemotron_build.errors import BuildError, UsageError
from nemotron_serving.errors import did_you_mean

Precision = Literal["bf16", "fp8", "int8", "int4"]
KvCache = Literal["bf16", "fp8"]

_BUILTIN = Path(__file__).parent
_CPU_PRECISIONS = ("bf16", "int8", "int4")
_GPU_PRECISIONS = ("bf16", "fp8")
_UNKNOWN = re.compile(r"unknown field `(?P<field>.*)`")
_MISSING = re.compile(r"missing required field `(?P<field>.*)`")
_HEADER = re.compile(r"\s*\[\s*(?P<name>[\w.-]+)\s*\]")
_KEY = re.compile(r"\s*[\"']?(?P<name>[\w-]+)[\"']?\s*=")
# A CPU's KV cache has 16 bits, its weights are quantized without texts, and converting has its own accuracy check.
_FOR_GPUS = ("kv_cache", "flow", "tp_size", "calibration", "accuracy", "build_options")


class ProfileLimits(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Sizes that the engine is built for and the package promises.

    Attributes:
        max_batch_size: Requests generating at once.
        max_seq_len: Prompt plus output tokens of one request.
        max_num_tokens: Tokens that one step of the engine processes, over all requests.
        max_waiting: Requests queued behind the running ones.
        max_tokens: Output tokens of a request that names no max_tokens.
    """

    max_batch_size: int
    max_seq_len: int
    max_num_tokens: int = 8192
    max_waiting: int = 256
    max_tokens: int = 4096


class Calibration(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How FP8's scales are measured.

    Attributes:
        samples: Prompts read from the calibration data.
        max_tokens: How many tokens of each prompt are used.
    """

    samples: int = 512
    max_tokens: int = 512


class Accuracy(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a quantized checkpoint has to reach against its source, on prompts that were not calibrated with.

    Attributes:
        min_top1_agreement: Share of positions at which both find the same token most likely.
        max_mean_kl: Mean of KL(source || quantized) over positions, in nats.
        max_perplexity_ratio: Perplexity of the quantized over that of the source.
    """

    min_top1_agreement: float = 0.90
    max_mean_kl: float = 0.05
    max_perplexity_ratio: float = 1.05


class Profile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What to build.

    Attributes:
        name: The file's name without `.toml`.
        description: One line for `nemotron-build profiles`.
        target: `tensorrt_llm` for GPUs, `openvino` for CPUs: the engine that serves the package.
        precision: How the weights are stored.
        kv_cache: How the KV cache is stored. FP8 halves it and costs accuracy in long thinking. A CPU has 16 bits.
        gpu: A name of the GPU table, or None for a CPU.
        flow: For GPUs: `engine` compiles a TensorRT engine, `pytorch` serves the checkpoint as it is.
        tp_size: GPUs that one server is spread over.
        limits: Sizes to build for and to promise.
        calibration: How FP8's scales are measured.
        accuracy: What an FP8 checkpoint has to reach.
        build_options: Further options of trtllm-build, by their names without the dashes.
    """

    name: str
    description: str
    target: Literal["tensorrt_llm", "openvino"]
    precision: Precision
    limits: ProfileLimits
    kv_cache: KvCache = "bf16"
    gpu: str | None = None
    flow: Literal["engine", "pytorch"] = "engine"
    tp_size: int = 1
    calibration: Calibration = Calibration()
    accuracy: Accuracy = Accuracy()
    build_options: dict[str, str | int] = {}

    @property
    def quantizes(self) -> bool:
        """Whether weights, KV cache or both become FP8, with scales that are measured on texts."""
        return "fp8" in (self.precision, self.kv_cache)

    @property
    def compiles(self) -> bool:
        """Whether an engine is compiled, which needs the GPU."""
        return self.target == "tensorrt_llm" and self.flow == "engine"


_FIELDS: dict[str, type[msgspec.Struct]] = {
    "": Profile,
    "limits": ProfileLimits,
    "calibration": Calibration,
    "accuracy": Accuracy,
}


def builtin_profiles() -> list[Profile]:
    """The profiles that ship, by name."""
    return [_read(path) for path in sorted(_BUILTIN.glob("*.toml"))]


def load_profile(name_or_path: str) -> Profile:
    """Find a profile: a built-in name, or the path of a TOML file.

    Raises:
        BuildError: no such profile, no TOML, or a field that is unknown, missing or impossible.
    """
    return _read(_find(name_or_path))


def profile_text(name_or_path: str) -> str:
    """The TOML of a profile, to start one's own from.

    Raises:
        BuildError: see `load_profile`.
    """
    load_profile(name_or_path)
    return _find(name_or_path).read_text(encoding="utf-8-sig")


def changed_profile(profile: Profile, changes: dict[str, Any]) -> Profile:
    """A profile with other values, those of its limits included.

    Args:
        profile: Stays as it is.
        changes: By the names of the fields of `Profile` and `ProfileLimits`.

    Raises:
        BuildError: a value that the profile's target does not take.
    """
    of_limits = {name: value for name, value in changes.items() if name in ProfileLimits.__struct_fields__}
    of_profile = {name: value for name, value in changes.items() if name not in of_limits}
    limits = msgspec.structs.replace(profile.limits, **of_limits)
    # A profile for short sequences must not promise longer outputs by default.
    limits = msgspec.structs.replace(limits, max_tokens=min(limits.max_tokens, max(1, limits.max_seq_len // 2)))
    changed = msgspec.structs.replace(profile, **of_profile, limits=limits)
    _check(changed, profile.name)
    return changed


def _find(name_or_path: str) -> Path:
    path = Path(name_or_path)
    if path.suffix != ".toml":
        path = _BUILTIN / f"{name_or_path}.toml"
    if not path.is_file():
        known = [file.stem for file in sorted(_BUILTIN.glob("*.toml"))]
        meant = did_you_mean(name_or_path, known) or "."
        raise UsageError(
            f"There is no profile {name_or_path!r}{meant} Name one of {', '.join(known)}, or the path of a .toml file."
        )
    return path


def _read(path: Path) -> Profile:
    text = ""
    try:
        text = path.read_text(encoding="utf-8-sig")
        content = tomllib.loads(text)
        profile = msgspec.convert({"name": path.stem, **content}, Profile)
    except msgspec.ValidationError as error:
        raise BuildError(f"Profile {path}{_explained(str(error), text)}") from error
    except (OSError, ValueError) as error:
        raise BuildError(f"Profile {path} cannot be used: {error}.") from error
    _check(profile, str(path))
    return profile


def _explained(error: str, text: str) -> str:
    """A fault that msgspec found, with its line and, for an unknown field, the nearest that there is."""
    what, _, place = error.partition(" - at `$.")
    table, _, name = place.rstrip("`").rpartition(".")
    if (unknown := _UNKNOWN.search(what)) is None:
        line = _line_of(text, table, name)
        if missing := _MISSING.search(what):
            return (
                f"{f', line {line}' if line else ''}: {missing['field']} is missing{f' in [{name}]' if name else ''}."
            )
        if what.startswith("Invalid enum value"):
            what += f", expected one of {', '.join(get_args(get_type_hints(_FIELDS[table])[name]))}"
        return f"{f', line {line}' if line else ''}: {f'{name}: ' if name else ''}{what}."
    table, name = place.rstrip("`"), unknown["field"]
    line, known = _line_of(text, table, name), [*_FIELDS[table].__struct_fields__]
    meant = did_you_mean(name, known) or f"; expected are {', '.join(known)}."
    return f", line {line}: there is no field {name!r}{f' in [{table}]' if table else ''}{meant}"


def _line_of(text: str, table: str, name: str) -> int | None:
    """The number of the line that sets a field, from 1, or that begins the table of this name."""
    within = ""
    for number, line in enumerate(text.splitlines(), start=1):
        if header := _HEADER.match(line):
            within = header["name"]
            if not table and within == name:
                return number
        elif (key := _KEY.match(line)) and (within, key["name"]) in ((table, name), ("", table)):
            return number
    return None


def _check(profile: Profile, path: str) -> None:
    on_gpu = profile.target == "tensorrt_llm"
    precisions = _GPU_PRECISIONS if on_gpu else _CPU_PRECISIONS
    if profile.precision not in precisions:
        raise BuildError(
            f"Profile {path}: precision is {profile.precision!r}; "
            f"target {profile.target} takes {', '.join(precisions)}."
        )
    if on_gpu == (profile.gpu is None):
        raise BuildError(
            f"Profile {path}: gpu is {profile.gpu!r}; target tensorrt_llm needs a name, target openvino has none."
        )
    plain = Profile(profile.name, "", profile.target, profile.precision, profile.limits)
    for name in () if on_gpu else _FOR_GPUS:
        if getattr(profile, name) != getattr(plain, name):
            raise BuildError(f"Profile {path}: {name} is for target tensorrt_llm. Leave it out for target openvino.")
    for name, value in {**msgspec.structs.asdict(profile.limits), "tp_size": profile.tp_size}.items():
        least = 0 if name == "max_waiting" else 1
        if not least <= value < 2**31:
            raise BuildError(f"Profile {path}: {name} is {value}, expected at least {least}, at most {2**31 - 1}.")
    if profile.limits.max_tokens >= profile.limits.max_seq_len:
        raise BuildError(
            f"Profile {path}: max_tokens {profile.limits.max_tokens} leaves no room for a prompt in max_seq_len "
            f"{profile.limits.max_seq_len}. Lower max_tokens."
        )
