"""Qwen-Image, and Qwen-Image-Edit, whose text encoder reads the images to edit as well."""

from __future__ import annotations

from dataclasses import replace

from ...numerics import GuidanceRule, KeptNorm
from ..family import Family, Padding, TextEncoderSpec, VaeSpec
from ..position_ids import qwen_ids
from ..spec import ReferenceFit, ReferenceRule
from ..text.chat_templates import (
    QWEN_IMAGE,
    QWEN_IMAGE_DROP,
    QWEN_IMAGE_EDIT,
    QWEN_IMAGE_EDIT_DROP,
    QWEN_IMAGE_EDIT_PLUS,
)
from ..text.combine import masked_embeds
from ..text.tokenizers import QWEN
from .parts import TRANSFORMER, pipelines

# Prompts of similar length share a call of the denoiser, which masks the padding.
_ENCODER = TextEncoderSpec(
    tokenizer_kind=QWEN,
    max_tokens=512,
    embeds="prompt_embeds",
    expands=False,
    template=QWEN_IMAGE,
    drop=QWEN_IMAGE_DROP,
    padding=Padding(block=32),
    empty_negative=" ",
)
# The pipelines for editing read prompts of any length.
_EDIT_ENCODER = replace(
    _ENCODER, max_tokens=1024, template=QWEN_IMAGE_EDIT, drop=QWEN_IMAGE_EDIT_DROP, vision="vision_encoder"
)

# Qwen-Image, also 2512.
_QWEN_IMAGE = Family(
    name="qwen_image",
    pipelines=pipelines("QwenImage"),
    text_encoders=(_ENCODER,),
    combine=masked_embeds,
    denoiser=replace(TRANSFORMER, patch=2, packed=True, timestep_scale=1e-3, position_ids=qwen_ids),
    vae=VaeSpec(normalized=True),
    latent_channels=16,
    native_side=1024,
    scaling_factor=1.0,
    steps=50,
    guidance_scale=4.0,
    guidance_rule=GuidanceRule(norm=KeptNorm.BLOCK),
    even_levels=True,
)

FAMILIES: tuple[Family, ...] = (
    _QWEN_IMAGE,
    # The first Qwen-Image-Edit: one image, which the text encoder reads in the denoiser's size.
    replace(
        _QWEN_IMAGE,
        name="qwen_image_edit",
        pipelines=pipelines("QwenImageEdit", tasks=("", "Inpaint")),
        text_encoders=(_EDIT_ENCODER,),
        references=ReferenceRule(most=1, fit=ReferenceFit.QWEN, required=True, seen=1024 * 1024, source=True),
    ),
    # Edit-2509 and -2511. diffusers sets no limit; the cards name 1 to 3 images.
    replace(
        _QWEN_IMAGE,
        name="qwen_image_edit_plus",
        pipelines=("QwenImageEditPlusPipeline",),
        text_encoders=(replace(_EDIT_ENCODER, template=QWEN_IMAGE_EDIT_PLUS),),
        steps=40,
        references=ReferenceRule(most=3, fit=ReferenceFit.QWEN, required=True, seen=384 * 384, source=True),
    ),
)
