"""The options of the client that a scenario or a line of a file gives."""

from __future__ import annotations

from typing import Any

import msgspec


def check_options(options: dict[str, Any]) -> None:
    """Find mistakes before the load starts.

    Imports the client, and with it threads and sockets: only after gevent's patching, where there is any.

    Raises:
        ValueError: an option that does not exist, or of another type.
    """
    from nemotron_client import Options

    known = Options.__annotations__
    if unknown := options.keys() - known.keys():
        raise ValueError(f"{min(unknown)!r} is no option of the client, expected one of {', '.join(sorted(known))}")
    try:
        msgspec.convert(options, Options)
    except msgspec.ValidationError as error:
        raise ValueError(f"options: {error}") from None
