"""Commands that tell before a build what comes of it: profiles, plan."""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from nemotron_build.cli.options import INT32, add_limits, asked_limits, fitted_profile
from nemotron_serving.command_line import path, whole

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

    from nemotron_build.plan.model import PlannedModel
    from nemotron_build.profiles import Profile

_PROFILES = "List the built-in profiles, or print one as TOML to start your own from."
_PLAN = """\
Tell whether a model fits and how fast it will be, from its config.json and the headers of its weights. Nothing is
loaded and no GPU is needed. Without CHECKPOINT the model is Nemotron Nano 8B, whose shape is known. Without --gpu and
--profile the GPU is the one of this machine.
"""
_PLAN_EPILOG = """\
examples:
  nemotron-build plan --gpu h100                           BF16, with limits that fit
  nemotron-build plan --profile h100-fp8 --plot plan.png
  nemotron-build plan ~/Nemotron-Nano-8B --gpu rtx-4090 --precision fp8 --input-tokens 500 --output-tokens 8000
  nemotron-build plan --validate                           the estimates against NVIDIA's published figures

GPUs: h100, h200, a100 (80 GB), l40s, rtx-3090, rtx-4090, rtx-5090.
"""


def add_commands(commands: Any) -> None:
    """Add them to the parser's subcommands."""
    profiles = commands.add_parser("profiles", help="what can be built for which hardware", description=_PROFILES)
    profiles.formatter_class = argparse.RawDescriptionHelpFormatter
    profiles.epilog = "examples:\n  nemotron-build profiles\n  nemotron-build profiles cpu-int4 > mine.toml\n"
    profiles.set_defaults(run=_profiles)
    profiles.add_argument("profile", nargs="?", metavar="PROFILE", help="a name, or the path of a TOML file")
    profiles.add_argument("--json", action="store_true", help="print JSON")

    plan = commands.add_parser(
        "plan",
        help="does it fit, how many requests at once, how fast",
        description=_PLAN,
        epilog=_PLAN_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    plan.set_defaults(run=_plan)
    _add_plan_options(plan)


def _add_plan_options(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add(
        "checkpoint",
        nargs="?",
        type=path,
        metavar="CHECKPOINT",
        help="a Hugging Face checkpoint, or a GGUF file",
    )
    add("--profile", metavar="P", help="a built-in profile, or the path of a TOML file")
    add("--gpu", metavar="NAME", help="plan for this GPU")
    add("--precision", choices=("bf16", "fp8", "int8", "int4"), help="of the weights")
    add("--kv-cache", choices=("bf16", "fp8"), help="of the KV cache")
    add("--tp", type=whole(1), metavar="N", help="GPUs to spread the model over")
    add_limits(parser)
    add("--input-tokens", type=whole(1, INT32), metavar="N", help="of the requests to estimate for (1024)")
    add("--output-tokens", type=whole(1, INT32), metavar="N", help="of the requests to estimate for (1024)")
    add("--plot", type=path, metavar="FILE.png", help="draw throughput and latency against the batch")
    add("--json", action="store_true", help="print JSON")
    add("--validate", action="store_true", help="compare the estimates with published figures instead")


def _profiles(arguments: argparse.Namespace, _: Console) -> str | None:
    import msgspec

    from nemotron_build.plan.report import profiles_table
    from nemotron_build.profiles import builtin_profiles, load_profile, profile_text

    if arguments.json:
        chosen = [load_profile(arguments.profile)] if arguments.profile else builtin_profiles()
        return json.dumps(msgspec.to_builtins(chosen), indent=2)
    if arguments.profile:
        return profile_text(arguments.profile).rstrip()
    _print(profiles_table(builtin_profiles()))
    return None


def _plan(arguments: argparse.Namespace, console: Console) -> str | None:
    from nemotron_build.plan.model import read_model

    if arguments.validate:
        return _validate(arguments.json)
    source = read_model(arguments.checkpoint)
    profile = _asked_profile(arguments)
    if profile is not None and profile.target == "openvino":
        return _plan_cpu(arguments, source, profile)
    return _plan_gpu(arguments, source, profile, console)


def _validate(as_json: bool) -> str | None:
    from nemotron_build.plan.report import validation_document, validation_table
    from nemotron_build.plan.validation import compare_latency, compare_throughput

    throughput, latency = compare_throughput(), compare_latency()
    if as_json:
        return json.dumps(validation_document(throughput, latency), indent=2)
    _print(validation_table(throughput, latency))
    return None


def _plan_cpu(arguments: argparse.Namespace, source: PlannedModel, profile: Profile) -> str | None:
    from nemotron_build.errors import UsageError
    from nemotron_build.machine import machine_memory
    from nemotron_build.plan.plan import make_cpu_plan
    from nemotron_build.plan.report import cpu_plan_table, plan_document

    for_gpus = [name for name in ("gpu", "tp", "max_num_tokens", "plot") if getattr(arguments, name)]
    if for_gpus:
        option = for_gpus[0].replace("_", "-")
        raise UsageError(f"Profile {profile.name} is for CPUs, and --{option} is for GPUs. Leave it out.")
    profile, notes = fitted_profile(arguments, profile, source.shape)
    plan = make_cpu_plan(source.shape, profile, machine_memory())
    plan = replace(plan, notes=notes + plan.notes)
    if arguments.json:
        return json.dumps(plan_document(plan, source), indent=2)
    _print(cpu_plan_table(plan, source))
    return None


def _plan_gpu(
    arguments: argparse.Namespace, source: PlannedModel, asked: Profile | None, console: Console
) -> str | None:
    from nemotron_build.plan.gpus import detect_gpu, find_gpu
    from nemotron_build.plan.limits import suggested_profile
    from nemotron_build.plan.plan import default_workload, make_plan, throughput_curve
    from nemotron_build.plan.report import draw_plan, plan_document, plan_table
    from nemotron_build.plan.roofline import Workload

    notes: tuple[str, ...] = ()
    if asked:
        asked, notes = fitted_profile(arguments, asked, source.shape)
    name = arguments.gpu or (asked.gpu if asked else None)
    gpu = find_gpu(name) if name else detect_gpu()
    profile = asked or _adjust(
        arguments,
        suggested_profile(
            source.shape, gpu, arguments.precision or "bf16", arguments.kv_cache or "bf16", arguments.tp or 1
        ),
    )
    usual = default_workload(profile.limits.max_seq_len)
    workload = Workload(arguments.input_tokens or usual.input_tokens, arguments.output_tokens or usual.output_tokens)
    plan = make_plan(source.shape, gpu, profile, workload)
    plan = replace(plan, notes=notes + plan.notes)
    if arguments.plot:
        draw_plan(plan, throughput_curve(source.shape, gpu, profile, plan), arguments.plot)
        console.print(f"Drew {arguments.plot}", markup=False, highlight=False, soft_wrap=True)
    if arguments.json:
        return json.dumps(plan_document(plan, source), indent=2)
    _print(plan_table(plan, source))
    return None


def _asked_profile(arguments: argparse.Namespace) -> Profile | None:
    """The profile that was named, with what the other options change; None where none was."""
    from nemotron_build.profiles import load_profile

    return _adjust(arguments, load_profile(arguments.profile)) if arguments.profile else None


def _adjust(arguments: argparse.Namespace, profile: Profile) -> Profile:
    """The profile with what was asked for in options, checked as one that is read from a file is."""
    from nemotron_build.profiles import changed_profile

    given = {
        "precision": arguments.precision,
        "kv_cache": arguments.kv_cache,
        "tp_size": arguments.tp,
    }
    named = {name: value for name, value in given.items() if value is not None}
    return changed_profile(profile, named | asked_limits(arguments))


def _print(what: RenderableType) -> None:
    """To standard output, where what was asked for belongs."""
    from rich.console import Console

    Console(highlight=False).print(what)
