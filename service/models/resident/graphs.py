"""The small graphs before and behind a denoiser.

A state [slots, planes, c, h, w], float32, holds the latents x of each row in plane 0 and behind them the D of earlier
calls, newest first (`numerics.table`). The graphs follow `numerics.trajectory` operation by operation, so that on the
CPU they compute the same bits.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum, auto
from typing import TYPE_CHECKING, NamedTuple

from ...numerics import KeptNorm
from ..graph_writer import FLOAT, INT32, INT64, TYPES, GraphWriter

if TYPE_CHECKING:
    from collections.abc import Callable

LatentShape = tuple[int, int, int]


class Column(IntEnum):
    """The columns of what a step sends for each row; weights of D follow, newest first."""

    TIMESTEP = 0
    P = auto()
    Q = auto()
    A = auto()
    NOISE = auto()
    SCALE = auto()
    RESCALE = auto()
    ALPHA = auto()
    SIGMA = auto()
    ESTIMATE_X = auto()
    ESTIMATE_D = auto()
    WEIGHTS = auto()


class TimeInput(NamedTuple):
    """The denoiser's time input: `rank` 0 or 1, and whether it is one number for all rows."""

    dtype: str
    rank: int
    single: bool


class DenoiserLayout(NamedTuple):
    """How a denoiser takes latents of type `dtype` and timesteps; `patch` is the width of a token, 0 without tokens."""

    dtype: str
    time: TimeInput
    patch: int


