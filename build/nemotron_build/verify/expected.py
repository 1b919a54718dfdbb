"""What a converted checkpoint has to say and to hold, in terms that its two formats share.

First the fields of its configuration, each a claim; then its weights and scales.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import msgspec

from nemotron_build.checkpoint.shape import ModelShape, RopeScaling
from nemotron_build.checkpoint.tensors import TensorRecord, load_tensor
from nemotron_build.errors import VerificationError

AGAIN = "Convert the checkpoint again."
FP8, BF16, FLOAT32 = "F8_E4M3", "BF16", "F32"


@dataclass(frozen=True)
class Claim:
    """One field of a configuration.

    Attributes:
        file: The file with the field.
        field: Its name there, with dots.
        found: What it says, or what counts where it is missing.
        expected: What it has to say.
        written: Whether the field is there.
        remedy: What to do if it says something else.
    """

    file: Path
    field: str
    found: object
    expected: object
    written: bool = True
    remedy: str = AGAIN


def check_claims(claims: Iterable[Claim]) -> None:
    """Check them in their order.

    Raises:
        VerificationError: naming the first field that is wrong.
    """
    for claim in claims:
        if not _equal(claim.found, claim.expected):
            found = f"is {claim.found!r}" if claim.written else f"is missing, which means {claim.found!r}"
            raise VerificationError(f"{claim.file}: {claim.field} {found}, expected {claim.expected!r}. {claim.remedy}")


def rope_claims(
    file: Path, field: str, found: RopeScaling | None, expected: RopeScaling | None, *, written: bool
) -> Iterator[Claim]:
    """The claims of rope scaling: that it is there or not, then each of its numbers."""
    kinds = [scaling and "llama3" for scaling in (found, expected)]
    yield Claim(file, field, kinds[0], kinds[1], written=written)
    if found is not None and expected is not None:
        for part in fields(RopeScaling):
            yield Claim(file, f"{field}.{part.name}", getattr(found, part.name), getattr(expected, part.name))


def excluded(modules: list[str], patterns: list[str]) -> list[str]:
    """Those of the modules that the patterns keep from being quantized."""
    return [module for module in modules if any(fnmatchcase(module, pattern) for pattern in patterns)]


def read_object(path: Path) -> dict[str, Any]:
    """Read a JSON object.

    Raises:
        VerificationError: it is missing or something else.
    """
    try:
        return msgspec.json.decode(path.read_bytes(), type=dict[str, Any])
    except FileNotFoundError:
        raise VerificationError(f"{path} is missing. {AGAIN}") from None
    except ValueError as error:
        raise VerificationError(f"{path} cannot be read: {error}. {AGAIN}") from error


@dataclass(frozen=True)
class Piece:
    """Rows of a converted tensor, and the part of a source tensor that they hold.

    Attributes:
        source: Name of the source tensor.
        rows: The converted tensor's rows.
        part: The source tensor's part, one slice a dimension.
    """

    source: str
    rows: slice
    part: tuple[slice, ...]


@dataclass(frozen=True)
class Weight:
    """One weight of a converted checkpoint.

    Attributes:
        rank: The tensor-parallel rank that holds it; 0 where there are no ranks.
        name: Its name in the converted checkpoint.
        shape: Its dimensions there.
        pieces: What it is made of, in the order of its rows.
        weight_scale: The tensor with the scale of an FP8 weight, or None for a BF16 weight.
        input_scale: The tensor with the scale of an FP8 layer's input, or None for a BF16 weight.
    """

    rank: int
    name: str
    shape: tuple[int, ...]
    pieces: tuple[Piece, ...]
    weight_scale: str | None = None
    input_scale: str | None = None


@dataclass(frozen=True)
class KvScale:
    """The scale of a layer's FP8 keys, values or both. FP8 value = value / scale.

    Attributes:
        rank: As in `Weight`.
        name: Its name in the converted checkpoint.
        layer: Number of the layer.
        keys: Whether it is the scale of the keys.
        values: Whether it is the scale of the values.
    """

    rank: int
    name: str
    layer: int
    keys: bool = True
    values: bool = True


@dataclass(frozen=True)
class Converted:
    """A converted checkpoint: what its config says and what its files have to hold.

    Attributes:
        directory: Where it lies.
        shape: The model, as its config describes it.
        ranks: The tensors of each rank's file, by name.
        weights: The weights that it has to hold.
        kv_scales: The scales that it has to hold for an FP8 KV cache.
        optional: Further tensors that it may hold, which no engine needs.
    """

    directory: Path
    shape: ModelShape
    ranks: tuple[dict[str, TensorRecord], ...]
    weights: tuple[Weight, ...]
    kv_scales: tuple[KvScale, ...]
    optional: frozenset[str] = frozenset()

    def scales(self) -> Iterator[tuple[int, str]]:
        """Rank and name of every scale that it has to hold."""
        for weight in self.weights:
            if weight.weight_scale is not None and weight.input_scale is not None:
                yield weight.rank, weight.weight_scale
                yield weight.rank, weight.input_scale
        for scale in self.kv_scales:
            yield scale.rank, scale.name

    def scalar(self, rank: int, name: str) -> float:
        """The value of a scale."""
        return float(load_tensor(self.ranks[rank][name]).reshape(-1)[0])

    def weight_scale(self, weight: Weight) -> float | None:
        """The scale of an FP8 weight; None for a BF16 weight."""
        return None if weight.weight_scale is None else self.scalar(weight.rank, weight.weight_scale)


def pieces(
    sources: tuple[str, ...],
    sizes: dict[str, tuple[int, ...]],
    split_axis: int | None,
    rank: int,
    tp_size: int,
) -> tuple[tuple[int, ...], tuple[Piece, ...]]:
    """What one rank holds of some source tensors that are split along `split_axis` and then stacked.

    Returns:
        The dimensions of the stack, and its pieces.
    """
    stacked: list[Piece] = []
    rows = 0
    for source in sources:
        size = sizes[source]
        part = [slice(0, length) for length in size]
        if split_axis is not None:
            length = size[split_axis] // tp_size
            part[split_axis] = slice(rank * length, (rank + 1) * length)
        height = part[0].stop - part[0].start
        stacked.append(Piece(source, slice(rows, rows + height), tuple(part)))
        rows += height
    return (rows, *(found.stop - found.start for found in part[1:])), tuple(stacked)


def _equal(found: object, expected: object) -> bool:
    if isinstance(found, float) and isinstance(expected, float):
        # An epsilon that went through float32 is the same epsilon.
        return math.isclose(found, expected, rel_tol=1e-6)
    return found == expected
