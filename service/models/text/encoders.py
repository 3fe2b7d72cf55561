"""Prompts to conditionings: all text encoders of a model, and the memory of prompts seen lately."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from typing import TYPE_CHECKING

import numpy as np

from ..model import Conditioning

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..model import Prompt
    from .combine import Join
    from .encoder import Encoder, Piece

CACHE_BYTES = 64 * 2**20
CACHE_ENTRIES = 64
"""Prompts that come again do so soon; more of them cost the built-in model a third of its weights' memory."""


class TextEncoders:
    """Encodes one prompt at a time, so that a prompt's conditioning never depends on its company.

    Prompts of one picture get as many pieces as the longest of them, so that both halves of guidance share a call.
    Prompts that the tokenizers can't tell apart share one entry of the cache. Nothing of a prompt is kept but a digest
    and its embeddings. `zero_negative`: an empty negative prompt is zeros.
    """

    def __init__(self, encoders: Sequence[Encoder], join: Join, *, zero_negative: bool = False) -> None:
        self._encoders, self._join, self._zero_negative = encoders, join, zero_negative
        self._cache = ConditioningCache(CACHE_BYTES, CACHE_ENTRIES)

    def chunks(self, prompts: Sequence[Prompt]) -> int:
        """Return how many pieces the longest of some prompts has."""
        return max(len(encoder.read(prompt)) for encoder in self._encoders for prompt in prompts)

    def encode(self, prompts: Sequence[Prompt], chunks: int = 1) -> list[Conditioning]:
        """Encode one image's prompts in order, in at least `chunks` pieces."""
        read = [[encoder.read(prompt) for encoder in self._encoders] for prompt in prompts]
        most = max(chunks, *(len(pieces) for parts in read for pieces in parts))
        return [self._conditioning(prompt, parts, most) for prompt, parts in zip(prompts, read, strict=True)]

    def _conditioning(self, prompt: Prompt, parts: list[list[Piece]], most: int) -> Conditioning:
        for encoder, pieces in zip(self._encoders, parts, strict=True):
            pieces += [encoder.blank() for _ in range(most - len(pieces)) if encoder.chunked]
        zero = self._zero_negative and prompt.negative and not prompt.text
        said = (parts, prompt.negative, zero, prompt.loras)
        key = hashlib.blake2b(repr(said).encode(), digest_size=16).digest()
        if (known := self._cache.get(key)) is None:
            known = self._encode(prompt, parts, zero=zero)
            self._cache.put(key, known)
        return known

    def _encode(self, prompt: Prompt, parts: list[list[Piece]], *, zero: bool) -> Conditioning:
        answers = [encoder.encode(pieces, prompt.loras) for encoder, pieces in zip(self._encoders, parts, strict=True)]
        made = self._join(answers)
        embeds, pooled = made.embeds, made.pooled
        if zero:
            embeds, pooled = np.zeros_like(embeds), None if pooled is None else np.zeros_like(pooled)
        tokens = max(sum(piece.words for piece in pieces) for pieces in parts)
        return Conditioning(embeds, pooled, made.mask, tokens, prompt.negative, loras=prompt.loras)


class ConditioningCache:
    """Keeps what was used last: at most `entries`, within `limit` bytes of embeddings."""

    def __init__(self, limit: int, entries: int) -> None:
        self._limit, self._most, self._used = limit, entries, 0
        self._entries: OrderedDict[bytes, Conditioning] = OrderedDict()

    def get(self, key: bytes) -> Conditioning | None:
        """Return an entry and count it as used, or None."""
        if key in self._entries:
            self._entries.move_to_end(key)
        return self._entries.get(key)

    def put(self, key: bytes, conditioning: Conditioning) -> None:
        """Add an entry; drop those used longest ago, as many as it takes."""
        self._entries[key] = conditioning
        self._used += _bytes(conditioning)
        while self._used > self._limit or len(self._entries) > self._most:
            _, dropped = self._entries.popitem(last=False)
            self._used -= _bytes(dropped)


def _bytes(conditioning: Conditioning) -> int:
    return sum(array.nbytes for array in conditioning.arrays)
