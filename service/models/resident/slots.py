"""Slots: tensors on the device with a row for each image, which may join and leave at any step.

A slot is written into a copy of the tensor, which then takes its place: rows of other images stay where they are.
Nothing happens when an image leaves.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ..graph_writer import FLOAT, INT32, INT64, GraphWriter
from .graphs import plane
from .values import fetch

if TYPE_CHECKING:
    from ..model import Array
    from .values import Functions, Values


class Row(NamedTuple):
    """The shape of what a slot holds."""

    axes: tuple[int, ...]


class Growth(NamedTuple):
    """A tensor of rows of `axes`, and how many slots and first axes are added to it."""

    axes: tuple[int, ...]
    slots: int
    more: int


class Slots:
    """A tensor [slots, *axes], float32, and a second one that the next step writes.

    `current` is read, `spare` is written, and `swap` exchanges them.
    """

    def __init__(self, functions: Functions, axes: tuple[int, ...]) -> None:
        self._functions, self._device, self.axes = functions, functions.device, axes
        self.count = 1
        self.current = self._zeros()
        self._spare: Any = None

    @property
    def spare(self) -> Any:
        """The tensor that the next step writes."""
        if self._spare is None:
            self._spare = self._device.allocate((self.count, *self.axes), FLOAT)
        return self._spare

    def swap(self) -> None:
        """Let `spare` be the current tensor."""
        self.current, self._spare = self.spare, self.current

    def grow(self, slots: int, first: int = 0) -> None:
        """Enlarge the tensor to at least `slots` slots, a power of two, whose rows have at least `first` planes."""
        count = max(self.count, 1 << (slots - 1).bit_length())
        more = max(first - self.axes[0], 0)
        if count == self.count and not more:
            return
        axes = (self.axes[0] + more, *self.axes[1:])
        grown = self._device.allocate((count, *axes), FLOAT)
        function = self._functions(grow, Growth(self.axes, count - self.count, more))
        function({"state": self.current}, {"updated": grown})
        self.axes, self.count, self.current, self._spare = axes, count, grown, None

    def write(self, slot: int, row: Values) -> None:
        """Write a row [*axes]."""
        values = {"state": self.current, "row": self._device.send(row[np.newaxis])}
        values["scattered"] = self._device.send(np.array([[slot]], INT64))
        self._functions(write_row, Row(self.axes))(values, {"updated": self.spare})
        self.swap()

    def read(self, slot: int) -> Array:
        """Return a row [*axes]."""
        return self._read(read_row, slot, self.axes)

    def read_plane(self, slot: int) -> Array:
        """Return the first plane of a row [*axes]."""
        return self._read(read_plane, slot, self.axes[1:])

    def _read(self, graph: Any, slot: int, axes: tuple[int, ...]) -> Array:
        row = self._device.allocate((1, *axes), FLOAT)
        values = {"state": self.current, "slots": self._device.send(np.array([slot], INT32))}
        self._functions(graph, Row(self.axes))(values, {"row": row})
        array: Array = fetch(row)[0]
        return array

    def _zeros(self) -> Any:
        return self._device.send(np.zeros((self.count, *self.axes), FLOAT))


def write_row(recipe: Row) -> bytes:
    """Return the graph that writes `row` [1, ...] into the slot `scattered` [1, 1] of a state."""
    g = GraphWriter("write_row")
    state, row = g.input("state", FLOAT, ("s", *recipe.axes)), g.input("row", FLOAT, (1, *recipe.axes))
    updated = g.apply("ScatterND", state, g.input("scattered", INT64, (1, 1)), row)
    g.output("updated", updated, FLOAT, ("s", *recipe.axes))
    return g.content()


def read_row(recipe: Row) -> bytes:
    """Return the graph that reads the slot `slots` [1] of a state: `row` [1, ...]."""
    g = GraphWriter("read_row")
    state = g.input("state", FLOAT, ("s", *recipe.axes))
    g.output("row", g.apply("Gather", state, g.input("slots", INT32, (1,))), FLOAT, (1, *recipe.axes))
    return g.content()


def read_plane(recipe: Row) -> bytes:
    """Return the graph that reads the first plane of the slot `slots` [1] of a state: `row` [1, ...]."""
    g = GraphWriter("read_plane")
    state = g.input("state", FLOAT, ("s", *recipe.axes))
    row = g.apply("Gather", state, g.input("slots", INT32, (1,)))
    g.output("row", plane(g, row, 0), FLOAT, (1, *recipe.axes[1:]))
    return g.content()


def grow(recipe: Growth) -> bytes:
    """Return the graph that adds zeros to a state."""
    g = GraphWriter("grow")
    first, *rest = recipe.axes
    state = g.input("state", FLOAT, ("s", first, *rest))
    pads = [0] * (len(recipe.axes) + 1) + [recipe.slots, recipe.more] + [0] * len(rest)
    updated = g.apply("Pad", state, g.constant(pads, INT64))
    g.output("updated", updated, FLOAT, ("t", first + recipe.more, *rest))
    return g.content()
