"""Values of JSON Schema's `format` that can be written: each generates some of the valid strings only."""

from __future__ import annotations

from nemotron_serving.guide.grammar import Node
from nemotron_serving.guide.regex import parse

_DATE = r"[12]\d{3}-(0[1-9]|1[0-2])-(0[1-9]|1\d|2[0-8])"  # days that every month has
_TIME = r"([01]\d|2[0-3]):[0-5]\d:[0-5]\d(\.\d{1,6})?(Z|[+-]([01]\d|2[0-3]):[0-5]\d)"
_BYTE = r"(\d|[1-9]\d|1\d\d|2[0-4]\d|25[0-5])"
_LABEL = r"[A-Za-z0-9]{1,14}(-[A-Za-z0-9]{1,14}){0,3}"  # at most 59 characters of the 63 allowed
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
        "hostname": _HOSTNAME,
    }.items()
}
