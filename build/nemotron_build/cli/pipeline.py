"""Commands that make a package of a checkpoint: build, and each of its stages alone."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nemotron_build.cli.options import add_limits, fitted_profile, limit_arguments, named_profile
from nemotron_serving.command_line import path

if TYPE_CHECKING:
    from rich.console import Console

    from nemotron_build.pipeline.request import Request

_BUILD = """\
Make a package of a downloaded checkpoint: check, convert (BF16) or quantize (FP8), verify, compile, package. A profile
says for which hardware and within which limits; 'nemotron-build profiles' lists them.

Work happens in a directory beside the package, .PACKAGE-build, and the package appears when it is complete. What was
finished stays there after ctrl-C or a failure, and the same command goes on from it; a stage is redone when something
changed that it depends on.
"""
_CHECK = """\
Check a checkpoint from its config.json, the headers of its weights and its tokenizer, or a GGUF file from its fields.
Nothing is made, and no code of it is run.
"""
_CONVERT = """\
Convert a checkpoint to what TensorRT-LLM reads: its own format for profiles that compile an engine, a Hugging Face
checkpoint for those with flow = "pytorch". For a CPU profile the CHECKPOINT may be a GGUF file, and the result is what
OpenVINO reads, with a tokenizer.json.
"""
_QUANTIZE = """\
Quantize a checkpoint to FP8, weights, KV cache or both as the profile says, to TensorRT-LLM's own format or to a
Hugging Face checkpoint. The scales are measured on texts: a set that ships, or a .txt or .jsonl file of yours.
"""
_COMPILE = """\
Compile a converted checkpoint with trtllm-build, and compare the engine with the profile. It needs the GPU that the
profile names, and TensorRT-LLM 1.2.1, which the serving image has.
"""
_PACKAGE = """\
Make a package of what the other stages left: the engine's files, the checkpoint's tokenizer, rules and limits.
"""

_EXAMPLES = {
    "build": """\
  nemotron-build build ~/Llama-3.1-Nemotron-Nano-8B-v1 --profile h100-fp8 -o packages/nano --dry-run
  nemotron-build build Nano.Q4_K_M.gguf --profile cpu-int4 -o packages/nano-cpu --max-seq-len 8192
""",
    "check": "  nemotron-build check ~/Llama-3.1-Nemotron-Nano-8B-v1 --scan-values\n",
    "convert": "  nemotron-build convert ~/Llama-3.1-Nemotron-Nano-8B-v1 --profile h100-bf16 -o converted\n",
    "quantize": "  nemotron-build quantize ~/Llama-3.1-Nemotron-Nano-8B-v1 --profile h100-fp8 -o converted\n",
    "compile": "  nemotron-build compile converted --profile h100-fp8 -o engine --dry-run\n",
    "package": """\
  nemotron-build package ~/Llama-3.1-Nemotron-Nano-8B-v1 --engine engine --profile h100-fp8 -o packages/nano
""",
}


def add_commands(commands: Any) -> None:
    """Add them to the parser's subcommands."""
    build = _command(commands, "build", "from a checkpoint to a package, all stages", _BUILD)
    build.set_defaults(run=_build)
    add_build_arguments(build)

    check = _command(commands, "check", "is a checkpoint whole and of the right kind", _CHECK)
    check.set_defaults(run=_check)
    _add_checkpoint(check)
    _add_scan(check)

    for name, text, description in (
        ("convert", "to BF16 for TensorRT-LLM, or for OpenVINO", _CONVERT),
        ("quantize", "to FP8 for TensorRT-LLM", _QUANTIZE),
    ):
        convert = _command(commands, name, text, description)
        convert.set_defaults(run=_convert, command=name)
        _add_checkpoint(convert)
        _add_profile(convert)
        _add_directory(convert)
        if name == "quantize":
            _add_calibration(convert)

    compile_ = _command(commands, "compile", "an engine, with trtllm-build", _COMPILE)
    compile_.set_defaults(run=_compile)
    compile_.add_argument("converted", type=path, metavar="CONVERTED", help="what convert or quantize made")
    _add_profile(compile_)
    _add_directory(compile_)
    compile_.add_argument("--dry-run", action="store_true", help="only print the command")

    package = _command(commands, "package", "engine files and tokenizer to a package", _PACKAGE)
    package.set_defaults(run=_package)
    _add_checkpoint(package)
    package.add_argument("--engine", type=path, required=True, metavar="DIR", help="engine, or converted checkpoint")
    package.add_argument("--accuracy", type=path, metavar="FILE", help="figures that verify wrote")
    _add_profile(package)
    _add_package(package)


