"""What prompts are made of: plain English of this project's own, and functions with what they return."""

from __future__ import annotations

from random import Random
from typing import Any

FILLERS = ("also", "now", "so", "a", "it", "and", "here", "too")
"""Fill a text up where no sentence fits any more."""

_COUNT = 1024

_WHO = (
    "The gardener",
    "A young teacher",
    "My neighbour",
    "The old captain",
    "Our committee",
    "The library",
    "A small company",
    "The engineer",
    "Every visitor",
    "The night train",
    "A careful reader",
    "The town council",
    "Her brother",
    "The baker",
    "This report",
    "The museum",
    "A group of students",
    "The harbour office",
    "The new manager",
    "A retired doctor",
)
_DOES = (
    "describes",
    "has improved",
    "often repairs",
    "wants to compare",
    "cannot find",
    "has measured",
    "will deliver",
    "prefers",
    "carefully counted",
    "explains",
    "is looking for",
    "has forgotten",
    "orders",
    "plans to replace",
    "studies",
    "sold",
    "keeps a record of",
    "is proud of",
    "asked about",
    "would like to understand",
)
_WHAT = (
    "the wooden bridge",
    "three boxes of apples",
    "the weekly timetable",
    "a map of the valley",
    "the price of copper",
    "an unusual clock",
    "the water supply",
    "twelve letters from abroad",
    "the results of the election",
    "a broken window",
    "the history of the river",
    "the cost of heating",
    "a recipe for bread",
    "the rules of the game",
    "two hundred chairs",
    "the quality of the soil",
    "the first chapter",
    "an old sailing boat",
    "the light in the hall",
    "the annual budget",
)
_WHERE = (
    "near the station",
    "in the mountains",
    "behind the school",
    "on the second floor",
    "at the edge of the forest",
    "across the street",
    "in a quiet village",
    "beside the market",
    "under the roof",
    "along the coast",
    "in the north",
    "between two fields",
)
_WHEN = (
    "every morning",
    "since last winter",
    "before the holidays",
    "after a long discussion",
    "on Tuesday",
    "during the storm",
    "in the summer of 1987",
    "for almost nine years",
    "without any help",
    "at the end of the month",
    "once again",
    "while the others waited",
)
_PATTERNS = (
    "{who} {does} {what}.",
    "{who} {does} {what} {where}.",
    "{who} {does} {what} {when}.",
    "{who} {does} {what} {where}, and {other} {also} {more} {when}.",
    "{when_first}, {who_later} {does} {what}.",
    "Nobody knows why {who_later} {does} {what} {when}.",
    "{who} {does} {what}, but {other} {also} {more} {where}.",
)


def sentences() -> list[str]:
    """The same sentences each time, all different."""
    random = Random("sentences")  # noqa: S311 - not for secrets
    made: dict[str, None] = {}
    while len(made) < _COUNT:
        made[_sentence(random)] = None
    return list(made)


def _sentence(random: Random) -> str:
    who, when = random.choice(_WHO), random.choice(_WHEN)
    return random.choice(_PATTERNS).format(
        who=who,
        who_later=_later(who),
        does=random.choice(_DOES),
        what=random.choice(_WHAT),
        where=random.choice(_WHERE),
        when=when,
        when_first=when[0].upper() + when[1:],
        other=_later(random.choice(_WHO)),
        also=random.choice(_DOES),
        more=random.choice(_WHAT),
    )


def _later(start: str) -> str:
    """A start of a sentence as it is written inside of one."""
    return start[0].lower() + start[1:]


def _function(name: str, description: str, required: str, **parameters: str) -> dict[str, Any]:
    properties = {parameter: {"type": kind} for parameter, kind in parameters.items()}
    schema = {"type": "object", "properties": properties, "required": [required]}
    return {"type": "function", "function": {"name": name, "description": description, "parameters": schema}}


TOOLS = (
    _function("get_weather", "The weather in a city", "city", city="string", days="integer"),
    _function("search_documents", "Find passages in the company's documents", "query", query="string", limit="integer"),
    _function("get_order", "What is known of a customer's order", "order_id", order_id="string"),
    _function(
        "convert_currency", "Convert an amount of money", "amount", amount="number", source="string", to="string"
    ),
    _function("send_message", "Write to a colleague", "text", recipient="string", text="string"),
    _function("book_room", "Reserve a meeting room", "room", room="string", day="string", people="integer"),
)
"""In OpenAI's shape. A scenario gives the first so many of them."""

RESULTS = {
    "get_weather": '{"celsius": 21, "sky": "clear"}',
    "search_documents": '{"passages": ["The bridge was repaired in May.", "Visitors enter through the north gate."]}',
    "get_order": '{"status": "sent", "expected": "Friday"}',
    "convert_currency": '{"amount": 92.4}',
    "send_message": '{"sent": true}',
    "book_room": '{"booked": true, "floor": 2}',
}
"""What a call returns, whatever it was called with."""
