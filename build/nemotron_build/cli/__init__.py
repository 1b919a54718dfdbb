"""The command nemotron-build."""

from __future__ import annotations

import argparse
import errno
import re
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from types import FrameType
from typing import TYPE_CHECKING, NoReturn

from nemotron_build.cli import container, packages, pipeline, planning
from nemotron_build.errors import BuildError, DiskSpaceError, VerificationError
from nemotron_serving.command_line import Parser
from nemotron_serving.errors import PackageError

if TYPE_CHECKING:
    from rich.console import Console

_FAILURE, _INTERRUPTED = 1, 130
_BYTES = re.compile("[\udc80-\udcff]")  # how Python spells what is not UTF-8 in a name
_ENDING = (signal.SIGTERM, signal.SIGHUP)
_KEPT = "What was finished is used at the next run, nothing else is left."

_EPILOG = """\
examples:
  nemotron-build profiles                          what can be built for which hardware
  nemotron-build plan CHECKPOINT --profile h100-fp8
                                                   does it fit, how fast will it be
  nemotron-build build CHECKPOINT --profile h100-fp8 -o packages/nano
                                                   from a downloaded checkpoint to a package
  nemotron-build container build CHECKPOINT --profile h100-fp8 -o packages/nano --run
                                                   the same inside the serving image, which has TensorRT-LLM
  nemotron-build build MODEL.gguf --profile cpu-int4 -o packages/nano-cpu
                                                   for a CPU
  nemotron-build demo                              a small real model for the CPU, in packages/demo
  nemotron-build simulated --ttft-ms 80 --token-ms 9
                                                   no model: an engine with this timing
  nemotron-build verify packages/nano --run        is it whole, and does it answer?
  nemotron-serve packages/nano                     serve it
  nemotron-build container serve packages/nano --run
                                                   the same inside the serving image

What was made goes to standard output, everything else to standard error.
exit status:
  0    done
  1    failed for another reason
  2    wrong usage: an option, a profile or a GPU that does not exist, options that do not go together
  3    the checkpoint cannot be used
  4    not possible with this GPU, model or machine
  5    verification failed: something differs from what it has to be, or a package is damaged
  6    no space left
  130  interrupted; 143 terminated, 129 the terminal was closed
With container --run it is docker's, which hands on the build's.
"""


def main(argv: list[str] | None = None) -> int:
    """Run the command.

    Returns:
        The exit status, see `nemotron-build --help`.
    """
    arguments = _parse(sys.argv[1:] if argv is None else argv)
    run: Callable[[argparse.Namespace, Console], str | None] = arguments.run
    # What is ignored stays so: that is how nohup lets a build outlive its terminal.
    previous = {number: signal.signal(number, _end) for number in _ENDING if signal.getsignal(number) != signal.SIG_IGN}
    try:
        return _run(run, arguments)
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def _parse(argv: list[str]) -> argparse.Namespace:
    """Parse the command line. What stands behind `--` is another program's where the command says so."""
    parser, at = _parser(), argv.index("--") if "--" in argv else len(argv)
    if argv[:2] != ["container", "serve"]:
        return parser.parse_args(argv)
    arguments = parser.parse_args(argv[:at])
    arguments.behind = argv[at + 1 :]
    return arguments


def _end(number: int, _: FrameType | None) -> NoReturn:
    """End as after ctrl-C, with the status of the signal. Another one does not disturb the cleaning up."""
    for each in _ENDING:
        signal.signal(each, signal.SIG_IGN)
    sys.exit(128 + number)


def _run(run: Callable[[argparse.Namespace, Console], str | None], arguments: argparse.Namespace) -> int:
    try:
        from rich.console import Console

        made = run(arguments, Console(stderr=True))
    except KeyboardInterrupt as interrupt:
        _complain(str(interrupt) or f"interrupted. {_KEPT}")
        return _INTERRUPTED
    except SystemExit:
        _complain(f"terminated. {_KEPT}")
        raise
    except ModuleNotFoundError as error:
        _complain(f"{error}. Install what builds need, in this project's checkout: pip install '.[build]'.")
        return _FAILURE
    except BuildError as error:
        _complain(str(error))
        return error.exit_status
    except PackageError as error:
        _complain(str(error))
        return VerificationError.exit_status
    except (OSError, UnicodeEncodeError) as error:
        if isinstance(error, UnicodeEncodeError) and not _BYTES.search(error.object):
            raise
        full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
        _complain(_told(error) + (" Free some room there." if full else ""))
        return DiskSpaceError.exit_status if full else _FAILURE
    if made is not None:
        sys.stdout.write(f"{made}\n")
    return 0


def _told(error: OSError | UnicodeEncodeError) -> str:
    if isinstance(error, OSError):
        return f"{error}."
    return f"the path {error.object!a} is not in UTF-8, which some libraries cannot be told. Rename it."


def _complain(message: str) -> None:
    with suppress(OSError):  # a terminal that was closed
        sys.stderr.write(f"nemotron-build: {message}\n")


def _parser() -> argparse.ArgumentParser:
    shape = argparse.RawDescriptionHelpFormatter
    parser = Parser(prog="nemotron-build", description="Make packages for nemotron-serve.", formatter_class=shape)
    parser.epilog = _EPILOG
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for part in (planning, pipeline, container, packages):
        part.add_commands(commands)
    return parser
