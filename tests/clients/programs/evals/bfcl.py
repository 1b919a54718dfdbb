"""nvidia-bfcl's way to ask: a plain POST to the whole URL, with tools and with functions in the prompt."""

from __future__ import annotations

from typing import Any

from bfcl.model_handler.api_inference.openai import OpenAIHandler
from checking import FRONT_URL, MODEL, TOOL_QUESTION, run_checks

ENTRY: dict[str, Any] = {
    "id": "simple_0",
    "question": [[{"role": "user", "content": TOOL_QUESTION}]],
    "function": [
        {
            "name": "get_weather",
            "description": "The weather in a city.",
            "parameters": {
                "type": "dict",
                "properties": {"city": {"type": "string", "description": "The name of the city"}},
                "required": ["city"],
            },
        }
    ],
}


def check_tools() -> None:
    handler = OpenAIHandler(MODEL, f"{FRONT_URL}/v1/chat/completions", temperature=0.6, native_calling=True)
    response, told = handler.inference(ENTRY, include_input_log=False, exclude_state_log=True)
    assert handler.decode_ast(response) == [{"get_weather": {"city": "Bangkok"}}]
    assert told["output_token_count"] > 0


def check_prompting() -> None:
    """Where the functions are in the prompt, and the call in the text."""
    handler = OpenAIHandler(MODEL, f"{FRONT_URL}/v1/chat/completions", temperature=0.6)
    entry = {**ENTRY, "question": [[{"role": "user", "content": "What is the weather like in Bangkok?"}]]}
    response, told = handler.inference(entry, include_input_log=False, exclude_state_log=True)
    assert isinstance(response, str)
    assert response
    assert told["output_token_count"] > 0


run_checks(globals())
