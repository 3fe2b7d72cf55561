"""ERNIE-Image and Krea 2: transformers over one sequence of text and image tokens."""

from __future__ import annotations

from dataclasses import replace

from ...numerics import GuidanceRule
from ..family import Distilled, Family, Padding, TextEncoderSpec, VaeSpec
from ..text.chat_templates import QWEN_IMAGE, QWEN_IMAGE_DROP
from ..text.combine import masked_embeds
from ..text.tokenizers import MISTRAL, QWEN
from .distilled import has_turbo_name, marked
from .parts import TRANSFORMER

FAMILIES: tuple[Family, ...] = (
    # ERNIE-Image, and Turbo: Ministral 3, and FLUX.2's autoencoder. diffusers cuts no prompt off.
    Family(
        name="ernie_image",
        pipelines=("ErnieImagePipeline",),
        text_encoders=(
            TextEncoderSpec(
                tokenizer_kind=MISTRAL,
                max_tokens=2048,
                embeds="prompt_embeds",
                graph="penultimate",
                padding=Padding(block=32),
                expands=False,
            ),
        ),
        combine=masked_embeds,
        denoiser=TRANSFORMER,
        vae=VaeSpec(patch=2, normalized=True),
        latent_channels=128,
        downscale=16,
        native_side=1024,
        scaling_factor=1.0,
        steps=50,
        guidance_scale=4.0,
        draws_posterior=False,
        distilled=Distilled(has_turbo_name, steps=8, guidance_scale=1.0),
        even_levels=True,
    ),
    # Krea 2, and Turbo: Qwen3-VL, and Qwen-Image's autoencoder. Guidance is the prompt's prediction plus the scale
    # times its difference from the negative one: 0 turns it off.
    Family(
        name="krea2",
        pipelines=("Krea2Pipeline",),
        text_encoders=(
            TextEncoderSpec(
                tokenizer_kind=QWEN,
                max_tokens=512,
                embeds="prompt_embeds",
                graph="layers",
                template=QWEN_IMAGE,
                drop=QWEN_IMAGE_DROP,
                padding=Padding(block=32, whole=True),
                expands=False,
            ),
        ),
        combine=masked_embeds,
        denoiser=replace(TRANSFORMER, patch=2, packed=True, timestep_scale=1e-3),
        vae=VaeSpec(normalized=True),
        latent_channels=16,
        native_side=1024,
        scaling_factor=1.0,
        steps=28,
        guidance_scale=4.5,
        guidance_rule=GuidanceRule(offset=1.0),
        distilled=Distilled(marked, steps=8, guidance_scale=0, shift=1.15),
        even_levels=True,
    ),
)
