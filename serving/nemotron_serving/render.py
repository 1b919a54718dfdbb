"""Write what follows from the contract: `make render`, or `python -m nemotron_serving.render` in the checkout.

That is model_repository/*/config.pbtxt, the client's own copy of the contract, for it imports nothing of the server,
and the tables in docs/requests.md, docs/tensorrt-llm.md and docs/metrics.md. A test compares them.
"""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Iterable
from pathlib import Path
from string import Template
from typing import get_args

from nemotron_serving.contract import (
    ACCEPTED_OUTPUTS,
    CALLER,
    ENSEMBLE_INPUTS,
    ENSEMBLE_OUTPUTS,
    GENERATION_OUTPUTS,
    MOST_INT32,
    OPTIONS,
    PREPROCESSED,
    PREPROCESSING_INPUTS,
    PREPROCESSING_OUTPUTS,
    SESSION,
    SESSION_INPUTS,
    STREAM_OUTPUTS,
    TEXT_OUTPUTS,
    TOKEN_INPUTS,
    TOKEN_OUTPUTS,
    FinishReason,
    Option,
    Tensor,
)
from nemotron_serving.engine.tensorrt_llm.files import TENSORRT_LLM
from nemotron_serving.features import FEATURES
from nemotron_serving.metrics import metrics_table

CLIENT = Path("client/nemotron_client/_contract.py")
REQUESTS = Path("docs/requests.md")
TENSORRT_LLM_PAGE = Path("docs/tensorrt-llm.md")
METRICS_PAGE = Path("docs/metrics.md")
_HEADER = "# Rendered from nemotron_serving/contract.py by 'make render'. Do not edit.\n"
_TABLE_BEGINS, _TABLE_ENDS = "<!-- rendered from the contract: {} -->\n", "<!-- end of what is rendered -->\n"
_LINE = 120  # characters, as ruff has it
_MAJOR, _MINOR = (int(part) for part in TENSORRT_LLM.split(".")[:2])
_RELEASE = (_MAJOR, _MINOR)

# What the client alone knows: name, type, documentation.
_CLIENT_OPTION = (
    "request_id", "str", "A name of your own for this request, unique, for `client.cancel` from elsewhere.",
)  # fmt: skip
# All that the client sends to the generating model, and that its fake server has of what comes back.
_CONTROL_INPUTS = ("stop", "end_thinking", "open_session", "session", "acknowledged")
_CONTROL_OUTPUTS = ("finish_reason", "frame", "num_input_tokens", "sequence_length", "stream_event", "thinking_ends")


def rendered(root: Path) -> dict[Path, str]:
    """The content of every file, by its path in a checkout.

    Args:
        root: The checkout. The pages of docs are read, for their tables alone are rendered.
    """
    configs = {Path("model_repository", model, "config.pbtxt"): text for model, text in _configs().items()}
    tables = {"inputs": _inputs_table(), "outputs": _outputs_table(), "engines": _engines_table()}
    requests = _with_tables((root / REQUESTS).read_text(), tables)
    flows = _with_tables((root / TENSORRT_LLM_PAGE).read_text(), {"flows": _flows_table()})
    metrics = _with_tables((root / METRICS_PAGE).read_text(), {"metrics": metrics_table()})
    return {**configs, CLIENT: _client(), REQUESTS: requests, TENSORRT_LLM_PAGE: flows, METRICS_PAGE: metrics}


def _with_tables(page: str, tables: dict[str, str]) -> str:
    for name, table in tables.items():
        before, begins, rest = page.partition(_TABLE_BEGINS.format(name))
        _, ends, after = rest.partition(_TABLE_ENDS)
        page = before + begins + table + ends + after
    return page


