"""The interface of tokenizers, and what they share: control tokens, added tokens and padding."""

from __future__ import annotations

from abc import ABC, abstractmethod
from copy import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from .added_tokens import AddedToken
    from .token_splitter import TokenSplitter


@dataclass(frozen=True, slots=True)
class Tokens:
    """The input of a text encoder: `ids`, padded to the encoder's length.

    `count` of them are the prompt's own. `first` control tokens precede these. `used` ids precede the padding.
    """

    ids: tuple[int, ...]
    count: int
    first: int = 1
    used: int = 0

    @property
    def mask(self) -> npt.NDArray[np.int64]:
        """Return the attention mask [length]: 0 for padding, otherwise 1."""
        return np.array(np.arange(len(self.ids)) < self.used, np.int64)


class Tokenizer(ABC):
    """Text to the ids of one vocabulary. Control tokens that a user types are text.

    Args:
        splitter: Finds added tokens in a text.
        max_tokens: Length of a prompt, with control tokens and padding.
        before: Control tokens at the beginning.
        after: Control tokens at the end.
        pad: Id of the padding.
    """

    def __init__(
        self,
        splitter: TokenSplitter,
        max_tokens: int,
        *,
        before: tuple[int, ...] = (),
        after: tuple[int, ...] = (),
        pad: int = 0,
    ) -> None:
        self._splitter, self._before, self._after, self._pad = splitter, before, after, pad
        self.max_tokens = max_tokens

    @property
    def room(self) -> int:
        """Return how many ids of a text fit between the control tokens."""
        return self.max_tokens - len(self._before) - len(self._after)

    @property
    def added(self) -> tuple[AddedToken, ...]:
        """Return the added tokens that are found in a text."""
        return self._splitter.tokens

    def extended(self, tokens: Iterable[AddedToken]) -> Self:
        """Return this tokenizer with further added tokens."""
        other = copy(self)
        other._splitter = self._splitter.extended(tokens)  # noqa: SLF001
        return other

    @abstractmethod
    def ids(self, text: str) -> Iterable[int]:
        """Return the ids of a text, without control tokens and without a limit."""

    def frame(self, ids: Sequence[int], longer: int = 0) -> Tokens:
        """Put control tokens around at most `room + longer` ids, and padding after them."""
        ids = ids[: self.room + longer]
        framed = (*self._before, *ids, *self._after)
        padding = (self._pad,) * (self.max_tokens + longer - len(framed))
        return Tokens(framed + padding, len(ids), len(self._before), len(framed))