def add_build_arguments(parser: argparse.ArgumentParser) -> None:
    """Add all of `build`'s; `container build` has them too."""
    _add_checkpoint(parser)
    _add_profile(parser)
    _add_package(parser)
    _add_calibration(parser)
    add = parser.add_argument
    add("--held-out", type=path, metavar="FILE", help="texts to measure accuracy with, as --calibration")
    _add_scan(parser)
    add("--work", type=path, metavar="DIR", help="working directory (.PACKAGE-build, beside the package)")
    add("--keep-work", action="store_true", help="leave it after success")
    add("--dry-run", action="store_true", help="only print the commands, with space and time to expect; no GPU needed")


def request_of(arguments: argparse.Namespace) -> Request:
    """What the arguments ask for.

    Raises:
        BuildError: the profile or the checkpoint cannot be used.
    """
    from nemotron_build.pipeline.request import Request, open_source, source_name

    profile = named_profile(arguments)
    path = arguments.checkpoint.absolute()
    source = open_source(path, profile)
    profile, notes = fitted_profile(arguments, profile, source.shape)
    return Request(
        source=source,
        profile=profile,
        profile_argument=profile_argument(arguments.profile),
        limit_arguments=tuple(limit_arguments(arguments)),
        notes=notes,
        name=getattr(arguments, "name", None) or source_name(path),
        chat_format=getattr(arguments, "chat_format", None),
        calibration=_absolute(getattr(arguments, "calibration", None)),
        held_out=_absolute(getattr(arguments, "held_out", None)),
        scan_values=getattr(arguments, "scan_values", False),
    )


def profile_argument(name_or_path: str) -> str:
    """How to name a profile from any directory."""
    return str(Path(name_or_path).absolute()) if name_or_path.endswith(".toml") else name_or_path


def _build(arguments: argparse.Namespace, console: Console) -> str:
    from nemotron_build.pipeline.build import Place, build, dry_run
    from nemotron_build.pipeline.work import default_work
    from nemotron_build.steps import Steps

    request = request_of(arguments)
    package = arguments.package.absolute()
    work = (arguments.work or default_work(package)).absolute()
    place = Place(package, work, keep_work=arguments.keep_work, force=arguments.force)
    if arguments.dry_run:
        return dry_run(request, place)
    build(request, place, Steps(console))
    return str(arguments.package)


def _check(arguments: argparse.Namespace, console: Console) -> str:
    from nemotron_build.checkpoint.check import check_checkpoint
    from nemotron_build.pipeline.request import check_scannable, open_gguf
    from nemotron_build.pipeline.tables import checkpoint_table, gguf_table
    from nemotron_build.steps import Steps
    from nemotron_serving.paths import is_gguf

    if is_gguf(arguments.checkpoint):
        source = open_gguf(arguments.checkpoint)
        if arguments.scan_values:
            check_scannable(source)
        console.print(gguf_table(source))
        return str(arguments.checkpoint)
    with Steps(console).progress("Checking the checkpoint") as report:
        checkpoint = check_checkpoint(arguments.checkpoint, scan_values=arguments.scan_values, progress=report)
    console.print(checkpoint_table(checkpoint))
    return str(arguments.checkpoint)


