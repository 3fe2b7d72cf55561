"""What goes into a graph and comes out: the axes of each value, and random examples of it.

An axis is a number where it never varies, a name where it does; values whose axes share a name are as long there. The
same description makes the example that a module is traced with, the dynamic axes of its graph, and the inputs on which
both are compared.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    Draw = Callable[[np.random.Generator, tuple[int, ...]], Any]


@dataclass(frozen=True, slots=True)
class Size:
    """How large an example is: rows of the batch, height and width in cells of the latents, tokens of the prompt."""

    rows: int
    height: int
    width: int
    tokens: int

    def lengths(self, downscale: int) -> dict[str, int]:
        """Return the length of each axis by its name; `downscale` is pixels per cell."""
        return {
            "batch_size": self.rows,
            "height": self.height,
            "width": self.width,
            "sequence_length": self.tokens,
            "packed_height_width": (self.height // 2) * (self.width // 2),
            "sample_height": self.height * downscale,
            "sample_width": self.width * downscale,
        }


def normal(random: np.random.Generator, shape: tuple[int, ...]) -> Any:
    """Draw floats of unit variance."""
    return random.standard_normal(shape, np.float32)


def pixels(random: np.random.Generator, shape: tuple[int, ...]) -> Any:
    """Draw pixels as VAEs take them, -1 to 1."""
    return np.tanh(normal(random, shape))


def whole(below: int) -> Draw:
    """Return what draws whole numbers, int64: tokens of a vocabulary."""
    return lambda random, shape: random.integers(0, below, shape)


def counts(below: int) -> Draw:
    """Return what draws whole numbers as floats: sizes in pixels, places in a grid."""
    return lambda random, shape: random.integers(0, below, shape).astype(np.float32)


def falling(top: float) -> Draw:
    """Return what gives each row another number, from nearly `top` to nearly 0: timesteps, guidance."""
    return lambda _, shape: np.linspace(0.999 * top, 0.001 * top, shape[0], dtype=np.float32)


def mask(_: np.random.Generator, shape: tuple[int, ...]) -> Any:
    """Return which tokens count, int64: of each row fewer."""
    rows, tokens = shape
    ends = np.linspace(tokens, 1, rows).astype(np.int64)
    return (np.arange(tokens) < ends[:, None]).astype(np.int64)


@dataclass(frozen=True, slots=True)
class Value:
    """One input or output: its axes, and for an input how examples are drawn.

    `wide` is an input that stays float32 in a graph of float16: 946.42 would else be 946.5.
    """

    axes: tuple[int | str, ...]
    draw: Draw = normal
    wide: bool = False

    @property
    def dynamic(self) -> dict[int, str]:
        """The axes that vary, by their place."""
        return {place: axis for place, axis in enumerate(self.axes) if isinstance(axis, str)}

    def example(self, random: np.random.Generator, lengths: Mapping[str, int]) -> torch.Tensor:
        """Draw an example of these lengths."""
        shape = tuple(lengths[axis] if isinstance(axis, str) else axis for axis in self.axes)
        return torch.from_numpy(np.ascontiguousarray(self.draw(random, shape)))
