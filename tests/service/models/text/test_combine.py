"""Outputs of text encoders are combined to what the denoiser reads."""

from __future__ import annotations

import numpy as np
import pytest

from tintype.service.models.files import ModelFileError
from tintype.service.models.text.combine import (
    EncoderOutput,
    clip_pooled_and_t5,
    clips_side_by_side,
    clips_then_t5,
    masked_embeds,
    single_embeds,
    without_padding,
)


def encoded(tokens: int, dim: int, value: float) -> EncoderOutput:
    """Return embeddings, a pooled embedding and a mask, all of one value."""
    embeds, pooled = np.full((tokens, dim), value, np.float32), np.full(dim, value, np.float32)
    return EncoderOutput(embeds, pooled, np.full(tokens, value, np.int64))


ONE, TWO, THREE = encoded(3, 2, 1), encoded(3, 4, 2), encoded(5, 8, 3)


def test_one_encoder() -> None:
    """The embeddings are unchanged; the mask is kept only for denoisers that read it."""
    assert single_embeds([ONE]).embeds is masked_embeds([ONE]).embeds is ONE.embeds
    assert (single_embeds([ONE]).mask, single_embeds([ONE]).pooled, masked_embeds([ONE]).pooled) == (None, None, None)
    assert masked_embeds([ONE]).mask is ONE.mask


def test_padding_is_zeros() -> None:
    """AuraFlow: embeddings of padding are zeros, and the denoiser reads no mask."""
    made = without_padding([EncoderOutput(np.ones((3, 2), np.float32), mask=np.array([1, 1, 0]))])
    assert made.embeds.tolist() == [[1, 1], [1, 1], [0, 0]]
    assert made.embeds.dtype == np.float32
    assert made.mask is None


def test_clips_side_by_side() -> None:
    """SDXL: embeddings of both encoders, pooled embedding of the last; its refiner has only the last."""
    made = clips_side_by_side([ONE, TWO])
    assert made.embeds.tolist() == [[1, 1, 2, 2, 2, 2]] * 3
    assert made.pooled is TWO.pooled
    assert clips_side_by_side([TWO]).embeds.tolist() == TWO.embeds.tolist()


def test_clips_then_t5() -> None:
    """Stable Diffusion 3: CLIPs side by side, zeros up to T5's width, then T5; pooled embeddings of both CLIPs."""
    made = clips_then_t5([ONE, TWO, THREE])
    assert made.embeds.tolist() == [[1, 1, 2, 2, 2, 2, 0, 0]] * 3 + [[3] * 8] * 5
    assert made.pooled is not None
    assert made.pooled.tolist() == [1, 1, 2, 2, 2, 2]


def test_a_narrow_t5_is_rejected() -> None:
    """A T5 that is narrower than both CLIPs together belongs to another model."""
    with pytest.raises(ModelFileError, match=r"both CLIPs together \(6\), not 2"):
        clips_then_t5([ONE, TWO, encoded(5, 2, 3)])


def test_clip_pooled_and_t5() -> None:
    """FLUX: the pooled embedding of CLIP, the tokens of T5."""
    made = clip_pooled_and_t5([ONE, THREE])
    assert made.embeds is THREE.embeds
    assert made.pooled is ONE.pooled
