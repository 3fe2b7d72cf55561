"""A family of models: its text encoders, denoiser and VAE, and its defaults, as values."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from ..numerics import PLAIN, GuidanceRule
from .position_ids import flux_ids
from .spec import IMAGE_TO_IMAGE, INPAINTING, STRENGTH, TEXT_TO_IMAGE, Guidance
from .text.combine import PENULTIMATE, single_embeds
from .text.tokenizers import CLIP, TokenizerKind

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from .families.distilled import ModelFacts
    from .position_ids import PositionIds
    from .spec import MaskLayout, ReferenceRule
    from .text.combine import CombineFunction


class ChatTemplate(NamedTuple):
    """What stands before and after a prompt; control tokens are spelled out, as in `<|im_start|>user`.

    `image` stands between `before` and the prompt for each image that the encoder reads; `{}` is its number. Negative
    prompts are framed only with `negative`.
    """

    before: str
    after: str
    image: str = ""
    negative: bool = True


class Padding(NamedTuple):
    """How the ids of a prompt are padded: to a multiple of `block`, 0 for the full length, on one side.

    With a block of 1 there is no padding. A tokenizer's folder that names a side overrides `left` at full length. With
    `whole`, `ChatTemplate.after` is never cut off; with `inner`, which implies it, padding stands before that.
    """

    block: int = 0
    left: bool = False
    inner: bool = False
    whole: bool = False


TO_LENGTH = Padding()


@dataclass(frozen=True, slots=True, kw_only=True)
class TextEncoderSpec:
    """One text encoder: its folders, how prompts are read, and the names of its outputs.

    - `max_tokens` includes control tokens, the template and padding, but not the tokens that `drop` leaves out.
    - `pooled` is empty if that output is not used.
    - `clean` is applied to every prompt; `instruction` precedes every prompt except negative ones.
    - `optional`: zeros replace the output of an encoder that is missing.
    - `masked`: padding is masked in the encoder too, if it can be called with or without a mask (T5).
    - `expands`: an added token of several vectors stands for all of them, as in pipelines that load textual inversions.
    - `template` frames every prompt; its first `drop` tokens are left out of the result.
    - `pieces` splits a prompt into texts that share no token with each other or with the template.
    - `bare`: all tokens of the template are left out of the result, and do not count in `max_tokens`.
    - `empty_negative` replaces an empty negative prompt.
    - `graph` chooses among the graphs of an encoder's class: the layers that it returns, such as `penultimate`.
    - `vision` is the folder of the graph that reads images for the encoder; empty if it reads none.
    - `pooled_only`: of its outputs, the denoiser reads only `pooled`, which has no layers to leave out.
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
    template: ChatTemplate | None = None
    drop: int = 0
    pieces: Callable[[str], Sequence[str]] | None = None
    bare: bool = False
    padding: Padding = TO_LENGTH
    empty_negative: str = ""
    vision: str = ""
    graph: str = ""
    pooled_only: bool = False

    @property
    def variant(self) -> str:
        """What chooses among the templates of the encoder's class."""
        return self.graph or ("masked" if self.masked else "")


@dataclass(frozen=True, slots=True, kw_only=True)
class DenoiserSpec:
    """The denoiser: its folder, the names of its latents [n, c, h, w] and its output, and their layout.

    `patch` is the width of a token in latents. With `packed`, latents are fed as tokens [n, h w / patch^2, c patch^2].
    A sampler's timestep is multiplied by `timestep_scale`. `position_ids` gives the places of all tokens, for
    graphs that take them. `flat_table`: `pos_embed_max_size` counts all places of a square, not those of a side.
    """

    folder: str = "unet"
    latents: str = "sample"
    out: str = "out_sample"
    patch: int = 1
    packed: bool = False
    timestep_scale: float = 1.0
    position_ids: PositionIds = flux_ids
    flat_table: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class VaeSpec:
    """The VAE: the folders of its graphs and the names of their inputs; the first output of each graph is used.

    `decoder_fp32` is an optional copy of the decoder in float32, for images that overflow in float16. The graphs fold
    `patch` x `patch` latents into channels, so that the denoiser sees fewer and deeper ones. `normalized`: the graphs
    scale and shift the latents themselves.
    """

    decoder: str = "vae_decoder"
    decoder_fp32: str = "vae_decoder_fp32"
    encoder: str = "vae_encoder"
    latents: str = "latent_sample"
    pixels: str = "sample"
    patch: int = 1
    normalized: bool = False


