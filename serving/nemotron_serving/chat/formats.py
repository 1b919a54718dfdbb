"""Chat formats by the name that a package gives.

A format renders to parts. `Control` parts become the one token of that name; strings are text, whoever wrote
them, and can never become a control token.
"""

from __future__ import annotations

from collections.abc import Callable

from nemotron_serving.chat.chatml import ChatMlFormat
from nemotron_serving.chat.controls import Control, PromptPart
from nemotron_serving.chat.conversation import ChatFormat, ChatRequest
from nemotron_serving.chat.nemotron import NemotronFormat
from nemotron_serving.errors import PackageError
from nemotron_serving.package import Package, ThinkingPolicy

__all__ = [
    "CHATML",
    "FORMATS",
    "NEMOTRON",
    "TEMPLATE",
    "WRITTEN_FORMATS",
    "ChatFormat",
    "ChatRequest",
    "Control",
    "PromptPart",
    "open_chat_format",
]

NEMOTRON, CHATML, TEMPLATE = "nemotron", "chatml", "template"
WRITTEN_FORMATS: dict[str, Callable[[ThinkingPolicy, str], ChatFormat]] = {
    NEMOTRON: NemotronFormat,
    CHATML: ChatMlFormat,
}
"""Those that are written here, each made of a thinking policy and a default system prompt."""
FORMATS = (*sorted(WRITTEN_FORMATS), TEMPLATE)


def open_chat_format(package: Package) -> ChatFormat:
    """The format that a package names in `chat_format`.

    Raises:
        PackageError: a name that this version does not know, toggles that the format needs and the package lacks,
            or a chat template that cannot be used.
    """
    serving = package.serving
    name = serving.chat_format
    if name in WRITTEN_FORMATS:
        return WRITTEN_FORMATS[name](serving.thinking, serving.default_system_prompt)
    if name == TEMPLATE:
        # jinja2 is loaded for the packages that bring a template.
        from nemotron_serving.chat.template import TemplateFormat

        return TemplateFormat(package)
    raise PackageError(
        f"chat_format {name!r} is not known here, expected one of {list(FORMATS)}. "
        "Serve the package with the version that built it."
    )
