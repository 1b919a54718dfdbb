"""nemotron-serve: the command line."""

from __future__ import annotations

import argparse
import dataclasses
import re
import signal
import ssl
import sys
from pathlib import Path
from typing import get_args

from nemotron_serving.command_line import Parser, number, path, whole
from nemotron_serving.contract import CALLER
from nemotron_serving.errors import PackageError
from nemotron_serving.host import StopRule
from nemotron_serving.launcher.check import check_memory, report, report_engine
from nemotron_serving.launcher.endpoints import choose_endpoints, resolve_bind
from nemotron_serving.launcher.engine_library import check_engine_library
from nemotron_serving.launcher.errors import LauncherError, SetupError
from nemotron_serving.launcher.health import HealthServer, ServerState
from nemotron_serving.launcher.limits import Need, require
from nemotron_serving.launcher.options import ServeOptions, TlsFiles
from nemotron_serving.launcher.supervise import Supervisor
from nemotron_serving.launcher.terminal import check_command, complain, open_missing_streams, say
from nemotron_serving.package import Package

_DRAIN_SECONDS = 30.0
_LEAST_HANG_SECONDS = 1.0  # twice the time between two signs of life
_MOST_HANG_SECONDS = 86_400.0  # a day; no thread can wait for any number of seconds
_MOST_THREADS = 4096
_MOST_GIB = 1 << 20
_EPILOG = """\
examples:
  nemotron-serve packages/demo
      serve on this machine only, until ctrl-C
  nemotron-serve packages/demo -- pytest tests/client
      serve while a command runs; it finds NEMOTRON_URL, NEMOTRON_HTTP_URL, NEMOTRON_METRICS_URL and
      NEMOTRON_HEALTH_URL in its environment
  nemotron-serve packages/demo --http-port 0 --grpc-port 0 --metrics-port 0 --ready-file server.json
      serve on free ports; server.json appears when the server is ready, and holds the URLs
  nemotron-serve packages/nano --bind 0.0.0.0 --tls-cert server.crt --tls-key server.key --tls-ca clients.crt
      serve other machines, over gRPC with certificates on both sides
  nemotron-serve check packages/demo
      say what is wrong with this machine or package before starting (nemotron-serve check --help)

stopping:
  The first ctrl-C or SIGTERM drains: /ready of the health port answers 503, the ready file goes, new requests
  are refused, running ones get --drain-seconds, then they are cancelled. A second one stops at once.

exit status:
  0         stopped on request, after draining
  1         Triton did not start, or could not be started again after a crash or a hang; the reason is printed
  2         the command line, the package or this machine is at fault; nothing was started
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
    options = dataclasses.replace(
        _machine_options(given),
        package=given.package,
        tls=_tls_files(given),
        admin_key=given.admin_key,
        engine_threads=given.engine_threads,
        kv_cache_gib=given.kv_cache_gib,
        stream_interval_ms=given.stream_interval_ms,
        stops=given.stops,
        log_dir=given.log_dir,
        start_seconds=given.start_seconds,
        hang_seconds=given.hang_seconds,
    )
    if command:
        check_command(command)
    package = Package.load(given.package)
    check_engine_library(package.manifest.engine, package.engine_path)
    check_memory(package, given.kv_cache_gib)
    require(Need.of(package, given.engine_threads))
    endpoints, state = choose_endpoints(options), ServerState()
    with HealthServer(endpoints, state):  # before the files are verified: that takes a while with a large package
        package.verify_files()
        return Supervisor(
            package,
            options,
            endpoints,
            state,
            drain_seconds=given.drain_seconds,
            ready_file=given.ready_file,
            log_stream=sys.stderr if given.verbose else None,
        ).run(command)


def _check(arguments: list[str]) -> int:
    given = _check_parser().parse_args(arguments)
    if given.engine:
        return report_engine(given.package)
    options = dataclasses.replace(_machine_options(given), kv_cache_gib=given.kv_cache_gib)
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

    security = parser.add_argument_group("security")
    security.add_argument("--tls-cert", metavar="FILE", type=path, help="certificate of the server, PEM: gRPC over TLS")
    security.add_argument("--tls-key", metavar="FILE", type=path, help="its private key, PEM")
    security.add_argument(
        "--tls-ca", metavar="FILE", type=path, help="authority that clients' certificates must come from (mutual TLS)"
    )
    security.add_argument(
        "--admin-key",
        metavar="KEY",
        type=_admin_key,
        help="open the restricted endpoints (shared memory, model repository, statistics, trace, "
        "logging) to requests with the header 'nemotron-admin-key: KEY'; without it they are closed",
    )
    security.add_argument(
        "--stops",
        choices=get_args(StopRule),
        default=ServeOptions.stops,
        help="who may stop a request before its end: any, whoever knows its id; bound, only who sends the same secret "
        f"with the stop as with the request, in the header '{CALLER}' (default: %(default)s)",
    )

    engine = parser.add_argument_group("engine")
    engine.add_argument(
        "--engine-threads", metavar="N", type=whole(1, _MOST_THREADS), help="CPU threads (default: by the machine)"
    )
    _add_kv_cache(engine)
    engine.add_argument(
        "--stream-interval-ms",
        metavar="MS",
        type=number(),
        help="least time between two responses of a stream; 0 sends each token at once (default: by the load)",
    )

    running = parser.add_argument_group("running")
    running.add_argument(
        "--start-seconds",
        metavar="S",
        type=number(above=0),
        default=ServeOptions.start_seconds,
        help="time for the server to answer its first request (default: %(default)g)",
    )
    running.add_argument(
        "--hang-seconds",
        metavar="S",
        type=_hang_seconds,
        default=ServeOptions.hang_seconds,
        help="restart when a process, the engine or the way through Triton makes no progress for so long, or for three "
        "times its longest step so far if that is more; 0 does not look for that (default: %(default)g)",
    )
    running.add_argument(
        "--drain-seconds",
        metavar="S",
        type=number(least=0),
        default=_DRAIN_SECONDS,
        help="time for running requests when the server stops (default: %(default)g)",
    )
    running.add_argument(
        "--ready-file", metavar="FILE", type=path, help="write URLs and process ids, as JSON, while the server serves"
    )
    running.add_argument("--log-dir", metavar="DIR", type=path, help="keep Triton's log as DIR/triton.log")
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
    _add_kv_cache(parser)
    _add_machine_options(parser)
    return parser


def _add_kv_cache(parser: argparse._ActionsContainer) -> None:
    parser.add_argument(
        "--kv-cache-gib",
        metavar="GIB",
        type=whole(1, _MOST_GIB),
        help="size of the KV cache (default: by the machine; on a CPU a quarter of the free memory, at most 4)",
    )


def _add_machine_options(parser: argparse.ArgumentParser) -> None:
    where = parser.add_argument_group("where to listen")
    where.add_argument(
        "--bind",
        metavar="ADDRESS",
        default=ServeOptions.bind,
        help="IPv4 address or name; 0.0.0.0 is all interfaces (default: %(default)s)",
    )
    for name in ("http", "grpc", "metrics"):
        where.add_argument(
            f"--{name}-port",
            metavar="PORT",
            type=whole(0, 65535),
            default=getattr(ServeOptions, f"{name}_port"),
            help="0 picks a free one (default: %(default)s)",
        )
    where.add_argument(
        "--health-port",
        metavar="PORT",
        type=whole(0, 65535),
        help="port of /live and /ready, which tell whether to restart this program and whether to send requests "
        "(default: the one after the metrics port, or a free one where that is 0)",
    )
    triton = parser.add_argument_group("Triton")
    triton.add_argument(
        "--tritonserver",
        metavar="PATH",
        type=path,
        help="the program, or the directory with bin/tritonserver "
        "(default: /opt/tritonserver, else the nvidia-pytriton wheel)",
    )
    triton.add_argument(
        "--model-repository", metavar="DIR", type=path, help="what Triton loads (default: the one installed with this)"
    )


def _machine_options(given: argparse.Namespace) -> ServeOptions:
    return ServeOptions(
        package=given.package or Path(),
        tritonserver=given.tritonserver,
        model_repository=given.model_repository,
        bind=resolve_bind(given.bind),
        http_port=given.http_port,
        grpc_port=given.grpc_port,
        metrics_port=given.metrics_port,
        health_port=given.health_port,
    )


def _tls_files(given: argparse.Namespace) -> TlsFiles | None:
    files = {"--tls-cert": given.tls_cert, "--tls-key": given.tls_key, "--tls-ca": given.tls_ca}
    if not any(files.values()):
        return None
    if given.tls_cert is None or given.tls_key is None:
        present = " and ".join(option for option, file in files.items() if file)
        raise SetupError(f"{present} alone cannot serve TLS: give both --tls-cert and --tls-key.")
    for option, file in files.items():
        if file is not None and not file.is_file():
            raise SetupError(f"{option} {file}: there is no such file.")
    _check_pem(given.tls_cert, given.tls_key, given.tls_ca)
    return TlsFiles(given.tls_cert.resolve(), given.tls_key.resolve(), given.tls_ca and given.tls_ca.resolve())


def _check_pem(certificate: Path, key: Path, client_ca: Path | None) -> None:
    """Refuse what gRPC could not read: it would say that its port is in use."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        context.load_cert_chain(certificate, key, password="")
    except (OSError, ValueError) as error:
        raise SetupError(
            f"--tls-cert {certificate} and --tls-key {key} cannot be used: {_reason(error)}. Expected a certificate "
            "and its private key without a password, both in PEM."
        ) from error
    try:
        if client_ca:
            context.load_verify_locations(client_ca)
    except (OSError, ValueError) as error:
        raise SetupError(
            f"--tls-ca {client_ca} cannot be used: {_reason(error)}. Expected certificates in PEM."
        ) from error


def _reason(error: Exception) -> str:
    if isinstance(error, ssl.SSLError):
        return error.reason.lower().replace("_", " ") if error.reason else "not PEM"
    return str(error)


def _hang_seconds(text: str) -> float:
    seconds = number(least=0)(text)
    if seconds and not _LEAST_HANG_SECONDS <= seconds <= _MOST_HANG_SECONDS:
        expected = f"0 or a number from {_LEAST_HANG_SECONDS:g} to {_MOST_HANG_SECONDS:g}"
        raise argparse.ArgumentTypeError(f"{text!r} given, expected {expected}")
    return seconds


def _admin_key(text: str) -> str:
    # Triton's option has its own syntax around the key, and no way to quote.
    if not re.fullmatch(r"[\w-]{8,}", text, re.ASCII):
        raise argparse.ArgumentTypeError(f"{text!r} given, expected 8 or more letters, digits, - or _")
    return text
