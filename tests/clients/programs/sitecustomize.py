"""Read by Python when it starts: refuses hosts other than this machine and notes them, for nothing may ask a hub."""

import ipaddress
import os
import sys
from typing import Any


def _watch(event: str, arguments: tuple[Any, ...]) -> None:
    if event == "socket.getaddrinfo":
        host = arguments[0]
    elif event == "socket.connect" and isinstance(arguments[1], tuple):
        host = arguments[1][0]
    else:
        return
    if not _is_here(host.decode() if isinstance(host, bytes) else host):
        with open(os.environ["ELSEWHERE"], "a", encoding="utf-8") as noted:
            noted.write(f"{host}\n")
        raise OSError(f"{host}: only this machine is asked here")


def _is_here(host: str | None) -> bool:
    if not host or host == "localhost":
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    return address.is_loopback or address.is_unspecified


if "ELSEWHERE" in os.environ:
    sys.addaudithook(_watch)
