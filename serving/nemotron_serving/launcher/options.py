"""What a server is started with: the one home of nemotron-serve's options, their defaults and what --help says of them.

An option that the models read as well stands once more in `HostOptions`, by the same name.
"""

from __future__ import annotations

import argparse
import os
import re
import shlex
import ssl
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, get_args

from nemotron_serving.command_line import number, path, whole
from nemotron_serving.contract import CALLER
from nemotron_serving.host import StopRule
from nemotron_serving.launcher.errors import SetupError

_LEAST_HANG_SECONDS = 1.0  # twice the time between two signs of life
_MOST_HANG_SECONDS = 86_400.0  # a day; no thread can wait for any number of seconds
_MOST_THREADS = 4096
_MOST_GIB = 1 << 20
_MOST_PORT = 65535
_ADMIN_KEY = re.compile(r"[\w-]{8,}", re.ASCII)  # Triton's option has its own syntax around it, and no way to quote
_ADMIN_KEY_IS = "8 or more letters, digits, - or _"
ADMIN_KEY_VARIABLE = "NEMOTRON_ADMIN_KEY"


@dataclass(frozen=True)
class TlsFiles:
    """PEM files for gRPC.

    Attributes:
        certificate: The server's certificate (chain).
        key: Its private key.
        client_ca: Authority that clients' certificates must come from; None asks clients for none.
    """

    certificate: Path
    key: Path
    client_ca: Path | None = None

    @classmethod
    def of_arguments(cls, given: argparse.Namespace) -> TlsFiles | None:
        """The files of --tls-cert, --tls-key and --tls-ca; None if none was given.

        Raises:
            SetupError: one is missing, or is not what gRPC can read.
        """
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
        return cls(given.tls_cert.resolve(), given.tls_key.resolve(), given.tls_ca and given.tls_ca.resolve())


def _hang_seconds(text: str) -> float:
    seconds = number(least=0)(text)
    if seconds and not _LEAST_HANG_SECONDS <= seconds <= _MOST_HANG_SECONDS:
        expected = f"0 or a number from {_LEAST_HANG_SECONDS:g} to {_MOST_HANG_SECONDS:g}"
        raise argparse.ArgumentTypeError(f"{text!r} given, expected {expected}")
    return seconds


def admin_key_of(given: argparse.Namespace, environment: Mapping[str, str] = os.environ) -> str | None:
    """The key of --admin-key, else that in the file of --admin-key-file, else of NEMOTRON_ADMIN_KEY; None without one.

    Raises:
        SetupError: the file cannot be read, or there is no such key. What is there instead is not said.
    """
    if given.admin_key is not None:
        return str(given.admin_key)
    where, text = ADMIN_KEY_VARIABLE, environment.get(ADMIN_KEY_VARIABLE, "")
    if given.admin_key_file is not None:
        where = f"--admin-key-file {given.admin_key_file}"
        try:
            text = given.admin_key_file.read_text().strip()
        except (OSError, UnicodeDecodeError) as error:
            raise SetupError(f"{where} cannot be read: {getattr(error, 'strerror', 'it is no text')}.") from error
    elif not text:
        return None
    if not _ADMIN_KEY.fullmatch(text):
        raise SetupError(f"{where}: expected a key of {_ADMIN_KEY_IS}, and nothing else.")
    return text


def _admin_key(text: str) -> str:
    if not _ADMIN_KEY.fullmatch(text):
        raise argparse.ArgumentTypeError(f"{text!r} given, expected {_ADMIN_KEY_IS}")
    return text


def _words(text: str) -> tuple[str, ...]:
    try:
        return tuple(shlex.split(text))
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} given, expected options as in a shell: {error}") from error


def _flag(metavar: str | None, parse: Callable[[str], Any] | None, text: str, **more: Any) -> dict[str, Any]:
    """What `add_argument` wants to know of the option --NAME that a field is."""
    return {"metavar": metavar, "type": parse, "help": text, **more}


_PORT = ("PORT", whole(0, _MOST_PORT), "0 picks a free one (default: %(default)s)")


