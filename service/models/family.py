"""What a family consists of: text encoders, a denoiser and a VAE, as values."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from .spec import IMAGE_TO_IMAGE, INPAINTING, TEXT_TO_IMAGE, Guidance
from .text.combine import single
from .text.tokenizers import CLIP, TokenizerKind

if TYPE_CHECKING:
    from collections.abc import Callable

    from .text.combine import Join

PENULTIMATE = "hidden_states.-2"
"""Stands for the output of the last layer but one, which graphs number from 0."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TextPart:
    """One text encoder: its folders, how its prompts are read, and the names of its outputs.

    `max_tokens` counts control tokens and padding. `pooled` is empty where it is not used. `instruction` stands before
    every prompt but negative ones. An `optional` part that is not there counts as zeros. Where it `expands`, an added
    token of several vectors stands for all of them, as in the pipelines that load textual inversions.
    """

    tokenizer: str = "tokenizer"
    encoder: str = "text_encoder"
    kind: TokenizerKind = CLIP
    max_tokens: int = 77
    embeds: str = "last_hidden_state"
    pooled: str = ""
    clean: Callable[[str], str] = str
    instruction: str = ""
    optional: bool = False
    expands: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class DenoiserPart:
    """The denoiser: its folder, the names of its latents [n, c, h, w] and its output, and how it wants them.

    `patch` is how many latents wide a token is; `packed` ones are fed as tokens, [n, h w / patch^2, c patch^2].
    `time_scale` is what a timestep of the sampler is multiplied by.
    """

    folder: str = "unet"
    latents: str = "sample"
    out: str = "out_sample"
    patch: int = 1
    packed: bool = False
    time_scale: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class VaePart:
    """Latents to pixels and back: the folders and the names of their inputs; each graph has one output that counts.

    `exact` may hold the decoder in float32 once more, for what overflows in float16.
    """

    decoder: str = "vae_decoder"
    exact: str = "vae_decoder_fp32"
    encoder: str = "vae_encoder"
    latents: str = "latent_sample"
    pixels: str = "sample"


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """One kind of model. `pipelines` are diffusers' class names of it; `native` is a side in pixels.

    `even_levels`: the pipeline spaces the levels of a flow evenly, 1 to 1/steps, whatever the sampler would do.
    `zero_negative`: an empty negative prompt is zeros, unless the index says otherwise.
    `respaced`: from a picture it takes all steps, on those of the distilled levels that the strength leaves.
    """

    name: str
    pipelines: tuple[str, ...]
    text: tuple[TextPart, ...] = (TextPart(),)
    join: Join = single
    denoiser: DenoiserPart = field(default_factory=DenoiserPart)
    vae: VaePart = field(default_factory=VaePart)
    latent_channels: int = 4
    downscale: int = 8
    native: int
    scaling_factor: float
    shift_factor: float = 0.0
    steps: int
    guidance_scale: float
    guidance: Guidance = Guidance.CLASSIFIER_FREE
    even_levels: bool = False
    zero_negative: bool = False
    respaced: bool = False
    capabilities: frozenset[str] = frozenset({TEXT_TO_IMAGE, IMAGE_TO_IMAGE, INPAINTING})

    @property
    def max_tokens(self) -> int:
        """How many tokens its longest prompt has."""
        return max(part.max_tokens for part in self.text)

    @property
    def graphs(self) -> tuple[str, ...]:
        """The folders that hold a graph without which nothing can be drawn."""
        encoders = (part.encoder for part in self.text if not part.optional)
        return (*encoders, self.denoiser.folder, self.vae.decoder)