@dataclass(frozen=True, slots=True)
class InputRecipe:
    """What a denoiser reads of the state.

    `dtype` is that of its latents. An inpainting model's `channels` follow them; with a `patch`, both are tokens of
    this width, which those of `references` follow.
    """

    shape: LatentShape
    planes: int
    columns: int
    dtype: str
    time: TimeInput
    channels: int = 0
    patch: int = 0
    references: int = 0

    @property
    def axes(self) -> tuple[int, ...]:
        """The axes of the denoiser's latents behind the rows."""
        channels, height, width = self.shape
        channels += self.channels
        if not self.patch:
            return channels, height, width
        return (height // self.patch) * (width // self.patch) + self.references, channels * self.patch**2


@dataclass(frozen=True, slots=True)
class UpdateRecipe:
    """One step behind the denoiser, whose `parts` results [rows, *out] of type `dtype` follow each other.

    `terms` is the largest number of D that a row reads. Some rows are `guided`, `rescaled`, `noisy`, `masked`, or their
    clean latents are `estimated`.
    """

    shape: LatentShape
    planes: int
    columns: int
    dtype: str
    out: tuple[int, ...]
    patch: int = 0
    parts: int = 1
    terms: int = 1
    guided: bool = False
    rescaled: bool = False
    norm: KeptNorm = KeptNorm.NONE
    shrinks: bool = False
    noisy: bool = False
    masked: bool = False
    estimated: bool = False


def write_input(recipe: InputRecipe) -> bytes:
    """Return the graph that makes a denoiser's latents and timesteps of a state.

    `slots` [m] and `rows` [m] are the places of each row of the call in the state and in `coefficients`.
    """
    g = GraphWriter("input")
    state = g.input("state", FLOAT, ("s", recipe.planes, *recipe.shape))
    slots, rows = g.input("slots", INT32, ("m",)), g.input("rows", INT32, ("m",))
    coefficients = g.input("coefficients", FLOAT, ("r", recipe.columns))
    latents = g.apply("Cast", plane(g, g.apply("Gather", state, slots), 0), to=TYPES[recipe.dtype])
    channels, height, width = recipe.shape
    if recipe.channels:
        more = g.input("channels", recipe.dtype, ("m", recipe.channels, height, width))
        latents = g.apply("Concat", latents, more, axis=1)
    if recipe.patch:
        latents = _pack(g, latents, (channels + recipe.channels, height, width), recipe.patch)
    if recipe.references:
        more = g.input("references", recipe.dtype, ("m", recipe.references, recipe.axes[1]))
        latents = g.apply("Concat", latents, more, axis=1)
    g.output("latents", latents, recipe.dtype, ("m", *recipe.axes))
    times = g.apply("Gather", coefficients, g.constant(Column.TIMESTEP, INT32), axis=1)
    index = rows
    if recipe.time.single:
        index = g.constant([0] if recipe.time.rank else 0, INT32)
    times = g.apply("Cast", g.apply("Gather", times, index), to=TYPES[recipe.time.dtype])
    length: tuple[int | str, ...] = (1 if recipe.time.single else "m",)
    g.output("timesteps", times, recipe.time.dtype, length if recipe.time.rank else ())
    return g.content()


def write_update(recipe: UpdateRecipe) -> bytes:
    """Return the graph that applies a denoiser's results to a state.

    `slots` [r] and `scattered` [r, 1] are the places of the call's rows in the state; `cond` and `uncond` [r] are the
    places of their results. Outputs: the state `updated`, `size` [r], which is finite if the latents are, and the
    `estimate` of the clean latents of the rows `estimated`.
    """
    g = GraphWriter("update")
    state = g.input("state", FLOAT, ("s", recipe.planes, *recipe.shape))
    slots, scattered = g.input("slots", INT32, ("r",)), g.input("scattered", INT64, ("r", 1))
    coefficients = g.input("coefficients", FLOAT, ("r", recipe.columns))
    spread = g.apply("Unsqueeze", coefficients, g.constant([2, 3, 4], INT64))
    rows = g.apply("Gather", state, slots)

    def column(place: int) -> str:
        """Return a column [r, 1, 1, 1]."""
        return g.apply("Gather", spread, g.constant(place, INT32), axis=1)

    out = _guided(g, _results(g, recipe), column, recipe)
    x = plane(g, rows, 0)
    newest = _sum(g, (out, column(Column.Q)), (x, column(Column.P)))
    terms = [newest, *(plane(g, rows, j) for j in range(1, recipe.terms))]
    weighted = [(x, column(Column.A)), *((d, column(Column.WEIGHTS + j)) for j, d in enumerate(terms))]
    if recipe.noisy:
        weighted.append((g.input("noise", FLOAT, ("r", *recipe.shape)), column(Column.NOISE)))
    after = _sum(g, *weighted)
    if recipe.masked:
        after = _restored(g, after, slots, column, recipe.shape)
    g.output("size", _size(g, after), FLOAT, ("r",))
    if recipe.estimated:
        estimate = _sum(g, (x, column(Column.ESTIMATE_X)), (newest, column(Column.ESTIMATE_D)))
        estimate = g.apply("Gather", estimate, g.input("estimated", INT32, ("e",)))
        g.output("estimate", estimate, FLOAT, ("e", *recipe.shape))
    kept = [plane(g, rows, j) for j in range(1, recipe.planes - 1)]
    planes = [g.apply("Unsqueeze", each, g.constant([1], INT64)) for each in [after, newest, *kept][: recipe.planes]]
    written = g.apply("Concat", *planes, axis=1) if len(planes) > 1 else planes[0]
    updated = g.apply("ScatterND", state, scattered, written)
    g.output("updated", updated, FLOAT, ("s", recipe.planes, *recipe.shape))
    return g.content()


def copy_results(recipe: tuple[str, tuple[int, ...]]) -> bytes:
    """Return the graph that copies results [m, *axes] of a type."""
    g = GraphWriter("copy_results")
    dtype, axes = recipe
    g.output("copy", g.input("out", dtype, ("m", *axes)), dtype, ("m", *axes))
    return g.content()


def plane(g: GraphWriter, rows: str, place: int) -> str:
    """Return plane `place` [n, c, h, w] of rows [n, planes, c, h, w]."""
    return g.apply("Gather", rows, g.constant(place, INT32), axis=1)


def _sum(g: GraphWriter, *weighted: tuple[str, str]) -> str:
    """Return the sum of products, added in their order."""
    first, *others = (g.apply("Mul", *each) for each in weighted)
    for each in others:
        first = g.apply("Add", first, each)
    return first


def _size(g: GraphWriter, latents: str) -> str:
    """Return the sum [n] of the absolute values of latents [n, c, h, w]: finite if they are."""
    return g.apply("ReduceSum", g.apply("Abs", latents), g.constant([1, 2, 3], INT64), keepdims=0)


def _slice(g: GraphWriter, source: str, start: int, end: int) -> str:
    """Return the places `start` to `end` of axis 1."""
    places = (g.constant([place], INT64) for place in (start, end, 1))
    return g.apply("Slice", source, *places)


def _pack(g: GraphWriter, latents: str, shape: LatentShape, patch: int) -> str:
    """Return latents [n, c, h, w] of a `shape` as tokens: `graph_inputs.pack`."""
    c, h, w = shape
    blocks = g.apply("Reshape", latents, g.constant([0, c, h // patch, patch, w // patch, patch], INT64))
    blocks = g.apply("Transpose", blocks, perm=[0, 2, 4, 1, 3, 5])
    return g.apply("Reshape", blocks, g.constant([0, (h // patch) * (w // patch), c * patch**2], INT64))


def _unpack(g: GraphWriter, tokens: str, recipe: UpdateRecipe) -> tuple[str, int]:
    """Return tokens as latents, and the number of their channels: `graph_inputs.unpack`."""
    patch, (_, h, w), (count, width) = recipe.patch, recipe.shape, recipe.out
    own, channels = (h // patch) * (w // patch), width // patch**2
    if count > own:
        tokens = _slice(g, tokens, 0, own)
    blocks = g.apply("Reshape", tokens, g.constant([0, h // patch, w // patch, channels, patch, patch], INT64))
    blocks = g.apply("Transpose", blocks, perm=[0, 3, 1, 4, 2, 5])
    return g.apply("Reshape", blocks, g.constant([0, channels, h, w], INT64)), channels


def _results(g: GraphWriter, recipe: UpdateRecipe) -> str:
    """Return the denoiser's results as float32 latents, without the channels of a learned variance."""
    parts = [g.input(f"out{i}", recipe.dtype, (f"m{i}", *recipe.out)) for i in range(recipe.parts)]
    out = g.apply("Concat", *parts, axis=0) if len(parts) > 1 else parts[0]
    if recipe.dtype != FLOAT:
        out = g.apply("Cast", out, to=TYPES[FLOAT])
    channels = recipe.out[0]
    if recipe.patch:
        out, channels = _unpack(g, out, recipe)
    return _slice(g, out, 0, recipe.shape[0]) if channels > recipe.shape[0] else out


def _guided(g: GraphWriter, out: str, column: Callable[[int], str], recipe: UpdateRecipe) -> str:
    """Return the guided results [r, c, h, w] of all rows: `numerics.guide`.

    Rows without guidance have the same place in `cond` and `uncond`, and no rescaling: none of the operations changes
    them.
    """
    if not recipe.guided and recipe.parts == 1:  # in order
        return out
    cond = g.apply("Gather", out, g.input("cond", INT32, ("r",)))
    if not recipe.guided:
        return cond
    uncond = g.apply("Gather", out, g.input("uncond", INT32, ("r",)))
    change = g.apply("Mul", column(Column.SCALE), g.apply("Sub", cond, uncond))
    guided = g.apply("Add", uncond, change)
    if recipe.norm:
        ratio = _ratio(g, _length(g, cond, recipe), _length(g, guided, recipe))
        ratio = g.apply("Clip", ratio, "", g.constant(1)) if recipe.shrinks else ratio
        guided = g.apply("Mul", guided, ratio)
    if not recipe.rescaled:
        return guided
    ratio, share = _ratio(g, _deviation(g, cond), _deviation(g, guided)), column(Column.RESCALE)
    factor = g.apply("Add", g.apply("Mul", share, ratio), g.apply("Sub", g.constant(1), share))
    return g.apply("Mul", guided, factor)


def _ratio(g: GraphWriter, one: str, other: str) -> str:
    return g.apply("Div", one, g.apply("Clip", other, g.constant(1e-12)))


def _length(g: GraphWriter, out: str, recipe: UpdateRecipe) -> str:
    """Return Euclidean lengths, broadcastable to results [r, c, h, w]."""
    squares = g.apply("Mul", out, out)
    if recipe.norm is KeptNorm.WIDTH:
        return g.apply("Sqrt", g.apply("ReduceSum", squares, g.constant([3], INT64), keepdims=1))
    c, h, w = recipe.shape
    blocks = g.apply("Reshape", squares, g.constant([0, c, h // 2, 2, w // 2, 2], INT64))
    lengths = g.apply("Sqrt", g.apply("ReduceSum", blocks, g.constant([1, 3, 5], INT64), keepdims=1))
    lengths = g.apply("Expand", lengths, g.constant([1, 1, h // 2, 2, w // 2, 2], INT64))
    return g.apply("Reshape", lengths, g.constant([0, 1, h, w], INT64))


def _deviation(g: GraphWriter, out: str) -> str:
    """Return the standard deviations [r, 1, 1, 1] of results [r, c, h, w]."""
    axes = g.constant([1, 2, 3], INT64)
    centred = g.apply("Sub", out, g.apply("ReduceMean", out, axes, keepdims=1))
    return g.apply("Sqrt", g.apply("ReduceMean", g.apply("Mul", centred, centred), axes, keepdims=1))


def _restored(g: GraphWriter, after: str, slots: str, column: Callable[[int], str], shape: LatentShape) -> str:
    """Return latents with the kept part of each row at its noise level: `ImageStart.restore`.

    A row of `masks` [slots, 1 + 2 c, h, w] is the share that is kept, the clean latents, and their noise. Rows without
    a mask keep nothing of zeros.
    """
    c, h, w = shape
    masks = g.apply("Gather", g.input("masks", FLOAT, ("s", 1 + 2 * c, h, w)), slots)
    keep, clean, noise = (_slice(g, masks, *places) for places in ((0, 1), (1, 1 + c), (1 + c, 1 + 2 * c)))
    kept = _sum(g, (clean, column(Column.ALPHA)), (noise, column(Column.SIGMA)))
    return _sum(g, (keep, kept), (g.apply("Sub", g.constant(1), keep), after))
