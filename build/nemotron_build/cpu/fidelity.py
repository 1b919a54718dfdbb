"""The written model against its source, weights by sample and the answer to a prompt; and against itself in FP32.

What the source's own weights answer comes from a Llama in NumPy, one block of rows in memory at a time. It shares no
line with the graph that OpenVINO runs, so the two agree only where both are right. They do share what the source says
of sizes, constants and frequencies: checkpoint/shape.py and gguf_file.py read those, and the tests hold what they read
against transformers.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from nemotron_build.checkpoint.tensors import EMBEDDING, FINAL_NORM, OUTPUT, expected_tensors
from nemotron_build.cpu.packed import GROUP, JOINT, Array, Packed
from nemotron_build.cpu.weight_source import WeightSource, blocks
from nemotron_build.errors import VerificationError
from nemotron_build.profiles import Precision
from nemotron_serving.engine.openvino.cpu import isa_properties

if TYPE_CHECKING:
    from tokenizers import Tokenizer

_PROMPT = """\
The river rises in the mountains and flows through three countries before it reaches the sea. In spring, when the snow
melts, the water is high and the ferries do not run. People who live on its banks have learned to read it: they know
"""
_SAMPLED_ROWS = 16
_PROMPT_TOKENS = 48
_FP32 = {"INFERENCE_PRECISION_HINT": "f32", "DYNAMIC_QUANTIZATION_GROUP_SIZE": "0", "KV_CACHE_PRECISION": "f32"}
# Mean KL(source || written), in nats. A model with a wrong layer, norm or rope is nats away; a wrong rope alone shows
# in the second prompt. What 4 bits cost depends on the model: some 0.3 for 135 million weights, far less for 8 billion.
_MAX_MEAN_KL: dict[Precision, float] = {"bf16": 0.02, "int8": 0.05, "int4": 1.0}


@dataclass(frozen=True)
class CpuAccuracy:
    """The written model against its source, or against itself in FP32, on a prompt of 48 tokens.

    Attributes:
        top1_agreement: Share of positions at which both find the same token most likely.
        mean_kl: Mean of KL(other || written) over positions, in nats.
    """

    top1_agreement: float
    mean_kl: float


def prompt_ids(tokenizer: Tokenizer) -> list[int]:
    """The text that is answered in the comparisons."""
    return list(tokenizer.encode(_PROMPT, add_special_tokens=False).ids)


def check_weights(model: Path, source: WeightSource) -> None:
    """Read some rows of every matrix back and compare them with the source.

    Raises:
        VerificationError: naming a matrix that is not what it was packed from.
    """
    import openvino

    constants = {
        node.get_friendly_name(): node
        for node in openvino.Core().read_model(model).get_ops()
        if node.get_type_name() == "Constant"
    }
    generator = np.random.default_rng(0)
    matrices = {name: size for name, size in expected_tensors(source.shape).items() if len(size) > 1}
    places = _places(constants, matrices)
    for name, size in matrices.items():
        if name not in places:
            raise VerificationError(f"The written model has no weights {name}.")
        written = _read_back(constants, *places[name], size)
        rows = np.sort(generator.choice(size[0], min(_SAMPLED_ROWS, size[0]), replace=False))
        found, expected = written.rows_as_float(rows), source.rows(name, rows)
        if not np.all(np.abs(found - expected) <= _allowed(written, rows, expected)):
            raise VerificationError(f"{model}: {name} differs from its source by more than {written.element} rounds.")


def check_answers(model: Path, source: WeightSource, precision: Precision, prompt: list[int]) -> CpuAccuracy:
    """Run a prompt through OpenVINO and through the source's weights.

    The first copy has the usual positions and gives the figures. The second has its second half at the end of the
    context, far from the first, where wrong rotary frequencies show.

    Raises:
        VerificationError: logits that are not finite, or too far from those of the source.
    """
    ids = np.tile(np.resize(np.array(prompt, np.int64), _PROMPT_TOKENS), (2, 1))
    near, half = np.arange(_PROMPT_TOKENS), _PROMPT_TOKENS // 2
    far = np.where(near < half, near, near + max(0, source.shape.max_position_embeddings - _PROMPT_TOKENS))
    positions = np.stack([near, far])
    expected = reference_logits(source, ids, positions)
    found = _logits(model, ids, positions, isa_properties())
    for what, logits in (("The source's weights give", expected), (f"{model} gives", found)):
        if not np.isfinite(logits).all():
            raise VerificationError(f"{what} logits that are not finite. Is the checkpoint damaged?")
    mean_kl = _divergence(expected, found).mean(-1)
    if mean_kl.max() > _MAX_MEAN_KL[precision]:
        raise VerificationError(
            f"{model} answers otherwise than its source: mean KL {mean_kl[0]:.4f}, and {mean_kl[1]:.4f} across the "
            f"whole context; {precision} should stay below {_MAX_MEAN_KL[precision]}."
        )
    return _accuracy(expected[0], found[0])


def measure_arithmetic(model: Path, prompt: list[int]) -> CpuAccuracy:
    """What this CPU's arithmetic costs: a written model as it is served here, against the same weights in FP32.

    OpenVINO computes in BF16, and with inputs rounded to 8 bits, where the CPU can; how far that is from FP32 differs
    from CPU to CPU. One of the two is in memory at a time.

    Raises:
        VerificationError: logits that are not finite.
    """
    ids = np.resize(np.array(prompt, np.int64), (1, _PROMPT_TOKENS))
    positions = np.arange(_PROMPT_TOKENS)[None]
    exact, here = (_logits(model, ids, positions, properties) for properties in (_FP32, isa_properties()))
    if not (np.isfinite(exact).all() and np.isfinite(here).all()):
        raise VerificationError(f"{model} gives logits that are not finite. Build the package again.")
    return _accuracy(exact[0], here[0])


def reference_logits(source: WeightSource, ids: Array, positions: Array) -> Array:
    """Logits of a batch of prompts by the source's weights, FP32 (batch, tokens, vocabulary).

    Args:
        source: The model.
        ids: (batch, tokens).
        positions: Place of each token in its sequence, rising, (batch, tokens).
    """
    shape = source.shape
    angles = positions[..., None].astype(np.float32) * source.inverse_frequencies
    cos, sin = np.cos(angles)[:, None], np.sin(angles)[:, None]
    hidden = source.rows(EMBEDDING, ids.reshape(-1)).reshape(*ids.shape, -1)
    for number in range(shape.num_layers):
        name = f"model.layers.{number}"
        normed = _norm(source, f"{name}.input_layernorm.weight", hidden)
        hidden = hidden + _attention(source, f"{name}.self_attn", normed, cos, sin)
        normed = _norm(source, f"{name}.post_attention_layernorm.weight", hidden)
        gate = _linear(source, f"{name}.mlp.gate_proj.weight", normed, shape.intermediate_size)
        up = _linear(source, f"{name}.mlp.up_proj.weight", normed, shape.intermediate_size)
        with np.errstate(over="ignore"):  # exp(-x) of a very negative x; x / (1 + inf) is the 0 that it should be
            gated = gate / (1 + np.exp(-gate)) * up
        hidden = hidden + _linear(source, f"{name}.mlp.down_proj.weight", gated, shape.hidden_size)
    head = EMBEDDING if shape.tie_word_embeddings else OUTPUT
    return _linear(source, head, _norm(source, FINAL_NORM, hidden), shape.vocab_size)


def _logits(model: Path, ids: Array, positions: Array, properties: dict[str, str]) -> Array:
    """Logits of a batch of prompts by OpenVINO, FP32 (batch, tokens, vocabulary)."""
    import openvino

    compiled = openvino.Core().compile_model(model, "CPU", {"PERFORMANCE_HINT": "LATENCY", **properties})
    feed = {
        "input_ids": ids,
        "attention_mask": np.ones_like(ids),
        "position_ids": positions,
        "beam_idx": np.arange(len(ids), dtype=np.int32),
    }
    return np.array(compiled.create_infer_request().infer(feed)["logits"])


def _accuracy(expected: Array, found: Array) -> CpuAccuracy:
    agreement = (expected.argmax(-1) == found.argmax(-1)).mean()
    return CpuAccuracy(float(agreement), float(_divergence(expected, found).mean()))


def _places(constants: Iterable[str], matrices: Mapping[str, tuple[int, ...]]) -> dict[str, tuple[str, int]]:
    """By the name of each matrix: the name that it is written under, maybe with others, and its first row there."""
    places = {}
    for written in (name.removesuffix("/codes") for name in constants if name.endswith("/codes")):
        first = 0
        for name in written.split(JOINT):
            places[name] = (written, first)
            first += matrices[name][0]
    return places


def _read_back(constants: Mapping[str, Any], written: str, first: int, size: tuple[int, ...]) -> Packed:
    rows, columns = size

    def part(kind: str, *shape: int) -> Array | None:
        constant = constants.get(f"{written}/{kind}")
        return None if constant is None else constant.data.reshape(-1, *shape)[first : first + rows]

    element = constants[f"{written}/codes"].get_element_type().get_type_name()
    if element == "bf16":
        codes, others = part("codes", columns), []
    else:
        groups = columns // GROUP
        codes = part("codes", groups, GROUP if element == "i8" else GROUP // 2)
        others = [part(kind, groups, 1) for kind in ("scales", "zeros", "offsets")]
    assert codes is not None, "that is how it was found"  # noqa: S101
    return Packed(element, rows, columns, codes.view(np.uint16) if element == "bf16" else codes, *others)


def _allowed(written: Packed, rows: Array, expected: Array) -> Array:
    """By how much each weight may be off: half a step, and what FP16 rounds off scales and zeros."""
    if written.scales is None:
        return np.abs(expected) * 2.0**-8
    steps = np.abs(written.scales[rows].astype(np.float32))
    slack = 0.5 + 0.1  # a tenth: codes of 8 bits times a scale, or a zero up to 64, rounded to FP16
    tiny = 2.0**-24 * 128  # scales below FP16's normal range
    return np.broadcast_to(steps * slack + tiny, (*steps.shape[:2], GROUP)).reshape(expected.shape)


def _divergence(expected: Array, found: Array) -> Array:
    """KL(expected || found) of each position, from logits."""
    log_p, log_q = _log_softmax(expected), _log_softmax(found)
    divergence: Array = (np.exp(log_p) * (log_p - log_q)).sum(-1)
    return divergence


def _log_softmax(logits: Array) -> Array:
    shifted = np.asarray(logits, np.float64) - logits.max(-1, keepdims=True)
    shifted -= np.log(np.exp(shifted).sum(-1, keepdims=True))
    return np.asarray(shifted)


def _attention(source: WeightSource, name: str, normed: Array, cos: Array, sin: Array) -> Array:
    shape = source.shape
    query = _heads(_linear(source, f"{name}.q_proj.weight", normed, shape.query_size), shape.num_heads)
    key = _heads(_linear(source, f"{name}.k_proj.weight", normed, shape.kv_size), shape.num_kv_heads)
    value = _heads(_linear(source, f"{name}.v_proj.weight", normed, shape.kv_size), shape.num_kv_heads)
    sharing = shape.num_heads // shape.num_kv_heads
    query, key = _rotate(query, cos, sin), _rotate(key, cos, sin).repeat(sharing, 1)
    scores = query @ key.swapaxes(-1, -2) / np.sqrt(shape.head_dim)
    scores = np.where(np.tri(scores.shape[-1], dtype=bool), scores, -np.inf)
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    weights /= weights.sum(-1, keepdims=True)
    attended = (weights @ value.repeat(sharing, 1)).swapaxes(1, 2)
    merged = attended.reshape(*attended.shape[:2], shape.query_size)
    return _linear(source, f"{name}.o_proj.weight", merged, shape.hidden_size)


def _heads(projected: Array, heads: int) -> Array:
    return projected.reshape(*projected.shape[:2], heads, -1).swapaxes(1, 2)


def _rotate(heads: Array, cos: Array, sin: Array) -> Array:
    first, second = np.split(heads, 2, axis=-1)
    return np.concatenate([first * cos - second * sin, second * cos + first * sin], axis=-1)


def _norm(source: WeightSource, name: str, hidden: Array) -> Array:
    mean = np.square(hidden).mean(-1, keepdims=True)
    normed: Array = hidden / np.sqrt(mean + np.float32(source.shape.rms_norm_eps)) * source.vector(name)
    return normed


def _linear(source: WeightSource, name: str, hidden: Array, rows: int) -> Array:
    result = np.empty((*hidden.shape[:-1], rows), np.float32)
    for block in blocks(rows, hidden.shape[-1]):
        result[..., block] = hidden @ source.rows(name, np.arange(block.start, block.stop)).T
    return result