class Distilled(NamedTuple):
    """How few-step models are recognised, and their defaults.

    `max_tokens` 0 and `guidance` None keep the family's. `shift` is the middle of a flow's dynamic shift at any size;
    None keeps that of the scheduler.
    """

    when: Callable[[ModelFacts], bool]
    steps: int
    guidance_scale: float
    max_tokens: int = 0
    guidance: Guidance | None = None
    shift: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """One kind of model. `pipelines` are diffusers' names of its classes; `native_side` is in pixels.

    `sized_by_config`: the denoiser's `sample_size` is the trained size, in place of `native_side`.
    `combine` makes one conditioning of the outputs of all text encoders.
    `even_levels`: the pipeline spaces the levels of a flow evenly, 1 to 1/steps, for every sampler.
    `zero_negative`: an empty negative prompt gives zeros, unless model_index.json says otherwise.
    `distilled` replaces the defaults of models that are distilled to few steps.
    `respaced`: from an image, all steps are taken, on the distilled levels that the strength leaves.
    `references`: how it takes images to edit; None if it takes none.
    `mask`: how models that only inpaint take their masks; None if there are none. `strength` is the default.
    `draws_posterior`: latents of the image to start from are drawn from the VAE's distribution; otherwise its mode.
    `smooth_mask`: a mask is averaged in the middle of each latent; otherwise its upper left pixel decides.
    `shift_by_steps`: a flow's levels are shifted by the number of steps too, as FLUX.2's.
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
    sized_by_config: bool = True
    scaling_factor: float
    shift_factor: float = 0.0
    steps: int
    guidance_scale: float
    guidance: Guidance = Guidance.CLASSIFIER_FREE
    guidance_rule: GuidanceRule = PLAIN
    references: ReferenceRule | None = None
    draws_posterior: bool = True
    mask: MaskLayout | None = None
    strength: float = STRENGTH
    shift_by_steps: bool = False
    smooth_mask: bool = False
    distilled: Distilled | None = None
    even_levels: bool = False
    zero_negative: bool = False
    respaced: bool = False
    capabilities: frozenset[str] = frozenset({TEXT_TO_IMAGE, IMAGE_TO_IMAGE, INPAINTING})

    @property
    def clip_layer(self) -> int:
        """Return the layer of CLIP that it reads, counted from the end, beginning with 1; 0 if it reads none."""
        clips = [each for each in self.text_encoders if each.tokenizer_kind.chunked and not each.pooled_only]
        return max((2 if clip.embeds == PENULTIMATE else 1 for clip in clips), default=0)

    @property
    def max_tokens(self) -> int:
        """Return the length of its longest prompt in tokens."""
        return max(encoder.max_tokens for encoder in self.text_encoders)

    def distilled_for(self, facts: ModelFacts) -> Distilled | None:
        """Return the defaults of few-step models if the model is one of them."""
        return self.distilled if self.distilled and self.distilled.when(facts) else None

    @property
    def required_graphs(self) -> tuple[str, ...]:
        """Return the folders of the graphs that text to image needs."""
        encoders = (encoder.encoder for encoder in self.text_encoders if not encoder.optional)
        return (*encoders, *self._vision, self.denoiser.folder, self.vae.decoder)

    def part_of(self, component: str) -> str:
        """Return the published part that holds a component: a text encoder holds the graph that reads images for it."""
        return next((each.encoder for each in self.text_encoders if each.vision == component), component)

    @property
    def _vision(self) -> tuple[str, ...]:
        return tuple(encoder.vision for encoder in self.text_encoders if encoder.vision)

    @property
    def graphs(self) -> tuple[str, ...]:
        """Return the folders of all graphs that a model may hold in memory."""
        encoders = (encoder.encoder for encoder in self.text_encoders)
        vae = (self.vae.decoder, self.vae.encoder, self.vae.decoder_fp32)
        return (*encoders, *self._vision, self.denoiser.folder, *vae)
