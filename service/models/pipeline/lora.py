"""Adapters (LoRA, Hu et al. 2106.09685): a model's small changes, chosen by each request, without another model.

A linear layer x W of a graph that was exported for it is x W + (x A) B, where A [n, in, r] and B [n, r, out] are inputs
whose default has rank 0. n is 1, or a row's own for each row of a call. Several adapters with weights are one of their
summed rank: A next to each other, B below each other, each B times its weight.
A convolution is conv(x, W) + B conv(x, A), with A [n, r, down, across, in] and B [n, out, r]
(`export.graph.adapter_inputs`).

An adapter is a file `loras/NAME.safetensors` in the model's folder: tensors `COMPONENT.MODULE.A` [in, r], of a
convolution [in, down, across, r], and `COMPONENT.MODULE.B` [r, out], as `tintype export --lora` writes them.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, TypeAlias
from weakref import WeakValueDictionary

import numpy as np

from ...errors import InvalidField
from ..files import ModelFileError
from ..runtime.array_cache import freeze
from ..safetensors import TensorFile, shown

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from ..model import Array

FOLDER, SUFFIX, PREFIX = "loras", ".safetensors", "lora."
SIDES = ("A", "B")
KEPT, KEPT_SUMS = 4, 2  # adapters, and combinations of them, that stay in memory

Loras: TypeAlias = "tuple[tuple[str, float], ...]"
"""Names and weights."""
Pair: TypeAlias = "tuple[Array, Array]"
"""A [in, r], or [in, down, across, r] of a convolution, and B [r, out]."""
Ports: TypeAlias = "Mapping[str, tuple[int, ...]]"
"""The modules of a graph that take adapters: (in, out) of each, or (in, down, across, out) of a convolution."""


def names(folder: Path) -> tuple[str, ...]:
    """Return the adapters that a model's folder holds, sorted."""
    return tuple(sorted(path.name.removesuffix(SUFFIX) for path in (folder / FOLDER).glob(f"*{SUFFIX}")))


def ports(inputs: Mapping[str, Sequence[object]]) -> dict[str, tuple[int, ...]]:
    """Return the modules that a graph's optional inputs (name to shape) are for."""
    ends = {name: shape for name, shape in inputs.items() if name.startswith(PREFIX)}
    modules = [name.removeprefix(PREFIX).removesuffix(".A") for name in ends if name.endswith(".A")]
    return {module: _port(ends[f"{PREFIX}{module}.A"], ends[f"{PREFIX}{module}.B"]) for module in modules}


def _port(a: Sequence[object], b: Sequence[object]) -> tuple[int, ...]:
    sides = (a[1], b[2]) if len(a) == 3 else (a[4], a[2], a[3], b[1])
    return tuple(int(str(side)) for side in sides)


class Adapter(dict[str, "dict[str, Pair]"]):
    """What one file holds: each pair under its component and its module."""


