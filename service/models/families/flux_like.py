"""Ovis-Image and LongCat-Image: transformers like FLUX.1's that read one language model."""

from __future__ import annotations

import re
from dataclasses import replace

from ...numerics import GuidanceRule, KeptNorm
from ..family import Family, Padding, TextEncoderSpec
from ..position_ids import longcat_ids, ovis_ids
from ..text.chat_templates import LONGCAT_IMAGE, OVIS_IMAGE, OVIS_IMAGE_DROP
from ..text.combine import without_padding
from ..text.tokenizers import QWEN
from .parts import TRANSFORMER

_QUOTED = re.compile(r"""'[^']*'|"[^"]*"|\u2018[^\u2018\u2019]*\u2019|\u201c[^\u201c\u201d]*\u201d""")
_APOSTROPHE = re.compile(r"(?<![a-zA-Z])([a-zA-Z]+)'([a-zA-Z]+)")
_MARK = "\0"


def quotes_by_character(prompt: str) -> list[str]:
    """Split a prompt into texts, and into the characters of those in quotes, which LongCat-Image draws.

    An apostrophe within a word is not a quote. As in diffusers' LongCatImagePipeline.
    """
    marked = _APOSTROPHE.sub(rf"\1{_MARK}\2", prompt)
    parts: list[str] = []
    at = 0
    for quote in _QUOTED.finditer(marked):
        parts += [marked[at : quote.start()], quote[0]]
        at = quote.end()
    texts = [part.replace(_MARK, "'") for part in (*parts, marked[at:]) if part]
    return [piece for text in texts for piece in (text if _QUOTED.match(text) else [text])]


_PACKED = replace(TRANSFORMER, patch=2, packed=True, timestep_scale=1e-3)

FAMILIES: tuple[Family, ...] = (
    # Ovis-Image: padding is read as zeros.
    Family(
        name="ovis_image",
        pipelines=("OvisImagePipeline",),
        text_encoders=(
            TextEncoderSpec(
                tokenizer_kind=QWEN,
                max_tokens=256,
                embeds="prompt_embeds",
                template=OVIS_IMAGE,
                drop=OVIS_IMAGE_DROP,
                expands=False,
            ),
        ),
        combine=without_padding,
        denoiser=replace(_PACKED, position_ids=ovis_ids),
        latent_channels=16,
        native_side=1024,
        scaling_factor=0.3611,
        shift_factor=0.1159,
        steps=50,
        guidance_scale=5.0,
        even_levels=True,
    ),
    # LongCat-Image: padding is encoded, and read.
    Family(
        name="longcat_image",
        pipelines=("LongCatImagePipeline",),
        text_encoders=(
            TextEncoderSpec(
                tokenizer_kind=QWEN,
                max_tokens=512,
                embeds="prompt_embeds",
                template=LONGCAT_IMAGE,
                pieces=quotes_by_character,
                bare=True,
                padding=Padding(inner=True),
                expands=False,
            ),
        ),
        denoiser=replace(_PACKED, position_ids=longcat_ids),
        latent_channels=16,
        native_side=1024,
        scaling_factor=0.3611,
        shift_factor=0.1159,
        steps=50,
        guidance_scale=4.5,
        guidance_rule=GuidanceRule(norm=KeptNorm.BLOCK, shrinks=True),
        even_levels=True,
    ),
)
