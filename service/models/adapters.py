"""Adapters (LoRA, Hu et al. 2106.09685): a model's small changes, chosen by each request, without another model.

A linear layer x W of a graph that was exported for it is x W + (x A) B, where A [n, in, r] and B [n, r, out] are inputs
whose default has rank 0. n is 1, or a row's own for each row of a call. Several adapters with weights are one of their
summed rank: A side by side, B below each other, each B times its weight.

An adapter is a file `loras/NAME.safetensors` in the model's folder: tensors `COMPONENT.MODULE.A` [in, r] and
`COMPONENT.MODULE.B` [r, out], as `tintype export --lora` writes them.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, TypeAlias
from weakref import WeakValueDictionary

import numpy as np

from ..errors import InvalidField
from .files import Fault
from .stacks import frozen
from .tensors import read_tensors

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from .model import Array

FOLDER, SUFFIX, PREFIX = "loras", ".safetensors", "lora."
KEPT, KEPT_SUMS = 4, 2  # adapters, and combinations of them, that stay in memory

Loras: TypeAlias = "tuple[tuple[str, float], ...]"
"""Names and weights."""
Pair: TypeAlias = "tuple[Array, Array]"
"""A [in, r] and B [r, out]."""
Ports: TypeAlias = "Mapping[str, tuple[int, int]]"
"""The modules of a graph that take adapters: how wide each is, in and out."""


def names(folder: Path) -> tuple[str, ...]:
    """Return the adapters that a model's folder holds, sorted."""
    return tuple(sorted(path.name.removesuffix(SUFFIX) for path in (folder / FOLDER).glob(f"*{SUFFIX}")))


def ports(inputs: Mapping[str, Sequence[object]]) -> dict[str, tuple[int, int]]:
    """Return the modules that a graph's optional inputs (name to shape) are for."""
    ends = {name: shape for name, shape in inputs.items() if name.startswith(PREFIX)}
    modules = [name.removeprefix(PREFIX).removesuffix(".A") for name in ends if name.endswith(".A")]
    return {
        module: (int(str(ends[f"{PREFIX}{module}.A"][1])), int(str(ends[f"{PREFIX}{module}.B"][2])))
        for module in modules
    }


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
        """Return adapters, for the caller to hold as long as it draws with them: their files may go meanwhile.

        Raises InvalidField, with the reason, for adapters that do not belong to this model.
        """
        return tuple(self._checked(name) for name, _ in loras)

    def _checked(self, name: str) -> Adapter:
        try:
            return self._load(name)
        except Fault as fault:
            raise InvalidField("loras", f"adapter {name!r} {fault}") from fault

    def _load(self, name: str) -> Adapter:
        """Return an adapter that a caller holds, or that was used lately, or read it. Raises Fault."""
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
            rank = max(len(pair[1]) for pair in pairs if pair)
            wide, out = self._ports[component][module]
            a, b = np.zeros((len(rows), wide, rank), np.float32), np.zeros((len(rows), rank, out), np.float32)
            for n, pair in enumerate(pairs):
                if pair:
                    a[n, :, : len(pair[1])], b[n, : len(pair[1])] = pair
            made |= {f"{PREFIX}{module}.A": frozen(a), f"{PREFIX}{module}.B": frozen(b)}
        return made

    def _summed(self, component: str, loras: Loras) -> dict[str, Pair]:
        """Return one pair for each module, of all adapters with their weights."""
        found: dict[str, list[Pair]] = {}
        for name, weight in loras:
            for module, (a, b) in self._load(name).get(component, {}).items():
                found.setdefault(module, []).append((a, np.float32(weight) * b))
        return {
            module: (np.concatenate([a for a, _ in pairs], axis=1), np.concatenate([b for _, b in pairs]))
            for module, pairs in found.items()
        }

    def _read(self, name: str) -> dict[str, dict[str, Pair]]:
        """Read an adapter, each pair of it under its component and its module. Raises Fault."""
        tensors = read_tensors(self._folder / FOLDER / f"{name}{SUFFIX}")
        parts: dict[str, dict[str, Pair]] = {}
        for key in sorted({name.rpartition(".")[0] for name in tensors}):
            component, _, module = key.partition(".")
            a, b = tensors.get(f"{key}.A"), tensors.get(f"{key}.B")
            if a is None or b is None or a.ndim != 2 or b.ndim != 2 or a.shape[1] != b.shape[0]:
                raise Fault(f"has no two matrices {key}.A [in, rank] and {key}.B [rank, out]")
            self._fit(component, module, (a.shape[0], b.shape[1]))
            parts.setdefault(component, {})[module] = a, b
        return parts

    def _fit(self, component: str, module: str, size: tuple[int, int]) -> None:
        there = self._ports.get(component, {})
        if not there:
            raise Fault(
                f"changes the {component}, which takes no adapters in this model: export it with --with-lora "
                "(OpenVINO's own runtime takes none)"
            )
        if module not in there:
            raise Fault(f"changes {component}.{module}, which this model has not: it was made for another one")
        if there[module] != size:
            sizes = [f"{wide} to {out}" for wide, out in (size, there[module])]
            raise Fault(f"changes {component}.{module} from {sizes[0]}, which is from {sizes[1]} in this model")