def _configs() -> dict[str, str]:
    """The content of config.pbtxt by model name."""
    return {
        "preprocessing": _python_model("preprocessing", PREPROCESSING_INPUTS, PREPROCESSING_OUTPUTS),
        "tensorrt_llm": _python_model("tensorrt_llm", TOKEN_INPUTS, TOKEN_OUTPUTS, decoupled=True),
        # One instance and no dynamic batching: responses of a stream stay in order.
        "postprocessing": _python_model("postprocessing", STREAM_OUTPUTS, TEXT_OUTPUTS),
        "ensemble": _ensemble(
            "ensemble",
            ENSEMBLE_INPUTS,
            ENSEMBLE_OUTPUTS,
            [
                _step("preprocessing", _same(ENSEMBLE_INPUTS), _internal(PREPROCESSED)),
                _step(
                    "tensorrt_llm",
                    _internal(PREPROCESSED),
                    _internal(STREAM_OUTPUTS) | _same(GENERATION_OUTPUTS),
                ),
                _step("postprocessing", _internal(STREAM_OUTPUTS), _same(TEXT_OUTPUTS)),
            ],
        ),
        "session": _ensemble(
            "session",
            SESSION_INPUTS,
            ACCEPTED_OUTPUTS,
            [
                _step("preprocessing", _same(ENSEMBLE_INPUTS), _internal(PREPROCESSED)),
                _step(
                    "tensorrt_llm",
                    _internal(PREPROCESSED) | _same([SESSION]),
                    _same(ACCEPTED_OUTPUTS),
                ),
            ],
        ),
        "unary": _python_model("unary", ENSEMBLE_INPUTS, ENSEMBLE_OUTPUTS),
    }


def _python_model(name: str, inputs: Iterable[Tensor], outputs: Iterable[Tensor], *, decoupled: bool = False) -> str:
    optional = name != "postprocessing"
    return (
        f'{_HEADER}name: "{name}"\nbackend: "python"\nmax_batch_size: 1\n'
        + ("model_transaction_policy { decoupled: true }\n" if decoupled else "")
        + "instance_group [ { count: 1 kind: KIND_CPU } ]\n"
        + _tensors("input", inputs, optional=optional)
        + _tensors("output", outputs)
    )


def _ensemble(name: str, inputs: Iterable[Tensor], outputs: Iterable[Tensor], steps: Iterable[str]) -> str:
    """All inputs are optional: Triton 2.51 never answers a request to an ensemble that lacks one which is not."""
    return (
        f'{_HEADER}name: "{name}"\nplatform: "ensemble"\nmax_batch_size: 1\n'
        + _tensors("input", inputs, optional=True)
        + _tensors("output", outputs)
        + "ensemble_scheduling {\n  step [\n"
        + ",\n".join(steps)
        + "\n  ]\n}\n"
    )


def _tensors(kind: str, tensors: Iterable[Tensor], *, optional: bool = False) -> str:
    tail = " optional: true" if optional else ""
    lines = [
        f'  {{ name: "{tensor.name}" data_type: TYPE_{tensor.dtype} dims: {list(tensor.dims)}{tail} }}'
        for tensor in tensors
    ]
    return f"{kind} [\n" + ",\n".join(lines) + "\n]\n"


def _same(tensors: Iterable[Tensor]) -> dict[str, str]:
    return {tensor.name: tensor.name for tensor in tensors}


def _internal(tensors: Iterable[Tensor]) -> dict[str, str]:
    # A leading underscore keeps an ensemble-internal tensor apart from an input or output of the same name.
    return {tensor.name: f"_{tensor.name}" for tensor in tensors}


def _step(model: str, inputs: dict[str, str], outputs: dict[str, str]) -> str:
    maps = [
        f'      {kind}_map {{ key: "{key}" value: "{value}" }}'
        for kind, mapping in (("input", inputs), ("output", outputs))
        for key, value in mapping.items()
    ]
    return f'    {{\n      model_name: "{model}"\n      model_version: -1\n' + "\n".join(maps) + "\n    }"


def _client() -> str:
    options = [*((one.name, one.python, one.python_doc or one.doc) for one in OPTIONS if one.python), _CLIENT_OPTION]
    sent = {one.name: f"{one.nothing!r}".replace("'", '"') for one in ENSEMBLE_OUTPUTS if one.sent == "always"}
    return _CLIENT_MODULE.substitute(
        caller=CALLER,
        option_docs=_option_docs(options),
        option_types=_option_types(options),
        inputs=_tensors_of(ENSEMBLE_INPUTS),
        outputs=_tensors_of(ENSEMBLE_OUTPUTS),
        read_outputs=_dict({one.name: f'"{one.read}"' for one in ENSEMBLE_OUTPUTS if one.read}),
        nothing_new=_dict(sent),
        first_outputs=", ".join(f'"{one.name}"' for one in ENSEMBLE_OUTPUTS if one.sent == "first"),
        states=_tuple(one.name for one in ENSEMBLE_OUTPUTS if one.kind == "state" and one.read),
        ranges=_dict({one.name: f"{one.range}" for one in OPTIONS if one.python and one.range}),
        finish_reasons=_tuple(get_args(FinishReason)),
        control_inputs=_tensors_of(one for one in TOKEN_INPUTS if one.name in _CONTROL_INPUTS),
        control_outputs=_tensors_of(one for one in TOKEN_OUTPUTS if one.name in _CONTROL_OUTPUTS),
        preprocessing_only=_tensors_of(one for one in PREPROCESSING_INPUTS if one not in ENSEMBLE_INPUTS),
        preprocessing_outputs=_tensors_of(PREPROCESSING_OUTPUTS),
        session=SESSION.name,
        accepted_outputs=_tensors_of(ACCEPTED_OUTPUTS),
        totals=_tuple(one.name for one in ENSEMBLE_OUTPUTS if one.kind == "total" and one.sent == "always"),
    )


