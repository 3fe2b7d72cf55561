"""Prompts become conditionings once, and what was used lately is remembered within a budget."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from tintype.service.models import Conditioning
from tintype.service.models.families import TextPart
from tintype.service.models.text import ConditioningCache, TextEncoder
from tintype.service.models.tokenizer import ClipTokenizer

if TYPE_CHECKING:
    from pathlib import Path


class Graph:
    """A text encoder whose embeddings are the ids; counts its calls."""

    def __init__(self) -> None:
        self.calls = 0

    def require(self, *, inputs: tuple[str, ...], output: str) -> None:
        assert (inputs, output) == (("input_ids",), "last_hidden_state")

    def run(self, output: str, *, input_ids: np.ndarray) -> np.ndarray:
        assert output == "last_hidden_state"
        self.calls += 1
        return input_ids[..., None].astype(np.float32)


@pytest.fixture
def graph() -> Graph:
    return Graph()


@pytest.fixture
def encoder(graph: Graph, tokenizer_folder: Path) -> TextEncoder:
    return TextEncoder(ClipTokenizer.from_folder(tokenizer_folder), graph, TextPart())


def test_a_prompt_is_encoded_once(encoder: TextEncoder, graph: Graph) -> None:
    """The second time a prompt comes it costs no call, also when only its spaces or its cut-off end differ."""
    first = encoder.encode("a cat")
    assert encoder.encode("  A  CAT ") is first
    assert encoder.encode("cat " * 20) is encoder.encode("cat " * 40)
    assert encoder.encode("a dog") is not first
    assert graph.calls == 3


def test_a_conditioning_has_the_encoders_length(encoder: TextEncoder) -> None:
    """Embeddings are [tokens, dim], padding included; the count is of the prompt's own tokens."""
    conditioning = encoder.encode("a cat")
    assert conditioning.prompt_embeds.shape == (16, 1)
    assert conditioning.tokens == 2
    assert conditioning.key == ((16, 1), None)


def test_a_conditioning_can_not_be_changed(encoder: TextEncoder) -> None:
    """Requests share conditionings, so nobody can write into one."""
    with pytest.raises(ValueError, match="read-only"):
        encoder.encode("a cat").prompt_embeds[0] = 1


def test_the_cache_keeps_what_was_used_last_within_its_bytes() -> None:
    """What was used longest ago goes first, and what is larger than all of it is not kept."""
    entries = [Conditioning(np.full((10, 1), i, np.float32)) for i in range(3)]
    cache = ConditioningCache(80)
    cache.put(b"0", entries[0])
    cache.put(b"1", entries[1])
    assert cache.get(b"0") is entries[0]
    cache.put(b"2", entries[2])
    assert cache.get(b"1") is None
    assert cache.get(b"0") is entries[0]
    assert cache.get(b"2") is entries[2]
    cache.put(b"3", Conditioning(np.zeros((21, 1), np.float32)))
    assert [cache.get(key) for key in (b"0", b"2", b"3")] == [None, None, None]


def test_pooled_embeddings_count_too() -> None:
    """The budget is of everything that a conditioning holds; its key tells pooled ones apart."""
    pooled = Conditioning(np.zeros((10, 1), np.float32), np.zeros(11, np.float32))
    assert pooled.key == ((10, 1), (11,))
    cache = ConditioningCache(80)
    cache.put(b"0", pooled)
    assert cache.get(b"0") is None
