"""A prompt as a text encoder takes it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True, slots=True)
class Tokens:
    """`ids` padded to the encoder's length; `count` of them are the prompt's own.

    `first` control tokens stand before these, and `used` is how many come before the padding.
    """

    ids: tuple[int, ...]
    count: int
    first: int = 1
    used: int = 0

    @property
    def mask(self) -> npt.NDArray[np.int64]:
        """[length] 1 where a token is no padding."""
        return np.array(np.arange(len(self.ids)) < self.used, np.int64)