# A TypedDict cannot be computed, and the client imports nothing of the server: so all of it is text.
_CLIENT_MODULE = Template('''\
"""The options and outputs of the server, as this client and its fake server know them.

Rendered from the server's contract by 'make render'. Do not edit.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, TypedDict

ENSEMBLE = "ensemble"
GENERATING_MODEL = "tensorrt_llm"
SESSION_MODEL = "session"
PREPROCESSING_MODEL = "preprocessing"
CALLER_HEADER = "$caller"
"""Whose a request is, as a secret: what a server that was started with `--stops bound` wants to hear of a stop."""


class Tensor(NamedTuple):
    """One input or output.

    Attributes:
        dtype: Triton's name.
        dims: Without the batch dimension; -1 is any length.
    """

    dtype: str
    dims: tuple[int, ...] = (1,)

    @property
    def is_list(self) -> bool:
        """Whether it holds any number of values."""
        return self.dims != (1,)


class Options(TypedDict, total=False):
    """What a caller may say besides the conversation. None, and an empty list, are the same as saying nothing.

    Attributes:
$option_docs
    """

$option_types


RANGES: dict[str, tuple[float, float]] = $ranges
"""Least and greatest value of an option that the server takes, by its name."""

INPUTS: dict[str, Tensor] = $inputs
"""Inputs of the ensemble, by name."""

OUTPUTS: dict[str, Tensor] = $outputs
"""Outputs of the ensemble, by name."""

READ_OUTPUTS: dict[str, str] = $read_outputs
"""What this client reads, and the option that has it ask for it; `always` with every request."""

NOTHING_NEW: dict[str, Any] = $nothing_new
"""A response that says nothing: what is in every response. The others have something to say."""

STATES = $states
"""What holds as the last response has it."""

TOTALS = $totals
"""What counts up: in every response, also of a session, which leaves out all else that says nothing."""

FINISH_REASONS = $finish_reasons

CONTROL_INPUTS: dict[str, Tensor] = $control_inputs
"""Inputs of the generating model, which this client only asks to stop a request, or its thinking; and for sessions."""

CONTROL_OUTPUTS: dict[str, Tensor] = $control_outputs
"""What the fake server has of that model's outputs."""

SESSION_INPUTS: dict[str, Tensor] = {**INPUTS, "$session": CONTROL_INPUTS["$session"]}
"""Inputs of the ensemble for the requests of a session."""

ACCEPTED_OUTPUTS: dict[str, Tensor] = $accepted_outputs
"""What it answers to a request that is accepted. All else comes in the session's frames."""

PREPROCESSING_INPUTS: dict[str, Tensor] = INPUTS | $preprocessing_only
"""Inputs of the model that writes and reads prompts, which this client asks for tokens and for the text of tokens."""

PREPROCESSING_OUTPUTS: dict[str, Tensor] = $preprocessing_outputs
"""Its outputs. Those that the request does not ask for may be missing."""

MODELS = {
    ENSEMBLE: (INPUTS, OUTPUTS),
    GENERATING_MODEL: (CONTROL_INPUTS, CONTROL_OUTPUTS),
    SESSION_MODEL: (SESSION_INPUTS, ACCEPTED_OUTPUTS),
    PREPROCESSING_MODEL: (PREPROCESSING_INPUTS, PREPROCESSING_OUTPUTS),
}
"""Inputs and outputs of every model."""
DTYPES = {name: tensor.dtype for name, tensor in (PREPROCESSING_INPUTS | CONTROL_INPUTS).items()}
"""Triton's type of every input."""
ALWAYS_READ = tuple(name for name, asked_with in READ_OUTPUTS.items() if asked_with == "always")
"""The outputs that every request asks for."""
OCCASIONAL_OUTPUTS = READ_OUTPUTS.keys() - NOTHING_NEW.keys()
"""Those that this client asks for and a response may be without."""
FIRST_OUTPUTS = {$first_outputs}
"""Those of them that the first response has, and no other."""
''')


