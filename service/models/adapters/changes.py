"""Changes of single layers by published adapters: the kinds, and their exact low-rank products.

===== =========================================================================================================
LoRA  W + B A. For a convolution, A has its kernel and B is 1x1 (LoCon). With a tensor `mid`, A and B are 1x1
      and `mid` is a core with the kernel between them (Tucker)
LoHa  W + (B1 A1) * (B2 A2), element by element: Hyeon-Woo et al. 2108.06098
LoKr  W + the Kronecker product of two matrices, each of which may be B A: Yeh et al. 2309.14859
full  W + a difference of the same shape; the bias may have one as well
DoRA  any of these, then each output is scaled to a norm given by the file: Liu et al. 2402.09353
===== =========================================================================================================

A change of the kinds LoRA, LoHa, LoKr and full is exactly B A of some rank, so that it can be a graph input
(`conversion`). All kinds can be fused into the weights (`export.adapters.fuse`). The product's factor is alpha / rank,
or 1 without an alpha.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ..files import ModelFileError
from ..safetensors import printable

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from .peft_metadata import PeftMetadata

    Array = np.ndarray[Any, np.dtype[np.float32]]
    Factors = tuple[Array, Array]
    """B [out, r] and A [r, in], where `in` includes the kernel."""
    Fields = Mapping[str, Array]


MAX_CORE = 2**34
"""Limit for the multiplications of one core: a few seconds. Published ones take a hundredth."""


def flatten(array: Array) -> Array:
    """Return a weight [out, in, ...] as a matrix [out, in * ...]."""
    return array.reshape(len(array), -1)


def _tucker(core: Array, up: Array, down: Array) -> Factors:
    """Return B and A of a core [r, s, ...] between up [r, out] and down [s, in]. Raises ValueError."""
    if core.size * down.shape[1] > MAX_CORE:
        raise ValueError
    return up.T, np.einsum("ij...,jr->ir...", core, down).reshape(len(core), -1)


def _with_identity(array: Array) -> Factors:
    """Return a matrix as B and A, one of which is the matrix itself and the other the smaller identity."""
    matrix = flatten(array)
    out, width = matrix.shape
    return (np.eye(out, dtype=matrix.dtype), matrix) if out <= width else (matrix, np.eye(width, dtype=matrix.dtype))


def _lora(fields: Fields) -> list[Factors]:
    up, down = flatten(fields["up"]), flatten(fields["down"])
    return [_tucker(fields["mid"], up.T, down) if "mid" in fields else (up, down)]


def _loha(fields: Fields) -> list[Factors]:
    sides = [(fields[f"hada_w{n}_a"], fields[f"hada_w{n}_b"]) for n in (1, 2)]
    return [
        _tucker(fields[f"hada_t{n}"], a, b) if f"hada_t{n}" in fields else (a, flatten(b))
        for n, (a, b) in enumerate(sides, 1)
    ]


def _lokr(fields: Fields) -> list[Factors]:
    found = []
    for n in (1, 2):
        a, b, core = (fields.get(f"lokr_{name}") for name in (f"w{n}_a", f"w{n}_b", f"t{n}"))
        if f"lokr_w{n}" in fields and not (a is None and b is None and core is None):
            raise ValueError  # the matrix is given twice: whole and as a product
        if a is None or b is None:
            found.append(_with_identity(fields[f"lokr_w{n}"]))
        else:
            found.append((a, flatten(b)) if core is None else _tucker(core, a, b))
    return found


@dataclass(frozen=True, slots=True)
class AdapterKind:
    """A kind of adapter, recognised by tensors whose role begins with one of `prefixes`.

    `factors` returns one or two pairs of B and A from a layer's tensors. Of two pairs, `join` combines the products B A
    to the change; `ups` combines the Bs and `downs` the As to one pair with the same change. `ranks` names the tensors
    whose first axis is the rank that divides alpha.
    """

    name: str
    prefixes: tuple[str, ...]
    factors: Callable[[Fields], list[Factors]]
    join: Callable[[Array, Array], Any]
    ups: Callable[[Array, Array], Any]
    downs: Callable[[Array, Array], Any]
    ranks: tuple[str, ...] = ()


def _column_products(one: Array, other: Array) -> Array:
    """Return the product of each column of one with each column of the other."""
    return (one[:, :, None] * other[:, None, :]).reshape(len(one), -1)


LORA = AdapterKind("LoRA", ("up", "down"), _lora, np.matmul, np.matmul, np.matmul, ("down",))
LOHA = AdapterKind(
    "LoHa",
    ("hada_",),
    _loha,
    np.multiply,
    _column_products,
    lambda a, b: _column_products(a.T, b.T).T,
    ("hada_w1_b",),
)
LOKR = AdapterKind("LoKr", ("lokr_",), _lokr, np.kron, np.kron, np.kron, ("lokr_w1_b", "lokr_w2_b"))
FULL = AdapterKind(
    "full difference", ("diff",), lambda fields: [_with_identity(fields["diff"])], np.add, np.add, np.add
)
KINDS = (LORA, LOHA, LOKR, FULL)


@dataclass(frozen=True, slots=True)
class LayerChange:
    """The change of one layer, as pairs of B and A: `factors`.

    `name` is the layer's name in the file, and `fields` are its tensors by role.
    """

    name: str
    kind: AdapterKind
    fields: Fields
    factors: tuple[Factors, ...]

    @property
    def size(self) -> tuple[int, int]:
        """Sides of the matrix: out, and in times the kernel. Not defined if only a bias changes."""
        outs, widths = [len(b) for b, _ in self.factors], [a.shape[1] for _, a in self.factors]
        return (math.prod(outs), math.prod(widths)) if self.kind is LOKR else (outs[0], widths[0])

    @property
    def rank(self) -> int:
        """Rank of the exact product."""
        return math.prod(len(a) for _, a in self.factors)

    def matrix(self) -> Array:
        """Return the whole matrix [out, in], without its scale."""
        if "diff" in self.fields:
            return flatten(self.fields["diff"])
        first, *rest = (b @ a for b, a in self.factors)
        joined: Array = self.kind.join(first, *rest) if rest else first
        return joined

    def product(self) -> Factors:
        """Return B [out, r] and A [r, in], without the scale."""
        if self.rank > min(self.size):
            return _with_identity(self.matrix())
        (up, down), *rest = self.factors
        return (self.kind.ups(up, rest[0][0]), self.kind.downs(down, rest[0][1])) if rest else (up, down)

    def is_zero(self) -> bool:
        """Whether the change has no effect: trainers write such tensors for layers that they leave alone."""
        parts = [field for role, field in self.fields.items() if role.startswith(("diff", "bias"))]
        if self.kind is LORA:
            parts.append(self.fields["up"] if self.fields["down"].any() else self.fields["down"])
        return self.kind in {LORA, FULL} and not any(part.any() for part in parts)

    def scale(self, metadata: PeftMetadata, part: str, module: str) -> float:
        """Return the product's factor, alpha / rank; alpha is in the tensors or in the file's metadata."""
        rank = next((len(self.fields[name]) for name in self.kind.ranks if name in self.fields), None)
        factor = float(self.fields["scalar"].reshape(())) if "scalar" in self.fields else 1.0
        if not self.kind.ranks:
            return factor
        if "alpha" in self.fields:
            return factor * float(self.fields["alpha"].reshape(())) / rank if rank else factor
        return factor * metadata.scale(part, module, rank)


def all_finite(array: Array) -> bool:
    """Whether all numbers are finite. Their sum of squares, which takes a third of the time, usually says so."""
    flat = array.ravel()
    with np.errstate(over="ignore", invalid="ignore"):
        squares = np.dot(flat, flat)
    return bool(np.isfinite(squares) or np.isfinite(flat).all())


def read_change(name: str, keys: Mapping[str, str], read: Callable[[str], Array]) -> LayerChange:
    """Return the change of the layer `name`, whose tensors by role are called `keys`; `read` returns a tensor by name.

    Raises ModelFileError.
    """
    fields = {role: read(key) for role, key in sorted(keys.items())}
    for role, array in fields.items():
        if not all_finite(array):
            raise ModelFileError(f"{printable(name)}: its {role} holds numbers that are not finite")
    for role in ("alpha", "scalar"):
        if role in fields and fields[role].size != 1:
            raise ModelFileError(f"{printable(name)}: its {role} must be one number; got {fields[role].size}")
    kinds = [kind for kind in KINDS if any(role.startswith(kind.prefixes) and role != "diff_b" for role in fields)]
    if len(kinds) > 1:
        raise ModelFileError(
            f"{printable(name)} has changes of several kinds: {' and '.join(kind.name for kind in kinds)}"
        )
    if not kinds:
        if "diff_b" not in fields:
            raise ModelFileError(f"{printable(name)} has no matrices, only {', '.join(fields)}")
        return LayerChange(name, FULL, fields, ())
    try:
        return _check_factors(LayerChange(name, kinds[0], fields, tuple(kinds[0].factors(fields))))
    except (KeyError, IndexError, ValueError, TypeError) as error:  # TypeError: a number instead of a matrix
        shapes = ", ".join(f"{role} {list(array.shape)}" for role, array in fields.items())
        problem = f"lack {error}" if isinstance(error, KeyError) else "do not fit together"
        raise ModelFileError(f"{printable(name)}: the tensors of its {kinds[0].name} {problem}: {shapes}") from None


def _check_factors(change: LayerChange) -> LayerChange:
    """Return the change if its factors can be multiplied. Raises ValueError."""
    for b, a in change.factors:
        if b.ndim != 2 or a.ndim != 2 or b.shape[1] != len(a) or not a.size:
            raise ValueError
    if change.kind is LOHA and len({(len(b), a.shape[1]) for b, a in change.factors}) > 1:
        raise ValueError
    return change
