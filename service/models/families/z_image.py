"""Z-Image, Z-Image-Turbo and Lumina-Image 2: transformers over one sequence of text and image tokens."""

from __future__ import annotations

from dataclasses import replace

from ...numerics import GuidanceRule, KeptNorm
from ..family import Distilled, Family, Padding, TextEncoderSpec
from ..text.chat_templates import LUMINA2, Z_IMAGE
from ..text.combine import masked_embeds
from ..text.tokenizers import GEMMA, QWEN
from .distilled import turbo_flow
from .parts import TRANSFORMER, pipelines

# Rows share a call if their texts have the same number of blocks. Padding is not read: by Z-Image because a learnt
# token fills the last block, by Lumina-Image 2 because it is masked.
_BLOCKS = Padding(block=32)

FAMILIES: tuple[Family, ...] = (
    # Guidance is the prompt's prediction plus the scale times its difference from the negative one: 0 turns it off.
    Family(
        name="z_image",
        pipelines=pipelines("ZImage"),
        text_encoders=(
            TextEncoderSpec(
                tokenizer_kind=QWEN,
                max_tokens=512,
                embeds="prompt_embeds",
                expands=False,
                template=Z_IMAGE,
                graph="penultimate",
                padding=_BLOCKS,
            ),
        ),
        combine=masked_embeds,
        denoiser=replace(TRANSFORMER, patch=2),
        latent_channels=16,
        native_side=1024,
        scaling_factor=0.3611,
        shift_factor=0.1159,
        steps=50,
        guidance_scale=5.0,
        guidance_rule=GuidanceRule(offset=1.0),
        distilled=Distilled(turbo_flow, steps=9, guidance_scale=0),
        even_levels=True,
    ),
    Family(
        name="lumina2",
        pipelines=("Lumina2Pipeline", "Lumina2Text2ImgPipeline"),
        text_encoders=(
            TextEncoderSpec(
                tokenizer_kind=GEMMA,
                max_tokens=256,
                embeds="prompt_embeds",
                expands=False,
                template=LUMINA2,
                graph="penultimate",
                padding=_BLOCKS,
            ),
        ),
        combine=masked_embeds,
        denoiser=replace(TRANSFORMER, patch=2),
        latent_channels=16,
        native_side=1024,
        scaling_factor=0.3611,
        shift_factor=0.1159,
        steps=30,
        guidance_scale=4.0,
        guidance_rule=GuidanceRule(norm=KeptNorm.WIDTH),
        even_levels=True,
    ),
)
