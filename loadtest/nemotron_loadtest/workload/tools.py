"""Functions that a load test gives to the model, and what they return."""

from __future__ import annotations

from typing import Any


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
