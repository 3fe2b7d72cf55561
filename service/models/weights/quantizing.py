"""Weights of linear layers in blocks of 8 or 4 bits, as onnxruntime's operator MatMulNBits reads them.

A matrix is stored as in its published file, [out, in]. Each row is cut into blocks of `block` numbers; the last one is
padded with zeros. A block has one scale and no zero point: number = (code - middle) * scale, with the middle 128 for
8 bits and 8 for 4 bits. Two codes of 4 bits share a byte, the first one in its low half.

Only numpy is used, and a few megabytes beyond the result: a matrix is read in chunks of rows.
"""

from __future__ import annotations

import math
import re
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

Floats: TypeAlias = NDArray[np.float32]
Codes: TypeAlias = NDArray[np.uint8]
Matrix: TypeAlias = NDArray[np.floating[Any]]

BLOCKS = {8: 64, 4: 32}
"""Numbers in a block by default, by bits.

With these, at level 4, a row alone equals the same row in a batch bit for bit on CPUs with AVX-512 VNNI; int8 does on
those with AVX2 as well. With int8 in blocks of 128 an odd number of rows has another kernel for the last one, which
differs in float32's rounding; later layers round that to other int8 numbers, and a call differs by 0.003 (RMS). They
take 0.97 of the memory of blocks of 64, and 0.75 of the time of a large layer with AVX-512 VNNI. int4 has 1.1 times the
error in blocks of 64."""

LIMITS = {8: 0.02, 4: 0.15}
"""Relative errors above which a layer keeps its precision, by bits.

Normally distributed weights have 0.006 and 0.086, those with Student's t distribution of 3 degrees of freedom, which
has far more outliers than trained layers, 0.011 and 0.128."""

SMALLEST = 65_536
"""Smaller matrices are kept: all of them together take less than a hundredth of a published model."""

CHUNK = 1 << 19  # numbers that a thread quantizes at once: 2 MiB as float32

LARGE_TABLE = 1 << 26
"""Numbers from which an embedding table is float16 beside quantized layers on a CPU. Qwen3-4B's has 389 million, in
float32 0.7 of the bytes of its layers in 4 bits; CLIP's have 38 and 63 million."""

SAMPLE = 128  # rows in which the error of columns is measured

FAST, EXACT = 4, 1
"""MatMulNBits' accuracy levels: the other factor is rounded to int8 in blocks, or not rounded."""

LINEAR = frozenset({"MatMul", "Gemm"})
"""Operators that multiply by a weight [out, in]: MatMul through Transpose, Gemm with transB."""

# First and last layers, which 4 bits harm most, in the names of diffusers and transformers.
ENDS = re.compile(
    r"(conv_in|conv_out|x_embedder|context_embedder|pos_embed\.proj|patch_embed\.proj|caption_projection\.\w+"
    r"|proj_out|norm_out\.linear|text_projection)\.weight"
)


class Quantized(NamedTuple):
    """A matrix [out, in] in blocks, and its relative error.

    `packed` is uint8 [out, blocks, bytes of a block], `scales` float32 [out, blocks].
    """

    packed: Codes
    scales: Floats
    error: float


