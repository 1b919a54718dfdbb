"""Values of JSON Schema's `format` that can be written: each generates some of the valid strings only."""

from __future__ import annotations

from nemotron_serving.guide.grammar import Node
from nemotron_serving.guide.regex import parse

_DATE = r"[12]\d{3}-(0[1-9]|1[0-2])-(0[1-9]|1\d|2[0-8])"  # days that every month has
_TIME = r"([01]\d|2[0-3]):[0-5]\d:[0-5]\d(\.\d{1,6})?(Z|[+-]([01]\d|2[0-3]):[0-5]\d)"
_BYTE = r"(\d|[1-9]\d|1\d\d|2[0-4]\d|25[0-5])"
_LABEL = r"[A-Za-z0-9]{1,14}(-[A-Za-z0-9]{1,14}){0,3}"  # at most 59 characters of the 63 allowed
_HEX = r"[0-9a-f]{1,4}"
_CLOCK = r"T(\d{1,3}H(\d{1,2}M(\d{1,2}S)?)?|\d{1,3}M(\d{1,2}S)?|\d{1,3}S)"
_DURATION = rf"P(\d{{1,3}}W|\d{{1,4}}D({_CLOCK})?|{_CLOCK})"  # no months and years: they have no length
_SEGMENT = r"[A-Za-z0-9]{1,14}([._~-][A-Za-z0-9]{1,14}){0,3}"
_HOSTNAME = rf"{_LABEL}(\.{_LABEL}){{0,3}}"

FORMATS: dict[str, Node] = {
    name: parse(pattern)
    for name, pattern in {
        "date": _DATE,
        "time": _TIME,
        "date-time": f"{_DATE}T{_TIME}",
        "uuid": r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}",
        "email": rf"[A-Za-z0-9]{{1,14}}([._+-][A-Za-z0-9]{{1,14}}){{0,3}}@{_HOSTNAME}",
        "ipv4": rf"{_BYTE}(\.{_BYTE}){{3}}",
        "ipv6": rf"({_HEX}:){{7}}{_HEX}",
        "hostname": _HOSTNAME,
        "uri": rf"https?://{_LABEL}(\.[A-Za-z]{{2,14}}){{1,3}}(/{_SEGMENT}){{0,4}}",
        "duration": _DURATION,
    }.items()
}

INTEGER_FORMATS: dict[str, tuple[int | None, int | None]] = {
    **{f"int{bits}": (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) for bits in (8, 16, 32)},
    **{f"uint{bits}": (0, 2**bits - 1) for bits in (8, 16, 32)},
    "uint64": (0, None),
    "uint": (0, None),
}
"""The smallest and the largest integer of formats that OpenAPI has and code generators write. Others mean nothing
here: what is generated has at most 15 digits."""