def _convert(arguments: argparse.Namespace, console: Console) -> str:
    from nemotron_build.errors import UsageError
    from nemotron_build.machine import detect
    from nemotron_build.pipeline.request import check_hardware
    from nemotron_build.pipeline.run import run_alone
    from nemotron_build.pipeline.stages import convert_stage
    from nemotron_build.steps import Steps

    request = request_of(arguments)
    stage = convert_stage(request, detect())
    if stage.name != arguments.command:
        raise UsageError(
            f"Profile {request.profile.name} has {request.profile.precision} weights and a {request.profile.kv_cache} "
            f"KV cache: use 'nemotron-build {stage.name}'."
        )
    check_hardware(request)
    run_alone(stage, arguments.output, Steps(console))
    return str(arguments.output)


def _compile(arguments: argparse.Namespace, console: Console) -> str:
    import shlex

    from nemotron_build.machine import detect
    from nemotron_build.pipeline.gpu_stages import compile_alone
    from nemotron_build.pipeline.request import require_compiler
    from nemotron_build.pipeline.run import run_alone
    from nemotron_build.plan.limits import check_length
    from nemotron_build.steps import Steps
    from nemotron_build.verify.tensorrt_llm import TensorRtLlmConfig

    steps, machine = Steps(console), detect()
    stage = compile_alone(named_profile(arguments), arguments.converted.absolute(), machine)
    # As `build` does, so that `package` finds the engine that it expects.
    shape = TensorRtLlmConfig(stage.converted).shape
    if shape.max_position_embeddings:  # which other converters may leave out
        profile, notes = fitted_profile(arguments, stage.profile, shape)
        check_length(shape, profile)
        stage = replace(stage, profile=profile)
        for note in notes:
            steps.say(note)
    if arguments.dry_run:
        return "\n".join(shlex.join(command) for command in stage.commands(arguments.output.absolute()))
    require_compiler(stage.profile, machine)
    run_alone(stage, arguments.output, steps)
    return str(arguments.output)


def _package(arguments: argparse.Namespace, console: Console) -> str:
    from nemotron_build.pipeline.build import package_alone
    from nemotron_build.steps import Steps

    package_alone(
        request_of(arguments),
        arguments.package.absolute(),
        engine=arguments.engine,
        accuracy=arguments.accuracy,
        force=arguments.force,
        steps=Steps(console),
    )
    return str(arguments.package)


def _command(commands: Any, name: str, text: str, description: str) -> argparse.ArgumentParser:
    shape = argparse.RawDescriptionHelpFormatter
    parser: argparse.ArgumentParser = commands.add_parser(
        name, help=text, description=description, formatter_class=shape
    )
    parser.epilog = f"examples:\n{_EXAMPLES[name]}"
    return parser


def _add_checkpoint(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "checkpoint",
        type=path,
        metavar="CHECKPOINT",
        help="a Hugging Face checkpoint's directory; for CPUs also a GGUF file",
    )


def _add_profile(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--profile", required=True, metavar="P", help="a built-in profile, or the path of a TOML file")
    add_limits(parser.add_argument_group("limits", "in place of those of the profile"))


def _add_directory(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-o", "--output", type=path, required=True, metavar="DIR", help="directory to make")


def _add_package(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("-o", "--output", dest="package", type=path, required=True, metavar="PACKAGE", help="directory of the package")
    add("--force", action="store_true", help="replace the package that is there")
    add("--name", metavar="NAME", help="of the model (the checkpoint's name)")
    add(
        "--chat-format",
        choices=("nemotron", "chatml", "template"),
        help="how prompts are written (the one that fits the tokenizer); template is the checkpoint's own",
    )


def _add_calibration(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--calibration", type=path, metavar="FILE", help="texts for FP8's scales, .txt or .jsonl (a set that ships)"
    )


def _add_scan(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--scan-values", action="store_true", help="also read every weight, for NaN and infinity")


def _absolute(path: Path | None) -> Path | None:
    return path.absolute() if path else None
