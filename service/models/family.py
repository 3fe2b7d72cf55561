"""A family of models: its text encoders, denoiser and VAE, and its defaults, as values."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from .spec import IMAGE_TO_IMAGE, INPAINTING, TEXT_TO_IMAGE, Guidance
from .text.combine import single_embeds
from .text.tokenizers import CLIP, TokenizerKind

if TYPE_CHECKING:
    from collections.abc import Callable

    from .text.combine import CombineFunction

PENULTIMATE = "hidden_states.-2"
"""Name for the output of the last layer but one; graphs number their layers from 0."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TextEncoderSpec:
    """One text encoder: its folders, how prompts are read, and the names of its outputs.

    - `max_tokens` includes control tokens and padding.
    - `pooled` is empty if that output is not used.
    - `clean` is applied to every prompt; `instruction` precedes every prompt except negative ones.
    - `optional`: zeros replace the output of an encoder that is missing.
    - `masked`: padding is masked in the encoder too, if it can be called with or without a mask (T5).
    - `expands`: an added token of several vectors stands for all of them, as in pipelines that load textual inversions.
    """

    tokenizer: str = "tokenizer"
    encoder: str = "text_encoder"
    tokenizer_kind: TokenizerKind = CLIP
    max_tokens: int = 77
    embeds: str = "last_hidden_state"
    pooled: str = ""
    clean: Callable[[str], str] = str
    instruction: str = ""
    optional: bool = False
    expands: bool = True
    masked: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class DenoiserSpec:
    """The denoiser: its folder, the names of its latents [n, c, h, w] and its output, and their layout.

    `patch` is the width of a token in latents. With `packed`, latents are fed as tokens [n, h w / patch^2, c patch^2].
    A sampler's timestep is multiplied by `timestep_scale`.
    """

    folder: str = "unet"
    latents: str = "sample"
    out: str = "out_sample"
    patch: int = 1
    packed: bool = False
    timestep_scale: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class VaeSpec:
    """The VAE: the folders of its graphs and the names of their inputs; the first output of each graph is used.

    `decoder_fp32` is an optional copy of the decoder in float32, for images that overflow in float16.
    """

    decoder: str = "vae_decoder"
    decoder_fp32: str = "vae_decoder_fp32"
    encoder: str = "vae_encoder"
    latents: str = "latent_sample"
    pixels: str = "sample"


class Distilled(NamedTuple):
    """Defaults of a model that is distilled to few steps; `max_tokens` 0 keeps the family's."""

    steps: int
    guidance_scale: float
    max_tokens: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """One kind of model. `pipelines` are diffusers' names of its classes; `native_side` is in pixels.

    `combine` makes one conditioning of the outputs of all text encoders.
    `even_levels`: the pipeline spaces the levels of a flow evenly, 1 to 1/steps, for every sampler.
    `zero_negative`: an empty negative prompt gives zeros, unless model_index.json says otherwise.
    `distilled` replaces the defaults of models that are distilled to few steps.
    `respaced`: from an image, all steps are taken, on the distilled levels that the strength leaves.
    """

    name: str
    pipelines: tuple[str, ...]
    text_encoders: tuple[TextEncoderSpec, ...] = (TextEncoderSpec(),)
    combine: CombineFunction = single_embeds
    denoiser: DenoiserSpec = field(default_factory=DenoiserSpec)
    vae: VaeSpec = field(default_factory=VaeSpec)
    latent_channels: int = 4
    downscale: int = 8
    native_side: int
    scaling_factor: float
    shift_factor: float = 0.0
    steps: int
    guidance_scale: float
    guidance: Guidance = Guidance.CLASSIFIER_FREE
    distilled: Distilled | None = None
    even_levels: bool = False
    zero_negative: bool = False
    respaced: bool = False
    capabilities: frozenset[str] = frozenset({TEXT_TO_IMAGE, IMAGE_TO_IMAGE, INPAINTING})

    @property
    def max_tokens(self) -> int:
        """Return the length of its longest prompt in tokens."""
        return max(encoder.max_tokens for encoder in self.text_encoders)

    @property
    def required_graphs(self) -> tuple[str, ...]:
        """Return the folders of the graphs that text to image needs."""
        encoders = (encoder.encoder for encoder in self.text_encoders if not encoder.optional)
        return (*encoders, self.denoiser.folder, self.vae.decoder)

    @property
    def graphs(self) -> tuple[str, ...]:
        """Return the folders of all graphs that a model may hold in memory."""
        encoders = (encoder.encoder for encoder in self.text_encoders)
        return (*encoders, self.denoiser.folder, self.vae.decoder, self.vae.encoder, self.vae.decoder_fp32)
