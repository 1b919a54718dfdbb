"""How the package writes prompts: the chat format that fits a tokenizer, and the proof that it does."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from nemotron_build.errors import CheckpointError, VerificationError
from nemotron_build.serving_defaults import MIN_ANSWER_TOKENS, nemotron_thinking, plain_thinking
from nemotron_serving.chat.formats import NEMOTRON, TEMPLATE, WRITTEN_FORMATS, ChatRequest, Control, PromptPart
from nemotron_serving.chat.messages import Message
from nemotron_serving.package import CHAT_TEMPLATE

if TYPE_CHECKING:
    from tokenizers import Tokenizer

_BEGIN = "<|begin_of_text|>"
# The ids of a greeting in Nemotron's format for Llama 3's tokenizer, verified with the original.
_LLAMA3_BEGIN_ID = 128000
_LLAMA3_IDS = [
    128000, 128006, 9125, 128007, 271, 67, 10319, 7422, 389, 128009, 128006, 882, 128007, 271, 13347, 128009,
    128006, 78191, 128007, 271,
]  # fmt: skip
_GREETING = ChatRequest(messages=(Message("user", "Hi"),), tools=(), thinking=True, prefill="")


def write_prompt(chat_format: str, request: ChatRequest) -> str:
    """A prompt as the server writes it for a package of this chat format, `nemotron` or `chatml`."""
    return "".join(part.token if isinstance(part, Control) else part for part in _render(chat_format, request))


def control_tokens(chat_format: str) -> tuple[str, ...]:
    """The control tokens that a chat format writes; the one that ends a turn is the last.

    Of a package's own template they are not known: there are none.
    """
    if chat_format not in WRITTEN_FORMATS:
        return ()
    parts = _render(chat_format, _GREETING)
    return tuple(dict.fromkeys(part.token for part in parts if isinstance(part, Control)))


def fitting_format(tokenizer: Tokenizer) -> str | None:
    """The chat format whose control tokens a tokenizer has: `nemotron`, `chatml`, or None."""
    return next((name for name in WRITTEN_FORMATS if not _missing(tokenizer, name)), None)


def choose_format(tokenizer: Tokenizer, wanted: str | None, *, has_template: bool) -> str:
    """The chat format of a package: the one asked for, else the one whose control tokens the tokenizer has.

    Raises:
        CheckpointError: the tokenizer lacks the control tokens of the format, or those of every known one; or there
            is no template to use.
    """
    wanted = wanted or fitting_format(tokenizer)
    if wanted is None:
        raise CheckpointError(
            "The tokenizer has the control tokens of neither Llama 3 nor ChatML. "
            f"Use the checkpoint's own template with --chat-format {TEMPLATE}."
        )
    if wanted == TEMPLATE and not has_template:
        raise CheckpointError(
            f"--chat-format {TEMPLATE}: the checkpoint has no chat template, neither {CHAT_TEMPLATE} nor in "
            "tokenizer_config.json."
        )
    if missing := _missing(tokenizer, wanted):
        raise CheckpointError(f"--chat-format {wanted} needs the token {missing[0]}, which the tokenizer lacks.")
    return wanted


def is_llama3(tokenizer: Tokenizer) -> bool:
    """Whether the tokenizer has the control tokens of Llama 3, as Nemotron's has."""
    return not _missing(tokenizer, NEMOTRON)


def order_stop_tokens(tokenizer: Tokenizer, ids: Sequence[int]) -> tuple[int, ...]:
    """Stop ids with the one that ends a turn in front: TensorRT-LLM's end id is the first."""
    ends_turn = [tokenizer.token_to_id(control_tokens(name)[-1]) for name in WRITTEN_FORMATS]
    first = [token for token in ends_turn if token is not None and token in ids]
    return tuple(dict.fromkeys([*first, *ids]))


def check_tokenizer(tokenizer: Tokenizer, chat_format: str, stop_token_ids: Sequence[int]) -> str:
    """Check that a tokenizer has what the chat format writes, and the tokens that end outputs.

    Returns:
        What was compared, for people to read.

    Raises:
        VerificationError: a stop id outside of the vocabulary, a control token that is not one id, or a prompt that
            gets other ids than it has to.
    """
    for token in stop_token_ids:
        if tokenizer.id_to_token(token) is None:
            raise VerificationError(f"Of the stop tokens, tokenizer.json does not know {token}.")
    if chat_format not in WRITTEN_FORMATS:
        return f"{len(stop_token_ids)} stop tokens; prompts are written by {CHAT_TEMPLATE}"
    prompt = write_prompt(chat_format, _GREETING)
    ids = tokenizer.encode(prompt, add_special_tokens=False).ids
    for name in control_tokens(chat_format):
        number = tokenizer.token_to_id(name)
        if number is None or ids.count(number) != prompt.count(name):
            raise VerificationError(
                f"tokenizer.json does not encode {name} as one id in {prompt!r}; chat format {chat_format} needs that."
            )
    decoded = tokenizer.decode(ids, skip_special_tokens=False)
    if decoded != prompt:
        raise VerificationError(f"tokenizer.json decodes {prompt!r} as {decoded!r}.")
    if tokenizer.token_to_id(_BEGIN) != _LLAMA3_BEGIN_ID:
        return f"control tokens of {chat_format}, and a prompt there and back"
    if ids != _LLAMA3_IDS:
        raise VerificationError(f"tokenizer.json encodes {prompt!r} as {ids}, Llama 3's tokenizer as {_LLAMA3_IDS}.")
    return f"a prompt of {chat_format} has the {len(ids)} ids that Llama 3's tokenizer gives"


def _missing(tokenizer: Tokenizer, chat_format: str) -> list[str]:
    return [token for token in control_tokens(chat_format) if tokenizer.token_to_id(token) is None]


def _render(chat_format: str, request: ChatRequest) -> list[PromptPart]:
    policy = nemotron_thinking if chat_format == NEMOTRON else plain_thinking
    return WRITTEN_FORMATS[chat_format](policy(min_answer_tokens=MIN_ANSWER_TOKENS), "").render(request)