class Adapters:
    """The adapters of one model. `ports` maps its components to what their graphs take."""

    def __init__(self, folder: Path, ports: Mapping[str, Ports]) -> None:
        self._folder, self._ports = folder, ports
        self._latest = lru_cache(KEPT)(lambda name: Adapter(self._read(name)))
        self._held: WeakValueDictionary[str, Adapter] = WeakValueDictionary()
        self._compose = lru_cache(KEPT_SUMS)(self._composed)

    def check(self, loras: Loras) -> tuple[Adapter, ...]:
        """Return adapters for the caller to hold while it draws.

        Their files may be deleted meanwhile. Raises InvalidField, with the reason, for adapters that do not belong to
        this model.
        """
        return tuple(self._checked(name) for name, _ in loras)

    def _checked(self, name: str) -> Adapter:
        try:
            return self._load(name)
        except ModelFileError as error:
            raise InvalidField("loras", f"adapter {name!r} {error}") from error

    def _load(self, name: str) -> Adapter:
        """Return an adapter that is held or recent, or read it.

        Raises ModelFileError.
        """
        if (adapter := self._held.get(name)) is None:
            self._held[name] = adapter = self._latest(name)
        return adapter

    def feeds(self, component: str, rows: Sequence[Loras]) -> dict[str, Array]:
        """Return what a component's graph is fed for the adapters of its rows; nothing where there are none.

        Rows with the same adapters share one; rows of other ranks are filled up with zeros.
        """
        alike = len(set(rows)) == 1
        return self._compose(component, tuple(rows[:1] if alike else rows)) if any(rows) else {}

    def _composed(self, component: str, rows: tuple[Loras, ...]) -> dict[str, Array]:
        sums = [self._summed(component, loras) for loras in rows]
        made: dict[str, Array] = {}
        for module in sorted({module for row in sums for module in row}):
            pairs = [row.get(module) for row in sums]
            a, b = _stacked(pairs, self._ports[component][module])
            made |= {f"{PREFIX}{module}.A": freeze(a), f"{PREFIX}{module}.B": freeze(b)}
        return made

    def _summed(self, component: str, loras: Loras) -> dict[str, Pair]:
        """Return one pair for each module, of all adapters with their weights."""
        found: dict[str, list[Pair]] = {}
        for name, weight in loras:
            for module, (a, b) in self._load(name).get(component, {}).items():
                found.setdefault(module, []).append((a, np.float32(weight) * b))
        return {
            module: (np.concatenate([a for a, _ in pairs], axis=-1), np.concatenate([b for _, b in pairs]))
            for module, pairs in found.items()
        }

    def _read(self, name: str) -> dict[str, dict[str, Pair]]:
        """Read an adapter as pairs by component and module.

        Raises ModelFileError. All of its shapes are compared with the model's before any number is read.
        """
        file = TensorFile(self._folder / FOLDER / f"{name}{SUFFIX}")
        keys = sorted({name.rpartition(".")[0] for name in file.entries})
        if not keys:
            raise ModelFileError("changes nothing")
        for key in keys:
            component, _, module = key.partition(".")
            self._fit(component, module, _size(file, key))
        stray = next((name for name in file.entries if name.rpartition(".")[2] not in SIDES), None)
        if stray:
            raise ModelFileError(f"holds {shown(stray)}, which is neither A nor B")
        parts: dict[str, dict[str, Pair]] = {}
        for key in keys:
            component, _, module = key.partition(".")
            a, b = (file.read(f"{key}.{side}") for side in SIDES)
            if not (np.isfinite(a).all() and np.isfinite(b).all()):
                raise ModelFileError(f"changes {shown(key)} by numbers that are not finite")
            parts.setdefault(component, {})[module] = a, b
        return parts

    def _fit(self, component: str, module: str, size: tuple[int, ...]) -> None:
        there, key = self._ports.get(component, {}), shown(f"{component}.{module}")
        if not there:
            raise ModelFileError(
                f"changes the {shown(component)}, which takes no adapters in this model: export it with --with-lora "
                "(OpenVINO's own runtime takes none)"
            )
        if module not in there and len(size) > 2 and all(len(port) == 2 for port in there.values()):
            raise ModelFileError(
                f"changes {key}, and no convolution of this model takes adapters: export it with --with-lora"
            )
        if module not in there:
            raise ModelFileError(f"changes {key}, which this model has not: it was made for another one")
        if there[module] != size:
            raise ModelFileError(f"changes {key} {sized(size)}, which is {sized(there[module])} in this model")


def _size(file: TensorFile, key: str) -> tuple[int, ...]:
    """Return the size of the module that a pair changes.

    Raises ModelFileError.
    """
    a, b = (file.entries[name].shape if name in file.entries else () for name in (f"{key}.A", f"{key}.B"))
    if len(a) not in (2, 4) or len(b) != 2 or a[-1] != b[0] or "." not in key:
        raise ModelFileError(f"has no two matrices {shown(key)}.A [in, rank] and {shown(key)}.B [rank, out]")
    return *a[:-1], b[1]


def sized(size: Sequence[int]) -> str:
    """Return a module's size in words.

    That is "from 3 to 4", or, of a convolution, "from 3 to 4 by 3 x 3".
    """
    wide, *kernel, out = size
    return f"from {wide} to {out}" + (f" by {' x '.join(map(str, kernel))}" if kernel else "")


def _stacked(pairs: Sequence[Pair | None], size: tuple[int, ...]) -> Pair:
    """Return the pairs of all rows as the graph takes them.

    Rows of lower rank are filled up with zeros.
    """
    *wide, out = size
    rank = max(len(pair[1]) for pair in pairs if pair)
    a, b = np.zeros((len(pairs), *wide, rank), np.float32), np.zeros((len(pairs), rank, out), np.float32)
    for n, pair in enumerate(pairs):
        if pair:
            a[n, ..., : len(pair[1])], b[n, : len(pair[1])] = pair
    if len(wide) == 1:
        return a, b
    return np.ascontiguousarray(a.transpose(0, 4, 2, 3, 1)), np.ascontiguousarray(b.transpose(0, 2, 1))