def _option_docs(rows: Iterable[tuple[str, str, str]]) -> str:
    lines = []
    for name, _, doc in rows:
        lines += textwrap.wrap(
            f"{name}: {doc}", _LINE, initial_indent=8 * " ", subsequent_indent=12 * " ",
            break_long_words=False, break_on_hyphens=False,
        )  # fmt: skip
    return "\n".join(lines)


def _option_types(rows: Iterable[tuple[str, str, str]]) -> str:
    return "\n".join(f"    {name}: {kind if kind == 'Any' else f'{kind} | None'}" for name, kind, _ in rows)


def _tensors_of(tensors: Iterable[Tensor]) -> str:
    rows = {}
    for one in tensors:
        dims = "" if one.dims == (1,) else f", {one.dims}"
        rows[one.name] = f'Tensor("{one.dtype.replace("STRING", "BYTES")}"{dims})'
    return _dict(rows)


def _dict(values: dict[str, str]) -> str:
    return "{\n" + "".join(f'    "{key}": {value},\n' for key, value in values.items()) + "}"


def _tuple(values: Iterable[str]) -> str:
    return "(" + ", ".join(f'"{value}"' for value in values) + ")"


def _inputs_table() -> str:
    lines = ["| input | type | if not given | |", "|---|---|---|---|"]
    for one in OPTIONS:
        if one.doc:
            default = "" if one.default is None else f"{one.default}".lower()
            lines.append(f"| `{one.name}` | {_type(one)} | {default} | {' '.join(filter(None, (one.doc, one.more)))} |")
    return "\n".join(lines) + "\n"


def _type(option: Option) -> str:
    kind = f"{option.dtype} list" if option.dims != (1,) else option.dtype
    if option.range is None or option.dtype == "UINT64":
        return kind
    least, most = option.range
    return f"{kind}, {least:g} or more" if most == MOST_INT32 else f"{kind}, {least:g} to {most:g}"


def _outputs_table() -> str:
    rows = [f"| `{one.name}` | {one.dtype} | {one.kind} | {one.doc} |\n" for one in ENSEMBLE_OUTPUTS if one.doc]
    return "| output | type | kind | |\n|---|---|---|---|\n" + "".join(rows)


def _engines_table() -> str:
    rows = ["| | OpenVINO | simulated | [TensorRT-LLM](tensorrt-llm.md) |", "|---|---|---|---|"]
    for one in FEATURES.values():
        since = "" if one.checkpoint is None or one.checkpoint <= _RELEASE else f" from {_release(one.checkpoint)} on"
        checkpoints = f"checkpoints{since}" if one.checkpoint else ""
        flows = [*(["engines"] if one.compiled else []), *([checkpoints] if checkpoints else [])]
        both = "yes" if flows == ["engines", "checkpoints"] else ", and ".join(flows) or "no"
        rows.append(f"| {one.doc} | {_yes(one.openvino)} | {_yes(one.simulated)} | {both} |")
    return "\n".join(rows) + "\n"


def _flows_table() -> str:
    now, next_one = _release(_RELEASE), _release((_RELEASE[0], _RELEASE[1] + 1))
    rows = [
        f"| | engine, {TENSORRT_LLM} | checkpoint, {now}.x | checkpoint, {next_one} and later |",
        "|---|---|---|---|",
    ]
    for one in FEATURES.values():
        there = one.checkpoint is not None and one.checkpoint <= _RELEASE
        pull = f" ([#{one.pull}](https://github.com/NVIDIA/TensorRT-LLM/pull/{one.pull}))" if one.pull else ""
        refused = "yes" if there else f"no, refused{pull}"
        rows.append(f"| {one.doc} | {_yes(one.compiled)} | {refused} | {_yes(one.checkpoint)} |")
    return "\n".join(rows) + "\n"


def _yes(there: object) -> str:
    return "yes" if there else "no"


def _release(numbers: tuple[int, int]) -> str:
    return ".".join(map(str, numbers))


def main() -> None:
    """Write the files into the checkout given as the only argument, else the directory this was started in."""
    root = Path(sys.argv[1] if sys.argv[1:] else ".")
    if not (root / REQUESTS).is_file():
        sys.exit(f"{root.resolve()} has no {REQUESTS}; expected a checkout of this project.")
    for path, text in rendered(root).items():
        (root / path.parent).mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text)


if __name__ == "__main__":
    main()
