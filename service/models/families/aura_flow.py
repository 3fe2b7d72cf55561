"""AuraFlow."""

from __future__ import annotations

from dataclasses import replace

from ..family import Family, TextEncoderSpec
from ..text.combine import without_padding
from ..text.tokenizers import LLAMA
from .parts import TRANSFORMER

FAMILIES: tuple[Family, ...] = (
    Family(
        name="aura_flow",
        pipelines=("AuraFlowPipeline",),
        text_encoders=(TextEncoderSpec(tokenizer_kind=LLAMA, max_tokens=256, expands=False, masked=True),),
        combine=without_padding,
        denoiser=replace(TRANSFORMER, patch=2, timestep_scale=1e-3, flat_table=True),
        native_side=1024,
        sized_by_config=False,
        scaling_factor=0.13025,
        steps=50,
        guidance_scale=3.5,
    ),
)
