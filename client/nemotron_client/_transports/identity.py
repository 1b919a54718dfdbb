"""Who is who: how a client names itself to servers, and the files by which both prove who they are."""

from __future__ import annotations

import functools
import ssl
from collections.abc import Callable
from importlib import metadata

from nemotron_client._transports.base import Tls


def client_context(tls: Tls, without_ca: Callable[[], ssl.SSLContext]) -> ssl.SSLContext:
    """What a client's connection is made with.

    Args:
        tls: The files.
        without_ca: Makes the context where `tls` names no authorities.

    Raises:
        ValueError: a file that cannot be read, or holds no certificate or key.
    """
    try:
        context = ssl.create_default_context(cafile=tls.ca) if tls.ca else without_ca()
        if tls.cert:
            # With a password, if only an empty one, nobody is asked for it at the terminal.
            context.load_cert_chain(tls.cert, tls.key, password="")
    except OSError as error:
        files = ", ".join(path for path in (tls.ca, tls.cert, tls.key) if path)
        raise ValueError(f"tls: {error}, expected certificates and a key in PEM format in {files}") from error
    return context


@functools.cache
def user_agent() -> str:
    """`nemotron-client/VERSION`."""
    try:
        return f"nemotron-client/{metadata.version('nemotron-triton')}"
    except metadata.PackageNotFoundError:  # run from a checkout that is not installed
        return "nemotron-client"
