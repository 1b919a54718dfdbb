"""nemotron-serve: the command line."""

from __future__ import annotations

import argparse
import signal
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import get_args

from nemotron_serving.command_line import Parser, number, path
from nemotron_serving.errors import PackageError
from nemotron_serving.launcher.check import check_memory, report, report_engine
from nemotron_serving.launcher.endpoints import choose_endpoints, resolve_bind
from nemotron_serving.launcher.engine_library import check_engine_library
from nemotron_serving.launcher.errors import LauncherError, SetupError
from nemotron_serving.launcher.health import HealthServer, ServerState
from nemotron_serving.launcher.limits import Need, require
from nemotron_serving.launcher.options import ADMIN_KEY_VARIABLE, ServeOptions, TlsFiles, add_options, admin_key_of
from nemotron_serving.launcher.supervise import Restart, Supervisor
from nemotron_serving.launcher.terminal import check_command, complain, open_missing_streams, say
from nemotron_serving.package import Package

_EPILOG = """\
examples:
  nemotron-serve packages/demo
      serve on this machine only, until ctrl-C
  nemotron-serve packages/demo -- pytest tests/client
      serve while a command runs; it finds NEMOTRON_URL, NEMOTRON_HTTP_URL, NEMOTRON_METRICS_URL and
      NEMOTRON_HEALTH_URL in its environment, and NEMOTRON_OPENAI_URL with --openai-port
  nemotron-serve packages/demo --openai-port 9000
      serve OpenAI's API at http://127.0.0.1:9000/v1, and a chat page at http://127.0.0.1:9000, too
  nemotron-serve packages/demo --http-port 0 --grpc-port 0 --metrics-port 0 --ready-file server.json
      serve on free ports; server.json appears when the server is ready, and holds the URLs
  nemotron-serve packages/nano --bind 0.0.0.0 --tls-cert server.crt --tls-key server.key --tls-ca clients.crt
      serve other machines, over gRPC with certificates on both sides
  nemotron-serve check packages/demo
      say what is wrong with this machine or package before starting (nemotron-serve check --help)

stopping:
  The first ctrl-C or SIGTERM drains: /ready of the health port answers 503, the ready file goes, new requests
  are refused after --drain-delay-seconds, running ones get --drain-seconds, then they are cancelled. A second one
  stops at once.

exit status:
  0         stopped on request, after draining
  1         Triton did not start, or could not be started again after a crash or a hang; the reason is printed
  2         the command line, the package or this machine is at fault; nothing was started
  3         a crash or a hang, with --restart never; the last line says what it was
  130, 143  ended at once by ctrl-C or SIGTERM: before the server was ready, or while it drained
  With COMMAND: the command's own status, once the server was ready.
"""
_CHECK_EPILOG = """\
examples:
  nemotron-serve check                  this machine, as the smallest package would need it
  nemotron-serve check packages/demo    this machine and whether the package can be served on it
  nemotron-serve check --engine         the installed TensorRT-LLM beside the release this was written for: FAIL is
                                        something that is not there, look is something of another type

exit status: 0 if nothing stands in the way, 1 if something does.
"""


def main(argv: list[str] | None = None) -> int:
    """Run nemotron-serve.

    Args:
        argv: Arguments without the program's name; None takes the process's.

    Returns:
        The exit status.
    """
    arguments = sys.argv[1:] if argv is None else argv
    open_missing_streams()
    try:
        if arguments[:1] == ["check"]:
            return _check(arguments[1:])
        return _serve(arguments)
    except PackageError as error:
        complain(str(error))
        return SetupError.exit_status
    except LauncherError as error:
        complain(str(error))
        return error.exit_status
    except OSError as error:  # of this machine: too many files open, no space, no memory for a process
        complain(f"{error}. Nothing is left running.")
        return LauncherError.exit_status
    except KeyboardInterrupt:  # before it serves: see StopSignals
        say("Stopped at once.")
        return 128 + signal.SIGINT


