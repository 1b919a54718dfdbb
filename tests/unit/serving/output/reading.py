"""The output rules written down once more, for a whole text at once: what the incremental machines must agree with."""

from __future__ import annotations

from typing import NamedTuple

from nemotron_serving.output.assembler import OutputRules


class Reading(NamedTuple):
    """The fields of a finished output."""

    text: str
    reasoning: str
    content: str
    stopped: bool


def read_whole(text: str, rules: OutputRules) -> Reading:
    """Split a whole output."""
    begin = text.lstrip()
    if rules.start == "detect" and not begin.startswith("<think>"):
        head, reasoning, content = "", "", text
    else:
        head = text[: len(text) - len(begin)] + "<think>" if rules.start == "detect" else ""
        thought, tag, answer = text[len(head) :].partition("</think>")
        reasoning, content = thought.strip("\n"), answer.lstrip("\n")
        head += thought + tag + answer[: len(answer) - len(content)]
    found = [at for word in rules.stop_words if word and (at := content.find(word)) >= 0]
    if found:
        content = content[: min(found)]
    return Reading(head + content, reasoning, content, bool(found))
