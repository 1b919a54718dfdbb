"""The command nemotron-eval."""

from __future__ import annotations

import argparse
import os
import sys
from contextlib import suppress
from importlib import import_module

from nemotron_evals.errors import EvalError
from nemotron_serving.command_line import Parser

_FAILURE, _INTERRUPTED = 2, 130

_COMMANDS = {
    "run": "ask the card's benchmarks of an endpoint, and score the answers",
    "report": "the table and a page of a run, beside the card's figures",
    "gate": "whether one engine may replace another",
    "estimate": "tokens, hours and what the repeats can tell, before you start",
}

_EPILOG = """\
examples:
  nemotron-eval run http://gpu-1:9000/v1 -o runs/bf16
                              the card's table; the same command goes on after an interruption
  nemotron-eval run http://gpu-1:9000/v1 -o runs/quick --tasks math500,ifeval --limit 20
                              a quick look: not comparable with the card
  nemotron-eval report runs/bf16
                              the table again, and a page
  nemotron-eval gate runs/bf16 runs/fp8
                              may the FP8 engine replace the BF16 one?
  nemotron-eval estimate      what it will take

Results go to standard output, everything else to standard error.
exit status:
  0    done; the gate is passed
  1    the gate is failed
  2    wrong usage, missing data or a run that could not be made; the gate is undecided
  3    no endpoint, or it does not answer as one of OpenAI's API
  130  interrupted; the same command goes on
"""


def main(argv: list[str] | None = None) -> int:
    """Run the command.

    Returns:
        The exit status, see `nemotron-eval --help`.
    """
    options = _parser().parse_args(argv)
    try:
        return int(import_module(f"nemotron_evals.{options.command}").main(options))
    except KeyboardInterrupt:
        _complain("interrupted; the same command goes on" if options.command == "run" else "interrupted")
        return _INTERRUPTED
    except EvalError as error:
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
        sys.stderr.write(f"nemotron-eval: {message}\n")


def _parser() -> argparse.ArgumentParser:
    shape = argparse.RawDescriptionHelpFormatter
    parser = Parser(
        prog="nemotron-eval",
        description="The model card's benchmarks against an endpoint, and an accuracy gate for engines.",
        epilog=_EPILOG,
        formatter_class=shape,
    )
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", dest="command", required=True)
    for name, line in _COMMANDS.items():
        module = import_module(f"nemotron_evals.{name}")
        command = commands.add_parser(name, help=line, description=module.__doc__, formatter_class=shape)
        module.add_arguments(command)
    return parser