def _serve(arguments: list[str]) -> int:
    own, command = _split(arguments)
    given = _serve_parser().parse_args(own)
    options = ServeOptions.of_arguments(
        given, bind=resolve_bind(given.bind), tls=TlsFiles.of_arguments(given), admin_key=admin_key_of(given)
    )
    if options.openai_options and options.openai_port is None:
        raise SetupError("--openai-options is for the front of --openai-port PORT, which was not given.")
    if command:
        check_command(command)
    package = Package.load(given.package)
    check_engine_library(package.manifest.engine, package.engine_path)
    check_memory(package, given.kv_cache_gib)
    require(Need.of(package, given.engine_threads))
    with ExitStack() as held:
        endpoints, state = choose_endpoints(options, held), ServerState()
        # Before the files are verified: that takes a while with a large package.
        held.enter_context(HealthServer(endpoints, state))
        package.verify_files()
        return Supervisor(
            package,
            options,
            endpoints,
            state,
            drain_seconds=given.drain_seconds,
            drain_delay_seconds=given.drain_delay_seconds,
            ready_file=given.ready_file,
            restart=given.restart,
            log_stream=sys.stderr if given.verbose else None,
        ).run(command)


def _check(arguments: list[str]) -> int:
    given = _check_parser().parse_args(arguments)
    if given.engine:
        return report_engine(given.package)
    options = ServeOptions.of_arguments(given, bind=resolve_bind(given.bind), package=given.package or Path())
    return report(options, given.package)


def _split(arguments: list[str]) -> tuple[list[str], list[str]]:
    if "--" not in arguments:
        return arguments, []
    at = arguments.index("--")
    return arguments[:at], arguments[at + 1 :]


def _serve_parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="nemotron-serve",
        usage="nemotron-serve PACKAGE [options] [-- COMMAND ...]\n       nemotron-serve check [PACKAGE] [options]",
        description="Serve a package with Triton, and keep serving it: "
        "start, wait until a request was answered, restart after a crash or a hang, drain on ctrl-C.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("package", metavar="PACKAGE", type=path, help="directory made by nemotron-build")
    _add_machine_options(parser)

    add_options(parser.add_argument_group("OpenAI's API"), ["openai_options"])
    security = parser.add_argument_group("security")
    security.add_argument("--tls-cert", metavar="FILE", type=path, help="certificate of the server, PEM: gRPC over TLS")
    security.add_argument("--tls-key", metavar="FILE", type=path, help="its private key, PEM")
    security.add_argument(
        "--tls-ca", metavar="FILE", type=path, help="authority that clients' certificates must come from (mutual TLS)"
    )
    add_options(security, ["admin_key"])
    security.add_argument(
        "--admin-key-file",
        metavar="FILE",
        type=path,
        help=f"file with that key, as secrets are mounted; without either, {ADMIN_KEY_VARIABLE} may have it",
    )
    add_options(security, ["stops"])
    add_options(parser.add_argument_group("engine"), ["engine_threads", "kv_cache_gib", "stream_interval_ms"])

    running = parser.add_argument_group("running")
    add_options(running, ["start_seconds", "hang_seconds"])
    running.add_argument(
        "--drain-seconds",
        metavar="S",
        type=number(least=0),
        default=Supervisor.drain_seconds,
        help="time for running requests when the server stops (default: %(default)g)",
    )
    running.add_argument(
        "--drain-delay-seconds",
        metavar="S",
        type=number(least=0),
        default=Supervisor.drain_delay_seconds,
        help="time before that for which new requests are still taken: what balancers need to see that /ready says no "
        "(default: %(default)g)",
    )
    running.add_argument(
        "--ready-file", metavar="FILE", type=path, help="write URLs and process ids, as JSON, while the server serves"
    )
    running.add_argument(
        "--restart",
        choices=get_args(Restart),
        default=Supervisor.restart,
        help="what becomes of a crash or a hang: always, Triton or the front is started again here; never, this "
        "program ends with status 3, for an orchestrator to start all of it again (default: %(default)s)",
    )
    add_options(running, ["log_dir"])
    running.add_argument("--verbose", action="store_true", help="show Triton's log")
    return parser


def _check_parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="nemotron-serve check",
        description="Say what is wrong with this machine or a package before starting a server.",
        epilog=_CHECK_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("package", metavar="PACKAGE", type=path, nargs="?", help="directory made by nemotron-build")
    parser.add_argument(
        "--engine",
        action="store_true",
        help="compare the interface of the installed TensorRT-LLM with the recorded one, and nothing else",
    )
    add_options(parser, ["kv_cache_gib"])
    _add_machine_options(parser)
    return parser


def _add_machine_options(parser: argparse.ArgumentParser) -> None:
    where = parser.add_argument_group("where to listen")
    add_options(where, ["bind", "http_port", "grpc_port", "metrics_port", "health_port", "openai_port"])
    add_options(parser.add_argument_group("Triton"), ["tritonserver", "model_repository"])
