"""Prompts to conditionings: tokenizer, text encoder, and the memory of prompts seen lately."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from typing import TYPE_CHECKING

import numpy as np

from .model import Conditioning

if TYPE_CHECKING:
    from .families import TextPart
    from .session import Session
    from .tokenizer import ClipTokenizer

CACHE_BYTES = 64 * 2**20
"""Holds about 280 prompts of Stable Diffusion 1.5."""


class TextEncoder:
    """Encodes one prompt at a time, so that a prompt's conditioning never depends on its company.

    Prompts that the tokenizer can't tell apart share one entry of the cache. Nothing of a prompt is kept but a digest
    and its embeddings.
    """

    def __init__(self, tokenizer: ClipTokenizer, session: Session, part: TextPart) -> None:
        session.require(inputs=(part.ids,), output=part.embeds)
        self._tokenizer, self._session, self._part = tokenizer, session, part
        self._cache = ConditioningCache(CACHE_BYTES)

    def encode(self, prompt: str) -> Conditioning:
        """Return a prompt's conditioning."""
        tokens = self._tokenizer(prompt)
        ids = np.array([tokens.ids], np.int64)
        key = hashlib.blake2b(ids.tobytes(), digest_size=16).digest()
        if (known := self._cache.get(key)) is not None:
            return known
        embeds = self._session.run(self._part.embeds, **{self._part.ids: ids})
        conditioning = Conditioning(prompt_embeds=embeds[0], tokens=tokens.count)
        self._cache.put(key, conditioning)
        return conditioning


class ConditioningCache:
    """Keeps what was used last, within `limit` bytes of embeddings."""

    def __init__(self, limit: int) -> None:
        self._limit, self._used = limit, 0
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
        while self._used > self._limit:
            _, dropped = self._entries.popitem(last=False)
            self._used -= _bytes(dropped)


def _bytes(conditioning: Conditioning) -> int:
    pooled = conditioning.pooled
    return conditioning.prompt_embeds.nbytes + (0 if pooled is None else pooled.nbytes)
