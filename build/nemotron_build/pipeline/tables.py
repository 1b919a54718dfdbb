"""Tables for people: a checkpoint, a GGUF file, a package."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING

from rich.table import Table

from nemotron_build.space import size
from nemotron_serving.package import Package

if TYPE_CHECKING:
    from nemotron_build.checkpoint.check import Checkpoint
    from nemotron_build.checkpoint.shape import ModelShape
    from nemotron_build.pipeline.request import Source


def checkpoint_table(checkpoint: Checkpoint) -> Table:
    """What `check` found."""
    shape = checkpoint.shape
    template = "with a chat template of its own" if checkpoint.tokenizer.chat_template else "no chat template"
    rows = {
        "weights": f"{shape.parameters / 1e9:.3f} billion, {checkpoint.dtype}, {size(checkpoint.bytes)} in "
        f"{len({record.file for record in checkpoint.tensors.values()})} file(s)",
        **_shape_rows(shape),
        "vocabulary": f"{shape.vocab_size:,} tokens, {template}",
        "stop tokens": ", ".join(map(str, checkpoint.stop_token_ids)),
        "revision": checkpoint.revision or "not known",
    }
    table = _table(f"{checkpoint.path}: a checkpoint that can be built from", rows)
    for note in checkpoint.notes:
        table.add_row("note", note)
    return table


def gguf_table(source: Source) -> Table:
    """What `check` found of a GGUF file."""
    assert source.gguf is not None, "open_gguf opens it"  # noqa: S101
    kinds = Counter(tensor.tensor_type.name for tensor in source.gguf.tensors.values())
    template = "with a chat template of its own" if source.chat_template else "no chat template"
    rows = {
        "weights": f"{source.shape.parameters / 1e9:.3f} billion, {size(source.bytes)}",
        "tensors": ", ".join(f"{count} {kind}" for kind, count in kinds.most_common()),
        **_shape_rows(source.shape),
        "vocabulary": f"{source.shape.vocab_size:,} tokens, {template}",
        "stop tokens": ", ".join(map(str, source.stop_token_ids)),
    }
    return _table(f"{source.path}: a GGUF file that a CPU's package can be built from", rows)


def package_table(package: Package, checks: list[str]) -> Table:
    """What `verify` found."""
    manifest, limits = package.manifest, package.serving.limits
    engine = manifest.engine
    rows = {
        "name": manifest.name,
        "created by": manifest.created_by,
        "source": _lines(manifest.source),
        "engine": f"{engine.kind} {engine.version} on {engine.device}, {engine.machine}",
        "precision": engine.precision,
        "model name": package.serving.model_name,
        "max_seq_len": f"{limits.max_seq_len:,} tokens",
        "max_prompt_bytes": f"{limits.max_prompt_bytes:,} bytes",
        "max_batch_size": f"{limits.max_batch_size:,} requests, and max_waiting {limits.max_waiting:,} behind them",
        "default_timeout": f"{limits.default_timeout_ms:,} ms",
    }
    table = _table(f"{package.path}: whole and unaltered", rows)
    if build := manifest.build:
        table.add_section()
        table.add_row("profile", build.profile)
        for name, values in (("versions", build.versions), ("built on", build.hardware), ("options", build.options)):
            table.add_row(name, _lines(values) or "not recorded")
        figures = {name: f"{value:.6g}" for name, value in build.accuracy.items()}
        table.add_row("accuracy", _lines(figures) or "not measured: nothing was quantized to FP8")
    table.add_section()
    for check in checks:
        table.add_row("checked", check)
    table.add_section()
    for name, record in manifest.files.items():
        table.add_row(name, f"{record.bytes:,} bytes")
    return table


def _shape_rows(shape: ModelShape) -> dict[str, str]:
    scaling = shape.rope_scaling
    return {
        "layers": f"{shape.num_layers}, hidden size {shape.hidden_size:,}, MLP {shape.intermediate_size:,}",
        "heads": f"{shape.num_heads} of {shape.head_dim}, {shape.num_kv_heads} KV heads",
        "rope": f"base {shape.rope_theta:,.0f}" + (f", llama3 scaling by {scaling.factor:g}" if scaling else ""),
        "positions": f"{shape.max_position_embeddings:,}",
    }


def _table(title: str, rows: Mapping[str, str]) -> Table:
    table = Table(title=title, title_justify="left", show_header=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in rows.items():
        table.add_row(name, value)
    return table


def _lines(values: Mapping[str, str]) -> str:
    return "\n".join(f"{name}: {value}" for name, value in values.items())