def quantized_shapes(shape: Sequence[int], bits: int, block: int) -> tuple[tuple[int, int, int], tuple[int, int]]:
    """Return the shapes of `packed` and `scales` for a matrix of `shape`."""
    rows, columns = shape
    blocks = -(-columns // block)
    return (rows, blocks, block * bits // 8), (rows, blocks)


def quantized_bytes(shape: Sequence[int], bits: int, block: int, scale_bytes: int = 4) -> int:
    """Return the bytes of codes and scales of a matrix of `shape`."""
    (rows, blocks, width), _ = quantized_shapes(shape, bits, block)
    return rows * blocks * (width + scale_bytes)


def quantize(matrix: Matrix, bits: int, block: int) -> tuple[Codes, Floats]:
    """Return codes, uint8 [out, blocks, bytes of a block], and scales, float32 [out, blocks], of a matrix [out, in]."""
    packed, scales, _ = quantize_measured(matrix, bits, block)
    return packed, scales


def quantize_measured(matrix: Matrix, bits: int, block: int, threads: int = 1) -> Quantized:
    """Quantize a matrix [out, in] of any floating type, and measure the error of its codes.

    The error is the larger one of two, which equal each other for a layer without outliers: the root mean square of the
    rows' relative errors, so that large outputs do not hide small ones, and the median of the columns' relative errors,
    so that large weights do not hide the others in their blocks. It is not finite if the matrix is not.
    """
    rows, columns = matrix.shape
    codes_shape, scales_shape = quantized_shapes(matrix.shape, bits, block)
    packed, scales = np.empty(codes_shape, np.uint8), np.empty(scales_shape, np.float32)
    errors = np.empty(rows, np.float32)

    def quantize_rows(part: slice) -> None:
        with np.errstate(all="ignore"):  # numbers that are not finite: the error says so
            packed[part], scales[part], errors[part] = _quantize_chunk(_blocks(matrix[part], block), bits)

    step = max(1, CHUNK // max(columns, 1))
    parts = (slice(first, first + step) for first in range(0, rows, step))
    with ThreadPoolExecutor(threads) as pool:
        deque(pool.map(quantize_rows, parts), maxlen=0)
    sample = slice(None, None, -(-rows // SAMPLE))
    error = np.maximum(
        np.sqrt(errors.mean(dtype=np.float64)), _column_error(matrix[sample], packed[sample], scales[sample], bits)
    )
    return Quantized(packed, scales, float(error))


def _column_error(matrix: Matrix, packed: Codes, scales: Floats, bits: int) -> float:
    """Return the median of the columns' relative errors; columns of zeros have none."""
    values = matrix.astype(np.float32)
    with np.errstate(all="ignore"):  # as above
        totals = np.linalg.norm(values, axis=0)
        values -= dequantize(packed, scales, bits, values.shape[1])
        errors = np.linalg.norm(values, axis=0) / totals
    return float(np.median(errors[totals != 0])) if totals.any() else 0.0


def dequantize(packed: Codes, scales: Floats, bits: int, columns: int) -> Floats:
    """Return the matrix, float32 [out, columns], that codes and scales stand for."""
    if bits == 4:
        packed = np.stack([packed & 15, packed >> 4], -1)
    rows, blocks = scales.shape
    values = packed.reshape(rows, blocks, -1).astype(np.float32)
    values -= 1 << (bits - 1)
    values *= scales[..., None]
    return values.reshape(rows, -1)[:, :columns]


def _blocks(rows: Matrix, block: int) -> Floats:
    """Return rows [n, in] as float32 [n, blocks, block], padded with zeros."""
    count, columns = rows.shape
    blocks = -(-columns // block)
    padded = np.zeros((count, blocks * block), np.float32) if columns % block else np.empty(rows.shape, np.float32)
    padded[:, :columns] = rows
    return padded.reshape(count, blocks, block)


def _quantize_chunk(values: Floats, bits: int) -> tuple[Codes, Floats, Floats]:
    """Return codes, scales and the squared relative error of each row; overwrites `values` [n, blocks, block]."""
    middle = 1 << (bits - 1)
    scales = _scales(values, bits)
    values /= scales[..., None]
    totals = _squares(values, scales)
    rounded = np.rint(values)
    if bits == 4:  # with 8 bits nothing is larger than 127
        np.minimum(rounded, middle - 1, out=rounded)
    values -= rounded
    errors = np.divide(_squares(values, scales), totals, out=np.zeros_like(totals), where=totals != 0)
    codes: Codes = np.empty(values.shape, np.uint8)
    np.add(rounded, middle, out=codes, casting="unsafe")
    if bits == 4:
        codes = np.bitwise_or(codes[..., 0::2], np.left_shift(codes[..., 1::2], 4))
    return codes, scales, errors


def _scales(values: Floats, bits: int) -> Floats:
    """Return the scale of each block, float32 [n, blocks].

    With 8 bits the largest size becomes 127. With 4 bits it becomes -8, the one code that has no opposite.
    """
    high, low = values.max(2), values.min(2)
    scales: Floats = np.maximum(high, -low) / 127 if bits == 8 else np.where(high > -low, high, low) / -8
    scales[scales == 0] = 1
    return scales


def _squares(values: Floats, scales: Floats) -> Floats:
    """Return the sum of squares of each row of `values` [n, blocks, block] times `scales` [n, blocks]."""
    sums: Floats = np.einsum("nb,nb,nb->n", np.einsum("nbk,nbk->nb", values, values), scales, scales)
    return sums


def reason_to_keep(name: str, shape: Sequence[int], readers: Collection[str]) -> str | None:
    """Return why a weight is not quantized, or None for a weight that is to be tried.

    `name` is the parameter's name in diffusers or transformers. `readers` are the operators that read it: `MatMul`
    through Transpose, `Gemm` with transB, any other one under its own name.
    """
    if len(shape) != 2 or not readers or not LINEAR.issuperset(readers):
        return "not a linear layer"
    if ENDS.fullmatch(name):
        return "first or last layer"
    if shape[0] * shape[1] < SMALLEST:
        return f"fewer than {SMALLEST} numbers"
    return None


def is_halved(shape: Sequence[int]) -> bool:
    """Return whether an embedding table of `shape` is large enough to be float16."""
    return math.prod(shape) >= LARGE_TABLE


@dataclass(frozen=True, slots=True)
class Card:
    """What quantization did to one component.

    `quantized` has the relative error of each quantized layer. `kept` has the reason for each matrix or kernel that was
    not quantized. `bytes_before` and `bytes_after` are those of the matrices and kernels in memory.
    """

    bits: int
    block: int
    quantized: Mapping[str, float]
    kept: Mapping[str, str]
    bytes_before: int
    bytes_after: int
    mean_error: float
    worst_error: float
    worst_layer: str

    def as_json(self) -> dict[str, Any]:
        """Return the card as JSON's types."""
        return asdict(self)


@dataclass(slots=True)
class Quantizer:
    """Quantizes the weights of one component, keeps those that suffer, and records both.

    `block` is by default that of `BLOCKS`; `number_bytes` is the size of a number that is not quantized.
    """

    bits: int = 8
    block: int = 0
    number_bytes: int = 4
    threads: int = 1
    _errors: dict[str, float] = field(default_factory=dict)
    _kept: dict[str, str] = field(default_factory=dict)
    _bytes: list[int] = field(default_factory=lambda: [0, 0])

    def __post_init__(self) -> None:
        """Check bits and block."""
        if self.bits not in BLOCKS:
            raise ValueError(f"bits must be 8 or 4; got {self.bits}")
        self.block = self.block or BLOCKS[self.bits]
        if self.block not in (16, 32, 64, 128, 256):
            raise ValueError(f"block must be 16, 32, 64, 128 or 256; got {self.block}")

    def wants(self, name: str, shape: Sequence[int], readers: Collection[str], *, halved: bool = False) -> bool:
        """Return whether to try a weight, as `reason_to_keep` says; one that is kept, perhaps halved, is recorded."""
        reason = "embedding table, in float16" if halved else reason_to_keep(name, shape, readers)
        if reason and len(shape) > 1:
            self._keep(name, shape, reason, 2 if halved else 0)
        return not reason

    def quantize(self, name: str, matrix: Matrix) -> Quantized | None:
        """Quantize a matrix [out, in]; None for one whose error exceeds the limit, which is kept as it is."""
        result = quantize_measured(matrix, self.bits, self.block, self.threads)
        if not result.error <= LIMITS[self.bits]:
            self._keep(name, matrix.shape, f"error of {result.error:.3g} exceeds {LIMITS[self.bits]}")
            return None
        self._errors[name] = result.error
        self._count(matrix.shape, quantized_bytes(matrix.shape, self.bits, self.block, self.number_bytes))
        return result

    def card(self) -> Card:
        """Return what was quantized and kept until now."""
        worst = max(self._errors, key=self._errors.__getitem__, default="")
        mean = sum(self._errors.values()) / max(len(self._errors), 1)
        return Card(
            bits=self.bits,
            block=self.block,
            quantized=dict(self._errors),
            kept=dict(self._kept),
            bytes_before=self._bytes[0],
            bytes_after=self._bytes[1],
            mean_error=mean,
            worst_error=self._errors.get(worst, 0.0),
            worst_layer=worst,
        )

    def _keep(self, name: str, shape: Sequence[int], reason: str, number_bytes: int = 0) -> None:
        self._kept[name] = reason
        self._count(shape, (number_bytes or self.number_bytes) * int(np.prod(shape)))

    def _count(self, shape: Sequence[int], after: int) -> None:
        self._bytes[0] += self.number_bytes * int(np.prod(shape))
        self._bytes[1] += after
