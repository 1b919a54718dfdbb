"""The graph of a Llama-shaped model, in the form that OpenVINO GenAI's continuous batching takes.

It has the inputs and the stateful KV cache of the models that Optimum Intel exports, and spells RMS norm, rotary
positions, compressed weights and attention in the ways that OpenVINO's transformations know: they become one
operation each, and the KV cache becomes a paged one. Matrices with the same input are one where they can be, and large
ones have no zeros: both only for speed, measured in docs/benchmarks.md.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from openvino import Model, PartialShape, Tensor, Type, save_model
from openvino import opset13 as ops
from openvino.op import Constant

from nemotron_build.checkpoint.shape import ModelShape
from nemotron_build.checkpoint.tensors import EMBEDDING, FINAL_NORM, OUTPUT
from nemotron_build.cpu.packed import GROUP, JOINT, Array, Packed, join

_MAX_I64 = 2**63 - 1
_LARGE = 1 << 21  # weights of a matrix from which on its zeros cost more than two small operations in their place
_TYPES = {"i8": Type.i8, "i4": Type.i4, "u4": Type.u4}


def write_graph(
    path: Path,
    shape: ModelShape,
    inverse_frequencies: Array,
    matrix: Callable[[str], Packed],
    vector: Callable[[str], Array],
) -> None:
    """Write the model: from input_ids, attention_mask, position_ids (batch, tokens) and beam_idx (batch,) to logits.

    Args:
        path: The .xml file; the weights go to the .bin beside it.
        shape: Sizes of the model.
        inverse_frequencies: Radians by position, FP32 (head_dim / 2,).
        matrix: Gives the weights of a Hugging Face name. They are held, once, until all are written.
        vector: Gives the FP32 weights of a norm.
    """
    graph = _Graph(shape, inverse_frequencies, matrix, vector)
    model = graph.build()
    # 16 bits, as on GPUs; left alone, OpenVINO takes 8. `f16` also stands for BF16, where the CPU computes in that.
    model.set_rt_info("f16", ["runtime_options", "KV_CACHE_PRECISION"])
    save_model(model, path, compress_to_fp16=False)


class _Graph:
    def __init__(
        self,
        shape: ModelShape,
        inverse_frequencies: Array,
        matrix: Callable[[str], Packed],
        vector: Callable[[str], Array],
    ) -> None:
        self._shape, self._matrix, self._vector = shape, matrix, vector
        self._ids = _parameter("input_ids", [-1, -1], Type.i64)
        self._mask = _parameter("attention_mask", [-1, -1], Type.i64)
        self._positions = _parameter("position_ids", [-1, -1], Type.i64)
        self._beams = _parameter("beam_idx", [-1], Type.i32)
        self._batch = ops.gather(ops.shape_of(self._ids), _i64([0]), _i64(0))
        self._cos, self._sin = self._rotation(inverse_frequencies)
        self._visible = self._visibility()
        self._sinks: list[Any] = []
        # OpenVINO's constants point into these and do not keep them.
        self._held: list[Packed] = []

    def build(self) -> Model:
        shape = self._shape
        table = self._values(EMBEDDING, self._matrix(EMBEDDING))
        hidden = self._embedded(table)
        for number in range(shape.num_layers):
            hidden = self._layer(number, hidden)
        hidden = self._norm(FINAL_NORM, hidden)
        logits = ops.matmul(hidden, table, False, True) if shape.tie_word_embeddings else self._linear(OUTPUT, hidden)
        result = ops.result(logits)
        result.output(0).set_names({"logits"})
        inputs = [self._ids, self._mask, self._positions, self._beams]
        return Model([result], self._sinks, inputs, "llama")

    def _embedded(self, table: Any) -> Any:
        ids, rows = ops.convert(self._ids, "i32"), ops.constant(0, Type.i32)
        if self._held[0].scales is None:
            # Taken out first, or the whole table would be converted for each step.
            return ops.convert(ops.gather(table.input_value(0), ids, rows), "f32")
        return ops.gather(table, ids, rows)

    def _layer(self, number: int, hidden: Any) -> Any:
        name = f"model.layers.{number}"
        normed = self._norm(f"{name}.input_layernorm.weight", hidden)
        hidden = ops.add(hidden, self._attention(number, normed))
        normed = self._norm(f"{name}.post_attention_layernorm.weight", hidden)
        gate, up = self._projections([f"{name}.mlp.{kind}_proj.weight" for kind in ("gate", "up")], normed)
        gated = ops.multiply(ops.swish(gate), up)
        return ops.add(hidden, self._linear(f"{name}.mlp.down_proj.weight", gated))

    def _attention(self, number: int, normed: Any) -> Any:
        shape, name = self._shape, f"model.layers.{number}.self_attn"
        projections = self._projections([f"{name}.{kind}_proj.weight" for kind in "qkv"], normed)
        heads = (shape.num_heads, shape.num_kv_heads, shape.num_kv_heads)
        query, key, value = map(self._heads, projections, heads)
        key = self._cached(number, "key", self._rotated(key))
        value = self._cached(number, "value", value)
        attended = ops.scaled_dot_product_attention(
            self._rotated(query), self._for_all_heads(key), self._for_all_heads(value), self._visible
        )
        merged = ops.reshape(ops.transpose(attended, _i64([0, 2, 1, 3])), _i64([0, 0, shape.query_size]), True)
        return self._linear(f"{name}.o_proj.weight", merged)

    def _heads(self, projected: Any, heads: int) -> Any:
        """Split: (batch, heads, tokens, head_dim)."""
        split = ops.reshape(projected, _i64([0, 0, heads, self._shape.head_dim]), True)
        return ops.transpose(split, _i64([0, 2, 1, 3]))

    def _rotated(self, heads: Any) -> Any:
        half = self._shape.head_dim // 2
        first = ops.slice(heads, _i64([0]), _i64([half]), _i64([1]), _i64([3]))
        second = ops.slice(heads, _i64([half]), _i64([_MAX_I64]), _i64([1]), _i64([3]))
        turned = ops.concat([ops.multiply(second, _f32([[[[-1]]]])), first], -1)
        return ops.add(ops.multiply(heads, self._cos), ops.multiply(turned, self._sin))

    def _cached(self, number: int, kind: str, new: Any) -> Any:
        """Append to the KV cache of a layer: (batch, KV heads, all tokens so far, head_dim)."""
        shape = self._shape
        empty_shape = ops.concat([self._batch, _i64([shape.num_kv_heads]), _i64([0]), _i64([shape.head_dim])], 0)
        variable = f"past_key_values.{number}.{kind}present.{number}.{kind}"
        past = ops.read_value(
            ops.broadcast(_f32(0), empty_shape),
            variable,
            Type.f32,
            PartialShape([-1, shape.num_kv_heads, -1, shape.head_dim]),
        )
        whole = ops.concat([ops.gather(past, self._beams, _i64(0)), new], 2)
        self._sinks.append(ops.assign(whole, variable))
        return whole

    def _for_all_heads(self, heads: Any) -> Any:
        """Give each query head its key or value head."""
        shape = self._shape
        if shape.num_heads == shape.num_kv_heads:
            return heads
        sharing = shape.num_heads // shape.num_kv_heads
        size = ops.concat(
            [self._batch, _i64([shape.num_kv_heads]), _i64([sharing]), _i64([1]), _i64([shape.head_dim])], 0
        )
        shared = ops.broadcast(ops.unsqueeze(heads, _i64(2)), size, broadcast_spec="BIDIRECTIONAL")
        return ops.reshape(shared, _i64([0, shape.num_heads, -1, shape.head_dim]), True)

    def _rotation(self, inverse_frequencies: Array) -> tuple[Any, Any]:
        """Cosine and sine of each position, (batch, 1, tokens, head_dim)."""
        positions = ops.convert(ops.unsqueeze(self._positions, _i64(1)), "f32")
        column = Constant(inverse_frequencies.reshape(1, -1, 1).astype(np.float32))
        angles = ops.transpose(ops.matmul(column, positions, False, False), _i64([0, 2, 1]))
        both = ops.concat([angles, angles], -1)
        return ops.unsqueeze(ops.cos(both), _i64(1)), ops.unsqueeze(ops.sin(both), _i64(1))

    def _visibility(self) -> Any:
        """Which tokens each token attends to: those before it that the mask does not hide."""
        total = ops.gather(ops.shape_of(self._mask), _i64(1), _i64(0))
        new = ops.gather(ops.shape_of(self._ids), _i64(1), _i64(0))
        keys = ops.range(_i64(0), total, _i64(1), "i64")
        queries = ops.unsqueeze(ops.range(ops.subtract(total, new), total, _i64(1), "i64"), _i64(1))
        causal = ops.less_equal(keys, queries)
        given = ops.unsqueeze(ops.convert(self._mask, "boolean"), _i64([1, 2]))
        return ops.logical_and(causal, given)

    def _norm(self, name: str, hidden: Any) -> Any:
        """RMS norm."""
        square = ops.power(hidden, _f32([[[2]]]))
        mean = ops.reduce_mean(square, ops.constant([-1], Type.i32), True)
        root = ops.sqrt(ops.add(mean, _f32([[[self._shape.rms_norm_eps]]])))
        normed = ops.multiply(ops.divide(_f32([[[1]]]), root), hidden)
        return ops.multiply(normed, _f32(self._vector(name).reshape(1, 1, -1)))

    def _projections(self, names: list[str], hidden: Any) -> list[Any]:
        """The products with several matrices: one operation for all of them where they are packed alike."""
        parts = [self._matrix(name) for name in names]
        joined = join(parts)
        if joined is None:
            return [self._product(name, part, hidden) for name, part in zip(names, parts, strict=True)]
        product = self._product(JOINT.join(names), joined, hidden)
        split = ops.variadic_split(product, _i64(-1), _i64([part.rows for part in parts]))
        return [split.output(number) for number in range(len(parts))]

    def _linear(self, name: str, hidden: Any) -> Any:
        return self._product(name, self._matrix(name), hidden)

    def _product(self, name: str, packed: Packed, hidden: Any) -> Any:
        if packed.rows * packed.columns >= _LARGE:
            packed = packed.with_offsets()
        product = ops.matmul(hidden, self._values(name, packed), False, True)
        if packed.offsets is None:
            return product
        # A group's offset is added to each of its weights: it meets the sum of the group's inputs.
        size = [packed.rows, packed.columns // GROUP]
        groups = ops.reshape(hidden, _i64([0, 0, size[1], GROUP]), True)
        sums = ops.reduce_sum(groups, ops.constant([-1], Type.i32), False)
        offsets = ops.convert(_weights(name, "offsets", packed.offsets, size, Type.f16), "f32")
        return ops.add(product, ops.matmul(sums, offsets, False, True))

    def _values(self, name: str, packed: Packed) -> Any:
        """The FP32 values of a matrix, without its offsets, to be unpacked where they are used."""
        self._held.append(packed)
        size = [packed.rows, packed.columns]
        if packed.scales is None:
            return ops.convert(_weights(name, "codes", packed.codes, size, Type.bf16), "f32")
        groups = [packed.rows, packed.columns // GROUP]
        codes = _weights(name, "codes", packed.codes, [*groups, GROUP], _TYPES[packed.element])
        values = ops.convert(codes, "f16")
        if packed.zeros is not None:
            values = ops.subtract(values, _weights(name, "zeros", packed.zeros, [*groups, 1], Type.f16))
        values = ops.multiply(values, _weights(name, "scales", packed.scales, [*groups, 1], Type.f16))
        return ops.convert(ops.reshape(values, _i64(size), False), "f32")


def _weights(name: str, part: str, values: Array, shape: list[int], kind: Type) -> Any:
    """A constant that points into `values`, under a name by which it can be read back."""
    constant = Constant(Tensor(values, shape, kind), shared_memory=True)
    constant.set_friendly_name(f"{name}/{part}")
    return constant


def _parameter(name: str, shape: list[int], kind: Type) -> Any:
    parameter = ops.parameter(shape, kind)
    parameter.set_friendly_name(name)
    parameter.output(0).set_names({name})
    return parameter


def _i64(value: int | list[int]) -> Any:
    return ops.constant(np.array(value, np.int64))


def _f32(value: Any) -> Any:
    return ops.constant(np.array(value, np.float32))
