"""Prompts become conditionings; recent ones are cached within a budget."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from tests.support.models.graphs import NONE, TextGraph, as_session
from tintype.service.models import Conditioning, Prompt
from tintype.service.models.family import TextEncoderSpec
from tintype.service.models.text.clip_tokenizer import ClipTokenizer
from tintype.service.models.text.combine import clips_side_by_side, single_embeds
from tintype.service.models.text.encoder import AbsentEncoder, TextEncoder
from tintype.service.models.text.encoders import ConditioningCache, TextEncoders

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def graph() -> TextGraph:
    return TextGraph()


@pytest.fixture
def encoder(graph: TextGraph, tokenizer_folder: Path) -> TextEncoder:
    return TextEncoder(ClipTokenizer.from_folder(tokenizer_folder), as_session(graph), TextEncoderSpec(), NONE)


@pytest.fixture
def encoders(encoder: TextEncoder) -> TextEncoders:
    return TextEncoders([encoder], single_embeds)


def encode(encoders: TextEncoders, text: str) -> Conditioning:
    (conditioning,) = encoders.encode([Prompt(text)])
    return conditioning


def test_prompts_are_encoded_once(encoders: TextEncoders, graph: TextGraph) -> None:
    """A repeated prompt costs no call, also if only spaces or text beyond the last chunk differ."""
    first = encode(encoders, "a cat")
    assert encode(encoders, "  A  CAT ") is first
    assert encode(encoders, "a dog") is not first
    assert graph.calls == 2
    assert encode(encoders, "cat " * 200) is encode(encoders, "cat " * 400)


def test_flags_of_a_prompt_are_part_of_the_key(encoders: TextEncoders) -> None:
    """A negative or weighted prompt and a plain one of the same words are cached separately."""
    plain, negative = encoders.encode([Prompt("a (cat)"), Prompt("a (cat)", negative=True)])
    (weighted,) = encoders.encode([Prompt("a (cat)", weighted=True)])
    assert plain.negative is False
    assert negative.negative is True
    assert not np.array_equal(plain.prompt_embeds, weighted.prompt_embeds)


def test_conditionings_have_the_encoders_length(encoders: TextEncoders) -> None:
    """Embeddings are [tokens, dim] with padding; `tokens` counts the prompt's own."""
    conditioning = encode(encoders, "a cat")
    assert conditioning.prompt_embeds.shape == (16, 1)
    assert conditioning.tokens == 2
    assert conditioning.key == ((16, 1),)


def test_both_rows_of_guidance_have_one_shape(encoders: TextEncoders) -> None:
    """A short negative prompt is padded with empty chunks, so that both rows share a call."""
    long, short = encoders.encode([Prompt("cat " * 20), Prompt("dog", negative=True)])
    assert long.key == short.key == ((32, 1),)
    assert long.tokens == 20
    (alone,) = encoders.encode([Prompt("dog", negative=True)])
    (blank,) = encoders.encode([Prompt("")])
    assert np.array_equal(short.prompt_embeds, np.concatenate([alone.prompt_embeds, blank.prompt_embeds]))


def test_several_encoders_read_one_prompt(encoder: TextEncoder) -> None:
    """Their outputs are combined; a missing encoder gives zeros, and its tokens are not counted."""
    encoders = TextEncoders([encoder, AbsentEncoder(16, 3)], clips_side_by_side)
    made = encode(encoders, "a cat")
    assert made.prompt_embeds.shape == (16, 4)
    assert not made.prompt_embeds[:, 1:].any()
    assert made.tokens == 2


def test_an_empty_negative_prompt_may_give_zeros(encoder: TextEncoder) -> None:
    """With `zero_negative`, only an empty negative prompt gives zeros."""
    encoders = TextEncoders([encoder], single_embeds, zero_negative=True)
    prompt, empty = encoders.encode([Prompt(""), Prompt("", negative=True)])
    (fog,) = encoders.encode([Prompt("fog", negative=True)])
    assert prompt.prompt_embeds.any()
    assert fog.prompt_embeds.any()
    assert not empty.prompt_embeds.any()


def test_conditionings_are_read_only(encoders: TextEncoders) -> None:
    """Requests share conditionings, so their arrays cannot be changed."""
    with pytest.raises(ValueError, match="read-only"):
        encode(encoders, "a cat").prompt_embeds[0] = 1


def test_the_cache_keeps_recent_entries_within_its_bytes() -> None:
    """The least recently used entry is dropped first; one larger than the whole budget is not kept."""
    entries = [Conditioning(np.full((10, 1), i, np.float32)) for i in range(3)]
    cache = ConditioningCache(80, 8)
    cache.put(b"0", entries[0])
    cache.put(b"1", entries[1])
    assert cache.get(b"0") is entries[0]
    cache.put(b"2", entries[2])
    assert cache.get(b"1") is None
    assert cache.get(b"0") is entries[0]
    assert cache.get(b"2") is entries[2]
    cache.put(b"3", Conditioning(np.zeros((21, 1), np.float32)))
    assert [cache.get(key) for key in (b"0", b"2", b"3")] == [None, None, None]


def test_pooled_embeddings_are_counted() -> None:
    """The budget counts all arrays of a conditioning; the key has their shapes."""
    pooled = Conditioning(np.zeros((10, 1), np.float32), np.zeros(11, np.float32))
    assert pooled.key == ((10, 1), (11,))
    cache = ConditioningCache(80, 8)
    cache.put(b"0", pooled)
    assert cache.get(b"0") is None


def test_the_cache_bounds_its_entries() -> None:
    """The number of entries is limited for entries of any size."""
    cache = ConditioningCache(10**6, 2)
    for key in (b"0", b"1", b"2"):
        cache.put(key, Conditioning(np.zeros((1, 1), np.float32)))
    assert [cache.get(key) is not None for key in (b"0", b"1", b"2")] == [False, True, True]
