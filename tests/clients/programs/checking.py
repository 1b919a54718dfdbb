"""How a program says what became of its checks.

A program is run by the interpreter of its client's environment, with this directory on its path, and has nothing of
ours but this file. It finds two servers in its environment: FRONT_URL, with the simulated engine, whose answers are
known; and MODEL_URL, with a small model, for answers that have to follow a schema.
"""

from __future__ import annotations

import asyncio
import inspect
import json
import os
import sys
import traceback
from typing import Any

FRONT_URL = os.environ.get("FRONT_URL", "http://127.0.0.1:9000")
MODEL_URL = os.environ.get("MODEL_URL", "http://127.0.0.1:9000")
MODEL = "nvidia/llama-3.1-nemotron-nano-8b-v1"
SMALL_MODEL = os.environ.get("SMALL_MODEL", "SmolLM2-135M-Instruct")

# The small model's tokenizer, as Hugging Face's are kept: a directory, and a name in the hub's cache.
TOKENIZER_DIRECTORY = "tokenizer"
TOKENIZER_IN_CACHE = "local/small"

# What the simulated engine says.
QUESTION = "What is two plus two? [sim:think]"
THINKING = "The user wants to see me think. Two plus two is four, and four is even."
ANSWER = "The answer is 4."
TOOL_QUESTION = "What is the weather like in Bangkok? [sim:tool]"
WEATHER = "31 °C and sunny"
TOOL_ANSWER = "It is 31 °C and sunny in Bangkok."
ENDLESS = "Say something at random. [sim:random]"


def get_weather(city: str) -> str:
    """The weather in a city.

    Args:
        city: The name of the city.
    """
    return f"{WEATHER} in {city}"


def run_checks(names: dict[str, Any]) -> None:
    """Call each `check_…` of a module and write a JSON object: by name, null or how it failed."""
    outcomes: dict[str, str | None] = {}
    with asyncio.Runner() as runner:  # one loop, for clients keep their connections
        for name, check in names.items():
            if name.startswith("check_"):
                try:
                    if inspect.iscoroutinefunction(check):
                        runner.run(check())
                    else:
                        check()
                    outcomes[name] = None
                except Exception:
                    outcomes[name] = traceback.format_exc()
    sys.stdout.write("\n" + json.dumps(outcomes) + "\n")
