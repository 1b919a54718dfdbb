"""The files of a `Tls`, looked at before they are used: every transport says in the same words what is wrong."""

from __future__ import annotations

import ssl
from collections.abc import Callable

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
