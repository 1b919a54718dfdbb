"""Fifty schemas of the kind that applications send: records of a few fields, nested ones, lists and choices."""

from __future__ import annotations

from typing import Any

_KINDS: dict[str, dict[str, Any]] = {
    "text": {"type": "string", "minLength": 1, "maxLength": 30},
    "line": {"type": "string", "maxLength": 60},
    "maybe": {"type": ["string", "null"], "maxLength": 20},
    "count": {"type": "integer", "minimum": 0, "maximum": 1000},
    "year": {"type": "integer", "minimum": 1000, "maximum": 2100},
    "share": {"type": "number", "minimum": 0, "maximum": 1},
    "price": {"type": "number", "minimum": 0, "maximum": 10000},
    "flag": {"type": "boolean"},
    "date": {"type": "string", "format": "date"},
    "time": {"type": "string", "format": "time"},
    "id": {"type": "string", "format": "uuid"},
    "code": {"type": "string", "pattern": "^[A-Z]{3}-[0-9]{4}$"},
    "country": {"type": "string", "pattern": "^[A-Z]{2}$"},
    "size": {"enum": ["small", "medium", "large"]},
    "grade": {"enum": ["A", "B", "C", None]},
    "one": {"const": 1},
    "tags": {"type": "array", "items": {"type": "string", "maxLength": 12}, "maxItems": 4},
    "pair": {
        "type": "array",
        "prefixItems": [{"type": "boolean"}, {"enum": ["x", "y"]}],
        "items": False,
        "minItems": 2,
    },
    "id or none": {"anyOf": [{"type": "integer", "minimum": 1, "maximum": 99}, {"type": "null"}]},
}
_RECORDS = """
book: title text, author text, year year | recipe: name text, minutes count, vegan flag, steps tags
weather: city text, celsius count, sky size | person: name text, born date, country country
city: name text, country country, people count, capital flag | film: title text, year year, rating share
product: code code, name text, price price, sizes tags | order: id id, product code, pieces count, paid flag
flight: code code, day date, departs time, full flag | song: title text, artist text, minutes count
animal: name text, legs count, wild flag, size size | plant: name text, height count, edible flag
planet: name text, moons count, rings flag | river: name text, length count, country country
mountain: name text, height count, climbed date | language: name text, speakers count, family text
event: title line, day date, begins time | meeting: topic line, day date, people tags
task: title line, done flag, due date, tags tags | note: text line, made date, pinned flag
user: id id, name text, nick maybe, admin flag | team: name text, members tags, wins count
game: name text, players count, minutes count, grade grade | score: player text, points count, best flag
ticket: code code, seat text, price price | invoice: id id, day date, total price, paid flag
review: stars count, text line, happy flag | survey: question line, share share, answers tags
chemical: name text, symbol country, year year | star: name text, magnitude count, visible flag
bridge: name text, length count, year year | museum: name text, city text, free flag
train: code code, departs time, late flag | ship: name text, tons count, country country
car: maker text, year year, electric flag, size size | house: rooms count, garden flag, price price
school: name text, pupils count, grade grade | course: code code, title line, hours count
word: word text, kind text, plural maybe | quote: text line, author text, year year
tool: name text, uses tags, price price | drink: name text, hot flag, minutes count
version: one one, code code, day date | setting: name text, value id or none, on flag
answer: yes flag, sure share, why line | choice: size size, pair pair, why maybe
"""


def _record(fields: str) -> dict[str, Any]:
    properties = {name: _KINDS[kind] for name, kind in (field.split(" ", 1) for field in fields.split(", "))}
    return {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}


def _schemas() -> dict[str, dict[str, Any]]:
    lines = _RECORDS.strip().replace("\n", " | ").split(" | ")
    plain = {name: _record(fields) for name, fields in (line.split(": ", 1) for line in lines)}
    # Some as parts of others, as applications nest them.
    nested = {
        "library": {"books": {"type": "array", "items": plain["book"], "minItems": 1, "maxItems": 2}},
        "visit": {"city": plain["city"], "weather": plain["weather"]},
    }
    for name, properties in nested.items():
        plain[name] = {"type": "object", "properties": properties, "required": list(properties)}
    plain["found"] = {"anyOf": [plain["animal"], plain["plant"]]}
    plain["comment"] = {
        "$ref": "#/$defs/comment",
        "$defs": {
            "comment": {
                "type": "object",
                "properties": {
                    "text": _KINDS["text"],
                    "answers": {"type": "array", "items": {"$ref": "#/$defs/comment"}, "maxItems": 1},
                },
                "required": ["text"],
            }
        },
    }
    return plain


FIFTY_SCHEMAS = _schemas()
