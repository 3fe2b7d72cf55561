"""All text encoders of a model: prompts to conditionings, with a cache of recent prompts."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from typing import TYPE_CHECKING

import numpy as np

from ..model import Conditioning

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..model import Prompt
    from .combine import CombineFunction
    from .encoder import Chunk, Encoder

CACHE_BYTES = 64 * 2**20
CACHE_ENTRIES = 64
"""Prompts are repeated soon or not at all. With the built-in model, more would take a third of its weights' memory."""


class TextEncoders:
    """Encodes one prompt at a time, so that a conditioning does not depend on the other prompts of a batch.

    All prompts of one image get the number of chunks of the longest, so that both rows of guidance share a call.
    Prompts that give the same tokens share one cache entry. The cache keeps a digest and the embeddings, no text.
    With `zero_negative`, an empty negative prompt gives zeros.
    """

    def __init__(self, encoders: Sequence[Encoder], combine: CombineFunction, *, zero_negative: bool = False) -> None:
        self._encoders, self._combine, self._zero_negative = encoders, combine, zero_negative
        self._cache = ConditioningCache(CACHE_BYTES, CACHE_ENTRIES)

    def chunks(self, prompts: Sequence[Prompt]) -> int:
        """Return the number of chunks of the longest prompt."""
        return max(len(encoder.read(prompt)) for encoder in self._encoders for prompt in prompts)

    def encode(self, prompts: Sequence[Prompt], chunks: int = 1) -> list[Conditioning]:
        """Encode one image's prompts in order, in at least `chunks` chunks."""
        read = [[encoder.read(prompt) for encoder in self._encoders] for prompt in prompts]
        most = max(chunks, *(len(own) for by_encoder in read for own in by_encoder))
        return [self._conditioning(prompt, own, most) for prompt, own in zip(prompts, read, strict=True)]

    def _conditioning(self, prompt: Prompt, by_encoder: list[list[Chunk]], most: int) -> Conditioning:
        for encoder, chunks in zip(self._encoders, by_encoder, strict=True):
            chunks += [encoder.empty_chunk() for _ in range(most - len(chunks)) if encoder.chunked]
        zero = self._zero_negative and prompt.negative and not prompt.text
        content = (by_encoder, prompt.negative, zero, prompt.loras, prompt.clip_skip)
        key = hashlib.blake2b(repr(content).encode(), digest_size=16).digest()
        if (known := self._cache.get(key)) is None:
            known = self._encode(prompt, by_encoder, zero=zero)
            self._cache.put(key, known)
        return known

    def _encode(self, prompt: Prompt, by_encoder: list[list[Chunk]], *, zero: bool) -> Conditioning:
        pairs = zip(self._encoders, by_encoder, strict=True)
        combined = self._combine([encoder.encode(chunks, prompt.loras, prompt.clip_skip) for encoder, chunks in pairs])
        embeds, pooled = combined.embeds, combined.pooled
        if zero:
            embeds, pooled = np.zeros_like(embeds), None if pooled is None else np.zeros_like(pooled)
        tokens = max(sum(chunk.prompt_tokens for chunk in chunks) for chunks in by_encoder)
        return Conditioning(embeds, pooled, combined.mask, tokens, prompt.negative, loras=prompt.loras)


class ConditioningCache:
    """Keeps the most recently used conditionings: at most `entries`, within `limit` bytes."""

    def __init__(self, limit: int, entries: int) -> None:
        self._limit, self._most, self._used = limit, entries, 0
        self._entries: OrderedDict[bytes, Conditioning] = OrderedDict()

    def get(self, key: bytes) -> Conditioning | None:
        """Return an entry and mark it as used; None if it is absent."""
        if key in self._entries:
            self._entries.move_to_end(key)
        return self._entries.get(key)

    def put(self, key: bytes, conditioning: Conditioning) -> None:
        """Add an entry, and drop the least recently used ones above the limits."""
        self._entries[key] = conditioning
        self._used += _bytes(conditioning)
        while self._used > self._limit or len(self._entries) > self._most:
            _, dropped = self._entries.popitem(last=False)
            self._used -= _bytes(dropped)


def _bytes(conditioning: Conditioning) -> int:
    return sum(array.nbytes for array in conditioning.arrays)
