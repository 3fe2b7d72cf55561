"""The interface of tokenizers, and what they share: control tokens, added tokens and padding."""

from __future__ import annotations

from abc import ABC, abstractmethod
from copy import copy
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Self

import numpy as np
import numpy.typing as npt

from .token_splitter import WordMatcher

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from .added_tokens import AddedToken
    from .token_splitter import TokenSplitter


@dataclass(frozen=True, slots=True)
class Tokens:
    """The input of a text encoder: `ids`, padded to the encoder's length.

    `count` of them are the prompt's own. `first` ids precede these. `used` ids are not padding, which begins at
    `padded_at`, or at the end if that is None.
    """

    ids: tuple[int, ...]
    count: int
    first: int = 1
    used: int = 0
    padded_at: int | None = None

    @property
    def mask(self) -> npt.NDArray[np.int64]:
        """Return the attention mask [length]: 0 for padding, otherwise 1."""
        at = self.used if self.padded_at is None else self.padded_at
        mask = np.ones(len(self.ids), np.int64)
        mask[at : at + len(self.ids) - self.used] = 0
        return mask

    @property
    def position_ids(self) -> npt.NDArray[np.int64]:
        """Return the positions [length], counted from 0 without padding."""
        return np.maximum(np.cumsum(self.mask) - 1, 0)


class Tokenizer(ABC):
    """Text to the ids of one vocabulary. Control tokens that a user types are text.

    Args:
        splitter: Finds added tokens in a text.
        max_tokens: Length of a prompt, with control tokens and padding.
        before: Control tokens at the beginning.
        after: Control tokens at the end.
        pad: Id of the padding.
        controls: Ids of the control tokens that chat templates spell out.
        pads_left: The side of the padding that the folder names; None if it names none.
    """

    def __init__(
        self,
        splitter: TokenSplitter,
        max_tokens: int,
        *,
        before: tuple[int, ...] = (),
        after: tuple[int, ...] = (),
        pad: int = 0,
        controls: Mapping[str, int] = MappingProxyType({}),
        pads_left: bool | None = None,
    ) -> None:
        self._splitter, self._before, self._after, self._pad = splitter, before, after, pad
        self.max_tokens, self.pads_left = max_tokens, pads_left
        self.controls, self._find_controls = controls, WordMatcher(controls).find

    @property
    def room(self) -> int:
        """Return how many ids of a text fit between the control tokens."""
        return self.max_tokens - len(self._before) - len(self._after)

    @property
    def own_controls(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Return the control tokens before and after every text."""
        return self._before, self._after

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

    def split_controls(self, text: str) -> list[str | int]:
        """Return the ids of the control tokens in a template's text, and the texts between them."""
        parts: list[str | int] = []
        at = 0
        for start, end in self._find_controls(text):
            parts += [text[at:start], self.controls[text[start:end]]]
            at = end
        return [part for part in (*parts, text[at:]) if part != ""]

    def padded(self, ids: Sequence[int], length: int, at: int) -> tuple[int, ...]:
        """Return the ids with padding at one place, `length` ids together."""
        return (*ids[:at], *(self._pad,) * (length - len(ids)), *ids[at:])

    def frame(self, ids: Sequence[int], longer: int = 0) -> Tokens:
        """Put control tokens around at most `room + longer` ids, and padding after them."""
        ids = ids[: self.room + longer]
        framed = (*self._before, *ids, *self._after)
        padding = (self._pad,) * (self.max_tokens + longer - len(framed))
        return Tokens(framed + padding, len(ids), len(self._before), len(framed))
