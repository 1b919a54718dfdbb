"""The command nemotron-bench."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import NoReturn

from nemotron_loadtest.cli.compare import add_compare
from nemotron_loadtest.cli.options import INTERRUPTED
from nemotron_loadtest.cli.run import add_report, add_run, add_scenarios, add_self_test
from nemotron_loadtest.cli.sweep import add_capacity, add_sweep
from nemotron_loadtest.errors import LoadTestError

_FAILURE, _USAGE = 2, 2

_EPILOG = """\
examples:
  nemotron-bench scenarios             what there is to run
  nemotron-bench run quick             run it, and print its results
  nemotron-bench run chat.toml --url grpc://gpu-1:8001 --slo interactive
                                       and judge it by an SLO: exit status 0 or 1
  nemotron-bench run chat.toml --url http://gpu-2:8000/v1 --model NAME
                                       the same against any server with OpenAI's API
  nemotron-bench sweep chat.toml --slo interactive --low 1 --high 64
                                       the highest rate that still meets the SLO
  nemotron-bench compare results/before results/after
                                       what has changed, and what is noise
  nemotron-bench capacity results/sweep --peak 200
                                       how many replicas that traffic needs
  nemotron-bench self-test             what the load generator itself can take on this machine

Results go to standard output, everything else to standard error.
exit status:
  0    done; with an SLO, it is met
  1    the SLO is not met
  2    wrong usage, a scenario that cannot be used, or a run that could not be made
  3    no server, or it died in mid-run; what was measured until then is kept
  130  interrupted; what was measured is kept
"""


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in one line; the usage is a --help away."""

    def error(self, message: str) -> NoReturn:
        self.exit(_USAGE, f"{self.prog}: {message}. See '{self.prog} --help'.\n")


def main(argv: list[str] | None = None) -> int:
    """Run the command.

    Returns:
        The exit status, see `nemotron-bench --help`.
    """
    arguments = _parser().parse_args(argv)
    action: Callable[[argparse.Namespace], int] = arguments.action
    try:
        return action(arguments)
    except KeyboardInterrupt:
        _complain("interrupted")
        return INTERRUPTED
    except LoadTestError as error:
        _complain(str(error))
        return error.exit_status
    except BrokenPipeError:  # who read the output has gone, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _FAILURE
    except OSError as error:
        _complain(str(error))
        return _FAILURE


def _complain(message: str) -> None:
    with suppress(OSError):  # a terminal that was closed
        sys.stderr.write(f"nemotron-bench: {message}\n")


def _parser() -> argparse.ArgumentParser:
    shape = argparse.RawDescriptionHelpFormatter
    parser = _Parser(
        prog="nemotron-bench",
        description="Load tests that tell the truth about a thinking model.",
        epilog=_EPILOG,
        formatter_class=shape,
    )
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for add in (add_run, add_report, add_sweep, add_compare, add_capacity, add_scenarios, add_self_test):
        add(commands)
    return parser
