"""DreamLite, a small UNet with an AutoencoderTiny, and its distilled form for phones. Images to edit are not taken."""

from __future__ import annotations

from dataclasses import replace

from ..family import DenoiserSpec, Family, Padding, TextEncoderSpec
from ..spec import Guidance
from ..text.chat_templates import QWEN_IMAGE, QWEN_IMAGE_DROP
from ..text.combine import masked_embeds
from ..text.tokenizers import QWEN

_DREAMLITE = Family(
    name="dreamlite",
    pipelines=("DreamLitePipeline",),
    text_encoders=(
        TextEncoderSpec(
            tokenizer_kind=QWEN,
            max_tokens=200,
            embeds="prompt_embeds",
            instruction="[Generate]: ",
            template=QWEN_IMAGE,
            drop=QWEN_IMAGE_DROP,
            padding=Padding(block=32),
            expands=False,
        ),
    ),
    combine=masked_embeds,
    denoiser=DenoiserSpec(patch=2),
    native_side=1024,
    scaling_factor=1.0,
    steps=30,
    guidance_scale=3.5,
    even_levels=True,
)

FAMILIES: tuple[Family, ...] = (
    _DREAMLITE,
    replace(
        _DREAMLITE,
        name="dreamlite_mobile",
        pipelines=("DreamLiteMobilePipeline",),
        steps=4,
        guidance_scale=0.0,
        guidance=Guidance.NONE,
    ),
)