@dataclass(frozen=True, kw_only=True)
class ServeOptions:
    """How one package is served on this machine. What each option means is the text beside it; None is the default."""

    package: Path
    tls: TlsFiles | None = None  # None serves gRPC in the clear; HTTP is always in the clear

    bind: str = field(
        default="127.0.0.1",
        metadata=_flag("ADDRESS", None, "IPv4 address or name; 0.0.0.0 is all interfaces (default: %(default)s)"),
    )
    http_port: int = field(default=8000, metadata=_flag(*_PORT))
    grpc_port: int = field(default=8001, metadata=_flag(*_PORT))
    metrics_port: int = field(default=8002, metadata=_flag(*_PORT))
    health_port: int | None = field(
        default=None,
        metadata=_flag(
            "PORT",
            whole(0, _MOST_PORT),
            "port of /live and /ready, which tell whether to restart this program and whether to send requests "
            "(default: the one after the metrics port, or a free one where that is 0)",
        ),
    )
    openai_port: int | None = field(
        default=None,
        metadata=_flag(
            "PORT",
            whole(0, _MOST_PORT),
            "serve OpenAI's API and a chat page there, by a nemotron-front that is started with the server "
            "(default: none; 0 picks a free port)",
        ),
    )
    openai_options: tuple[str, ...] = field(
        default=(),
        metadata=_flag(
            "OPTIONS", _words, "options for that nemotron-front, in one word: --openai-options='--bind 0.0.0.0'"
        ),
    )
    tritonserver: Path | None = field(
        default=None,
        metadata=_flag(
            "PATH",
            path,
            "the program, or the directory with bin/tritonserver "
            "(default: /opt/tritonserver, else the nvidia-pytriton wheel)",
        ),
    )
    model_repository: Path | None = field(
        default=None, metadata=_flag("DIR", path, "what Triton loads (default: the one installed with this)")
    )
    admin_key: str | None = field(
        default=None,
        metadata=_flag(
            "KEY",
            _admin_key,
            "open the restricted endpoints (shared memory, model repository, statistics, trace, "
            "logging) to requests with the header 'nemotron-admin-key: KEY'; without it they are closed. Users of this "
            "machine see it in the list of processes, whichever way it is given: Triton takes it as an argument",
        ),
    )
    stops: StopRule = field(
        default="any",
        metadata=_flag(
            None,
            None,
            "who may stop a request before its end: any, whoever knows its id; bound, only who sends the same secret "
            f"with the stop as with the request, in the header '{CALLER}' (default: %(default)s)",
            choices=get_args(StopRule),
        ),
    )
    engine_threads: int | None = field(
        default=None,
        metadata=_flag("N", whole(1, _MOST_THREADS), "CPU threads (default: one for each core that it may use)"),
    )
    kv_cache_gib: int | None = field(
        default=None,
        metadata=_flag(
            "GIB",
            whole(1, _MOST_GIB),
            "size of the KV cache (default: by the machine; on a CPU a quarter of the free memory, at most 4)",
        ),
    )
    stream_interval_ms: float | None = field(
        default=None,
        metadata=_flag(
            "MS",
            number(),
            "least time between two responses of a stream; 0 sends each token at once (default: by the load)",
        ),
    )
    start_seconds: float = field(
        default=600.0,
        metadata=_flag("S", number(above=0), "time for the server to answer its first request (default: %(default)g)"),
    )
    hang_seconds: float = field(
        default=20.0,
        metadata=_flag(
            "S",
            _hang_seconds,
            "restart when a process, the engine or the way through Triton makes no progress for so long, or for three "
            "times its longest step so far if that is more; 0 does not look for that (default: %(default)g)",
        ),
    )
    log_dir: Path | None = field(default=None, metadata=_flag("DIR", path, "keep Triton's log as DIR/triton.log"))

    @classmethod
    def of_arguments(cls, given: argparse.Namespace, **more: Any) -> ServeOptions:
        """The options that a parser with some of them has read; the others have their defaults, or what `more` says."""
        known = {one.name: getattr(given, one.name) for one in fields(cls) if hasattr(given, one.name)}
        return cls(**known | more)


def add_options(parser: argparse._ActionsContainer, names: Iterable[str]) -> None:
    """Add options of `ServeOptions` to a parser, or to a group of one.

    Args:
        parser: Gets the options.
        names: The fields' names.
    """
    known = {one.name: one for one in fields(ServeOptions)}
    for name in names:
        parser.add_argument(
            f"--{name.replace('_', '-')}",
            default=known[name].default,
            **{key: value for key, value in known[name].metadata.items() if value is not None},
        )


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
