"""FLUX.1 and its kin."""

from __future__ import annotations

from dataclasses import replace

from ..family import Distilled, Family, TextEncoderSpec
from ..spec import Guidance
from ..text.combine import clip_pooled_and_t5
from ..text.tokenizers import T5
from .distilled import without_guidance_and_shift
from .parts import TRANSFORMER, pipelines

FAMILIES: tuple[Family, ...] = (
    # FLUX.1 schnell and dev: distilled, one call per step.
    Family(
        name="flux",
        pipelines=pipelines("Flux"),
        text_encoders=(
            TextEncoderSpec(pooled="pooler_output"),
            TextEncoderSpec(tokenizer="tokenizer_2", encoder="text_encoder_2", tokenizer_kind=T5, max_tokens=512),
        ),
        combine=clip_pooled_and_t5,
        denoiser=replace(TRANSFORMER, patch=2, packed=True, timestep_scale=1e-3),
        latent_channels=16,
        native_side=1024,
        scaling_factor=0.3611,
        shift_factor=0.1159,
        steps=28,
        guidance_scale=3.5,
        guidance=Guidance.NONE,
        distilled=Distilled(without_guidance_and_shift, steps=4, guidance_scale=0, max_tokens=256),
        even_levels=True,
    ),
)
