"""What text encoders answer becomes what the denoiser reads."""

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
)


def encoded(tokens: int, dim: int, value: float) -> EncoderOutput:
    """Return embeddings, a pooled one and a mask, all of one value."""
    embeds, pooled = np.full((tokens, dim), value, np.float32), np.full(dim, value, np.float32)
    return EncoderOutput(embeds, pooled, np.full(tokens, value, np.int64))


ONE, TWO, THREE = encoded(3, 2, 1), encoded(3, 4, 2), encoded(5, 8, 3)


def test_one_encoder_is_taken_as_it_is() -> None:
    """Only where the denoiser reads it does the mask go along."""
    assert single_embeds([ONE]).embeds is masked_embeds([ONE]).embeds is ONE.embeds
    assert (single_embeds([ONE]).mask, single_embeds([ONE]).pooled, masked_embeds([ONE]).pooled) == (None, None, None)
    assert masked_embeds([ONE]).mask is ONE.mask


def test_two_encoders_stand_side_by_side() -> None:
    """SDXL: features of both, pooled of the last; the refiner has but that one."""
    made = clips_side_by_side([ONE, TWO])
    assert made.embeds.tolist() == [[1, 1, 2, 2, 2, 2]] * 3
    assert made.pooled is TWO.pooled
    assert clips_side_by_side([TWO]).embeds.tolist() == TWO.embeds.tolist()


def test_three_encoders_follow_each_other() -> None:
    """Stable Diffusion 3: CLIPs side by side, zeros up to T5's width, then T5; pooled of both CLIPs."""
    made = clips_then_t5([ONE, TWO, THREE])
    assert made.embeds.tolist() == [[1, 1, 2, 2, 2, 2, 0, 0]] * 3 + [[3] * 8] * 5
    assert made.pooled is not None
    assert made.pooled.tolist() == [1, 1, 2, 2, 2, 2]


def test_an_encoder_that_is_too_narrow_is_told() -> None:
    """A T5 of another model: it can't be laid beside what both CLIPs give."""
    with pytest.raises(ModelFileError, match=r"both CLIPs together \(6\), not 2"):
        clips_then_t5([ONE, TWO, encoded(5, 2, 3)])


def test_one_encoder_may_only_be_pooled() -> None:
    """FLUX: CLIP's summary, T5's tokens."""
    made = clip_pooled_and_t5([ONE, THREE])
    assert made.embeds is THREE.embeds
    assert made.pooled is ONE.pooled
