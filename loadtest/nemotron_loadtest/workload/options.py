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
    from nemotron_client._request import unknown_option

    if unknown := options.keys() - Options.__annotations__.keys():
        raise ValueError(unknown_option(min(unknown)))
    try:
        msgspec.convert(options, Options)
    except msgspec.ValidationError as error:
        raise ValueError(f"options: {error}") from None
