"""Axes of a graph's inputs and outputs, and random examples of them.

A fixed axis is a number, a dynamic axis a name; axes with the same name have the same length. A specification gives
the example that a module is traced with, the dynamic axes of its graph, and the inputs of the comparison.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    Draw = Callable[[np.random.Generator, tuple[int, ...]], Any]

LEVELS = 4
"""Largest number of levels of a UNet; each has half the height and width of the one before."""
TEXT_BLOCK = 32
"""Tokens of a block of text, for models that take whole blocks: Z-Image."""


@dataclass(frozen=True, slots=True)
class ExampleSize:
    """The size of an example: batch rows, height and width in latent cells, tokens of the prompt."""

    rows: int
    height: int
    width: int
    tokens: int

    def lengths(self, downscale: int) -> dict[str, int]:
        """Return the length of each axis by name; `downscale` is pixels per latent cell."""
        return {
            "batch_size": self.rows,
            "height": self.height,
            "width": self.width,
            "sequence_length": self.tokens,
            "sequence_blocks": -(-self.tokens // TEXT_BLOCK) * TEXT_BLOCK,
            "packed_height_width": (self.height // 2) * (self.width // 2),
            "sample_height": self.height * downscale,
            "sample_width": self.width * downscale,
            "image_tokens": 4,
            "patches": -(-self.height // 2) * -(-self.width // 2),
            **{
                f"{side}_{n}": -(-getattr(self, side) // 2**n) for side in ("height", "width") for n in range(1, LEVELS)
            },
        }


def normal(random: np.random.Generator, shape: tuple[int, ...]) -> Any:
    """Return normally distributed floats of unit variance."""
    return random.standard_normal(shape, np.float32)


def pixels(random: np.random.Generator, shape: tuple[int, ...]) -> Any:
    """Return pixels in the range of VAEs, -1 to 1."""
    return np.tanh(normal(random, shape))


def positive(random: np.random.Generator, shape: tuple[int, ...]) -> Any:
    """Return pixels in 0..1."""
    return random.random(shape, np.float32)


def integers(below: int) -> Draw:
    """Return a function that draws integers, int64: token ids of a vocabulary."""
    return lambda random, shape: random.integers(0, below, shape)


def whole_floats(below: int) -> Draw:
    """Return a function that draws whole numbers as floats: sizes in pixels, positions in a grid."""
    return lambda random, shape: random.integers(0, below, shape).astype(np.float32)


def descending(top: float) -> Draw:
    """Return a function that gives each row another value, from nearly `top` down to nearly 0: timesteps, guidance."""
    return lambda _, shape: np.linspace(0.999 * top, 0.001 * top, shape[0], dtype=np.float32).reshape(shape)


def mask(_: np.random.Generator, shape: tuple[int, ...]) -> Any:
    """Return a mask, int64: 1 for tokens to read, 0 for padding. Each row reads fewer tokens than the one before."""
    rows, tokens = shape
    ends = np.linspace(tokens, 1, rows).astype(np.int64)
    return (np.arange(tokens) < ends[:, None]).astype(np.int64)


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """One input or output: its axes, and for an input the function that draws examples.

    With `keep_float32` an input is float32 in float16 graphs too: in float16 a timestep of 946.42 would be 946.5.
    """

    axes: tuple[int | str, ...]
    draw: Draw = normal
    keep_float32: bool = False

    @property
    def dynamic(self) -> dict[int, str]:
        """The names of the dynamic axes, by position."""
        return {position: axis for position, axis in enumerate(self.axes) if isinstance(axis, str)}

    def example(self, random: np.random.Generator, lengths: Mapping[str, int]) -> torch.Tensor:
        """Return an example whose dynamic axes have these lengths."""
        shape = tuple(lengths[axis] if isinstance(axis, str) else axis for axis in self.axes)
        return torch.from_numpy(np.ascontiguousarray(self.draw(random, shape)))
