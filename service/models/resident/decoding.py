"""Decoding of latents on a device to levels: only one byte for each colour of a pixel is fetched."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ...errors import OutOfMemory
from ..graph_writer import FLOAT, INT32, INT64, TYPES, UINT8, GraphWriter
from .graphs import plane
from .values import Functions, dtype_of, fetch

if TYPE_CHECKING:
    import numpy.typing as npt

    from ..pipeline.vae import Vae
    from .state import LatentState
    from .trajectory import ResidentTrajectory
    from .values import Buffers

    Levels = npt.NDArray[np.uint8]


class LatentRecipe(NamedTuple):
    """A state of rows of `axes`, the type of a decoder's latents, and their factors, of all channels or of each."""

    axes: tuple[int, ...]
    dtype: str
    scaling: tuple[float, ...]
    shift: tuple[float, ...]


class LevelRecipe(NamedTuple):
    """The type and the shape [3, h, w] of a decoder's result."""

    dtype: str
    axes: tuple[int, ...]


class ResidentDecoder:
    """Decodes rows whose latents are on the device where the decoder computes."""

    def __init__(self, vae: Vae, functions: Functions, buffers: Buffers) -> None:
        self._vae, self._functions, self._buffers = vae, functions, buffers

    def __call__(self, state: LatentState, row: ResidentTrajectory) -> Levels | None:
        """Return the levels [3, h, w] of a row; None if it must be decoded from the host.

        That is so for an image in tiles, for one that is not finite, and if memory is not sufficient.
        """
        shape = 1, *state.shape
        if not self._vae.decodes_whole(shape):
            return None
        recipe = LatentRecipe(state.latents.axes, self._vae.latents_dtype, *self._vae.factors)
        latents = self._buffers("decoded", shape, recipe.dtype)
        values = {"state": state.latents.current, "slots": self._buffers.sent("slot", np.array([row.slot], np.int32))}
        self._functions(write_latents, recipe)(values, {"latents": latents})
        try:
            out = self._vae.decode_on_device(latents)
        except OutOfMemory:
            return None
        size, levels = self._levels(out)
        if not np.isfinite(fetch(size)).all():
            return None
        found: Levels = fetch(levels)[0]
        return found

    def _levels(self, out: Any) -> tuple[Any, Any]:
        _, *axes = out.shape()
        outputs = {"size": self._buffers("decoded size", (1,), FLOAT)}
        outputs["levels"] = self._buffers("levels", (1, *axes), UINT8)
        self._functions(write_levels, LevelRecipe(dtype_of(out), tuple(axes)))({"out": out}, outputs)
        return outputs["size"], outputs["levels"]


def write_latents(recipe: LatentRecipe) -> bytes:
    """Return the graph that reads a decoder's `latents` [1, c, h, w] from the slot `slots` [1] of a state."""
    g = GraphWriter("write_latents")
    state = g.input("state", FLOAT, ("s", *recipe.axes))
    latents = plane(g, g.apply("Gather", state, g.input("slots", INT32, (1,))), 0)
    scaling, shift = (g.constant(np.reshape(each, (-1, 1, 1))) for each in (recipe.scaling, recipe.shift))
    latents = g.apply("Add", g.apply("Div", latents, scaling), shift)
    latents = g.apply("Cast", latents, to=TYPES[recipe.dtype])
    g.output("latents", latents, recipe.dtype, (1, *recipe.axes[1:]))
    return g.content()


def write_levels(recipe: LevelRecipe) -> bytes:
    """Return the graph that makes `levels` [1, 3, h, w], 0..255, of a decoder's result in -1..1.

    `size` [1] is finite if the result is. A half is rounded up: WebGPU's plugin has no operator that rounds to even.
    """
    g = GraphWriter("write_levels")
    out = g.apply("Cast", g.input("out", recipe.dtype, (1, *recipe.axes)), to=TYPES[FLOAT])
    size = g.apply("ReduceSum", g.apply("Abs", out), g.constant([1, 2, 3], INT64), keepdims=0)
    g.output("size", size, FLOAT, (1,))
    pixels = g.apply("Add", g.apply("Mul", out, g.constant(0.5)), g.constant(0.5))
    pixels = g.apply("Clip", pixels, g.constant(0), g.constant(1))
    rounded = g.apply("Floor", g.apply("Add", g.apply("Mul", pixels, g.constant(255)), g.constant(0.5)))
    g.output("levels", g.apply("Cast", rounded, to=TYPES[UINT8]), UINT8, (1, *recipe.axes))
    return g.content()
