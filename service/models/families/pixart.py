"""PixArt."""

from __future__ import annotations

from dataclasses import replace

from ..family import Family, TextEncoderSpec
from ..text.combine import masked_embeds
from ..text.tokenizers import T5
from .parts import TRANSFORMER, clean_caption

_TEXT = TextEncoderSpec(tokenizer_kind=T5, max_tokens=300, clean=clean_caption, expands=False, masked=True)
_SIGMA = Family(
    name="pixart_sigma",
    pipelines=("PixArtSigmaPipeline",),
    text_encoders=(_TEXT,),
    combine=masked_embeds,
    denoiser=replace(TRANSFORMER, patch=2),
    native_side=1024,
    scaling_factor=0.13025,
    steps=20,
    guidance_scale=4.5,
)

FAMILIES: tuple[Family, ...] = (
    _SIGMA,
    # PixArt-alpha: Stable Diffusion's VAE, shorter prompts, and at 1024 pixels the size of the image as an input.
    replace(
        _SIGMA,
        name="pixart_alpha",
        pipelines=("PixArtAlphaPipeline",),
        text_encoders=(replace(_TEXT, max_tokens=120),),
        scaling_factor=0.18215,
    ),
)
