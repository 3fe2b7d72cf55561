"""PixArt."""

from __future__ import annotations

from dataclasses import replace

from ..family import Family, TextEncoderSpec
from ..text.combine import masked_embeds
from ..text.tokenizers import T5
from .parts import TRANSFORMER, clean_caption

FAMILIES: tuple[Family, ...] = (
    Family(
        name="pixart_sigma",
        pipelines=("PixArtSigmaPipeline",),
        text_encoders=(
            TextEncoderSpec(tokenizer_kind=T5, max_tokens=300, clean=clean_caption, expands=False, masked=True),
        ),
        combine=masked_embeds,
        denoiser=replace(TRANSFORMER, patch=2),
        native_side=1024,
        scaling_factor=0.13025,
        steps=20,
        guidance_scale=4.5,
    ),
)
