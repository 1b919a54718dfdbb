"""What comes with a request: its inputs, its id, and the parameters of Triton's protocols.

Triton takes some parameters for itself; docs/requests.md lists them. The others reach every model, and so do the keys
of a body for /generate that are no inputs: this is where a misspelt input arrives.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from nemotron_serving.contract import CALLER, DEFAULTS, INPUT_ALIASES, RANGES, Option
from nemotron_serving.errors import InvalidRequestError, did_you_mean, shortened, shortened_name

MAX_ID_CHARACTERS = 256  # ids of ended and stopped requests are remembered, and are written into the log
_SEQUENCE = ("sequence_id", "sequence_start", "sequence_end")
_ONLY_FOR_TRITON = "binary_data_output"  # how its HTTP front writes the answer
_CALLER_CHARACTERS = (16, 256)

# Inputs that other servers' clients would send, and what to send here.
_REMEDIES = {
    "enable_thinking": "send thinking",
    "logprobs": "send return_log_probs",
    "max_completion_tokens": "send max_tokens",
    "max_new_tokens": "send max_tokens",
    "model": "the URL names the model; leave it out",
    "n": "a request has one answer; leave it out",
    "prompt": "send text_input",
    "reasoning_effort": "send thinking, true or false, and max_thinking_tokens",
    "stop": "send stop_words; to cancel a request, send stop to the model tensorrt_llm",
    "stream_options": "the counts are always there; leave it out",
    "streaming": "send stream",
}

NUMPY_TYPES: dict[str, Any] = {
    "BOOL": np.bool_,
    "FP16": np.float16,
    "FP32": np.float32,
    "INT32": np.int32,
    "INT64": np.int64,
    "STRING": np.object_,
    "UINT8": np.uint8,
    "UINT64": np.uint64,
}


def read_inputs(arrays: Mapping[str, npt.NDArray[Any]], contract: tuple[Option, ...]) -> dict[str, Any]:
    """Python values of the inputs that were sent, by the names of today: scalars and lists; strings from UTF-8.

    Args:
        arrays: What the request holds, by input name; a scalar has shape [1, 1], a list [1, n].
        contract: The inputs of the model.

    Raises:
        InvalidRequestError: an input that asks what is not supported, a scalar of another size, invalid UTF-8, an
            input under two names.
    """
    fields: dict[str, Any] = {}
    for option in contract:
        if option.name not in arrays:
            continue
        array = arrays[option.name]
        name = INPUT_ALIASES.get(option.name, option.name)
        if name != option.name and name in arrays:
            raise InvalidRequestError(option.name, f"{name} was given as well, which is its name of today; send one")
        if option.name == "input_ids":
            fields[option.name] = array.reshape(-1)
            continue
        if option.dims == (1,) and array.size != 1:
            raise InvalidRequestError(option.name, f"{array.size} values were given, expected one")
        if option.supported:
            values = [_text(option.name, value) if option.dtype == "STRING" else value.item() for value in array.flat]
            fields[name] = values[0] if option.dims == (1,) else values
        elif (refused := _refused(option, array)).size:
            accepted = f" or send {option.only[-1]!r}" if option.only else ""
            raise InvalidRequestError(
                option.name,
                f"{shortened(refused.item(0))} was given, which this server does not support; leave it out{accepted}",
            )
    return fields


def check_ranges(fields: Mapping[str, Any]) -> None:
    """Refuse numbers outside the range of their option, or that are no numbers.

    Args:
        fields: Values by input name, of either level.

    Raises:
        InvalidRequestError: naming the field, the value and the range.
    """
    for name, value in fields.items():
        if name in RANGES:
            low, high = RANGES[name]
            if not low <= value <= high:
                raise InvalidRequestError(name, f"{value} was given, expected {low} to {high}")


def value_of(fields: Mapping[str, Any], name: str) -> Any:
    """What was sent for an option, else its default."""
    return fields.get(name, DEFAULTS[name])


def check_id(request_id: str) -> None:
    """Refuse an id that is too long to be kept and logged.

    Raises:
        InvalidRequestError: naming the limit.
    """
    if len(request_id) > MAX_ID_CHARACTERS:
        raise InvalidRequestError(
            "id", f"{len(request_id)} characters were given, expected at most {MAX_ID_CHARACTERS}"
        )


def apply_parameters(
    fields: dict[str, Any], parameters: Mapping[str, Any], request_id: str, inputs: Collection[str]
) -> None:
    """Let the parameters say what they can say, and refuse the others.

    Args:
        fields: Values by input name. `timeout_ms` becomes the shorter one of itself and the parameter `timeout`, which
            counts microseconds. `CALLER` is added where it was given.
        parameters: The request's parameters. The `id` of a JSON body is one of them, and has become the request's id
            as well.
        request_id: The request's id.
        inputs: Names of the model's inputs, one of which may have been meant.

    Raises:
        InvalidRequestError: naming the parameter.
    """
    for name, value in parameters.items():
        if name == "timeout":
            _shorten_deadline(fields, value)
        elif name == "id":
            if value != request_id:
                raise InvalidRequestError(name, "it did not become the request's id; write it beside the inputs")
        elif name in _SEQUENCE:
            if value:
                raise InvalidRequestError(
                    name, "requests are independent of each other here; send the whole conversation as messages"
                )
        elif name == "Streaming":
            _check_streaming(fields, value)
        elif name.lower() == CALLER:  # a header keeps its capitals
            fields[CALLER] = _checked_caller(value)
        elif name != _ONLY_FOR_TRITON and not name.startswith("triton_"):
            raise InvalidRequestError(shortened_name(name), f"this model has no such input{_remedy(name, inputs)}")


def read_parameters(text: str) -> dict[str, Any]:
    """Parameters as Triton writes them: JSON, in which a header comes again after a parameter of its name.

    Raises:
        InvalidRequestError: `CALLER` was given twice.
    """
    return cast(dict[str, Any], json.loads(text, object_pairs_hook=_without_second_caller)) if text else {}


def _without_second_caller(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    # Or a caller could be another one than the gateway in front of it says in the header.
    if sum(name.lower() == CALLER for name, _ in pairs) > 1:
        raise InvalidRequestError(CALLER, "given twice, expected once; leave it to the header")
    return dict(pairs)


def _refused(option: Option, array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """The values that are not accepted. A caller may send millions: they are compared as an array."""
    values = array.reshape(-1)
    if option.dtype == "STRING":
        values = np.array([_text(option.name, value) for value in values], np.object_)
    for accepted in option.only or ():
        values = values[values != accepted]
    return values


def _text(name: str, value: bytes | str) -> str:
    try:
        return value if isinstance(value, str) else value.decode("utf-8")
    except UnicodeDecodeError as error:
        raise InvalidRequestError(name, f"not valid UTF-8 (byte {error.start})") from error


def _checked_caller(value: Any) -> str:
    least, most = _CALLER_CHARACTERS
    if not isinstance(value, str) or not least <= len(value) <= most:
        # Without the value: it is a secret.
        raise InvalidRequestError(
            CALLER, f"expected a secret of {least} to {most} characters that nobody else knows or can guess"
        )
    return value


def _shorten_deadline(fields: dict[str, Any], timeout_us: Any) -> None:
    if isinstance(timeout_us, bool) or not isinstance(timeout_us, int) or timeout_us < 0:
        raise InvalidRequestError(
            "timeout", f"{shortened(timeout_us)} was given, expected microseconds as a whole number; 0 sets none"
        )
    if timeout_us:
        longest = int(RANGES["timeout_ms"][1])
        fields["timeout_ms"] = min(-(-timeout_us // 1000), fields.get("timeout_ms", longest), longest)


def _check_streaming(fields: Mapping[str, Any], value: Any) -> None:
    """NVIDIA's client adds this to its stop requests, where it says nothing, and to others beside the input.

    An ensemble hands it on to the generating model as well, whose settings come from preprocessing, which has looked.
    """
    if fields.get("stop", False) or "request_settings" in fields:
        return
    if value != fields.get("stream", fields.get("streaming", False)):
        raise InvalidRequestError("Streaming", f"{shortened(value)} was given as a parameter; send the input stream")


def _remedy(name: str, inputs: Collection[str]) -> str:
    if name in _REMEDIES:
        return f"; {_REMEDIES[name]}"
    return did_you_mean(name, inputs) or "; docs/requests.md lists those there are"
