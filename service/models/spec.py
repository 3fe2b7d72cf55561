"""A model's properties and capabilities, as values that are read from its folder without loading it.

Other packages use a model only through its ModelSpec and the Model protocol.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

from ..errors import ModelBroken
from ..numerics import PLAIN, GuidanceRule

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from ..numerics import Diffusion
    from .folder.safety_files import SafetyFiles

Size = tuple[int, int]
"""Width and height in pixels."""

TEXT_TO_IMAGE, IMAGE_TO_IMAGE, INPAINTING = "text_to_image", "image_to_image", "inpainting"
STRENGTH = 0.8  # the usual default, as in diffusers


class Guidance(StrEnum):
    """Kind of guidance: a second row for the negative prompt, an input of the denoiser, or none."""

    CLASSIFIER_FREE = "classifier_free"
    EMBEDDED = "embedded"
    NONE = "none"


class ReferenceFit(StrEnum):
    """How an image to edit is resized, by diffusers' pipeline that does it; see `images.references`."""

    KONTEXT = "kontext"
    FLUX2 = "flux2"
    QWEN = "qwen"


@dataclass(frozen=True, slots=True, kw_only=True)
class ReferenceRule:
    """How a model takes images to edit: at most `most`, resized by `fit`.

    `required`: it needs at least one. `seen`: the text encoder reads them too, in about as many pixels. `source`:
    without others, the image that a result starts from is one. `masked`: an image with a mask precedes the others.
    """

    most: int
    fit: ReferenceFit
    required: bool = False
    seen: int = 0
    source: bool = False
    masked: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class MaskLayout:
    """The channels that an inpainting model takes behind its latents: the mask, and latents of the masked image.

    The mask has `cells` x `cells` values for each latent, each of its upper left pixel. `last`: it follows the latents.
    `draws_source`: noise for the image to start from is drawn even if the model does not read that image.
    """

    cells: int = 1
    last: bool = False
    draws_source: bool = False

    def channels(self, latent_channels: int) -> int:
        """Return the number of channels behind the latents."""
        return self.cells**2 + latent_channels


@dataclass(frozen=True, slots=True, kw_only=True)
class Defaults:
    """Values for fields that a request leaves out; width and height in pixels."""

    steps: int
    guidance_scale: float
    width: int
    height: int
    guidance_rescale: float = 0.0
    strength: float = STRENGTH
    sampler: str
    schedule: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Preset:
    """Values of a `quality` (effort) or a `style` (look); None keeps the model's default.

    `template` contains `{prompt}` once; `negative_prompt` is appended to that of the request.
    """

    steps: int | None = None
    guidance_scale: float | None = None
    guidance_rescale: float | None = None
    sampler: str = ""
    template: str = "{prompt}"
    negative_prompt: str = ""


@dataclass(frozen=True, slots=True)
class LatentToRgb:
    """A linear map from latents to colours: rgb = clip(weights.T @ latent + bias), in 0..1, at latent resolution.

    `weights` is [channels][3], `bias` [3]; fitted by least squares to decoded latents.
    """

    weights: tuple[tuple[float, float, float], ...]
    bias: tuple[float, float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSpec:
    """One model; sizes in pixels, `weights_bytes` in bytes on disk.

    - `native_sizes`: the first is the default.
    - `size_multiple`: widths and heights without resampling are multiples of it.
    - `max_side`: the longest side in pixels that it renders; None if none is too long.
    - Latents are [latent_channels, height / downscale, width / downscale].
    - `batched_timestep`: rows of one denoiser call may have different timesteps.
    - `inpaints`: the denoiser requires a mask and a masked image with its latents, as `mask_layout` says.
    - `patch`: width of a token of the denoiser, in latents.
    - `even_levels`: the noise levels of a flow are evenly spaced, 1 to 1/steps.
    - `smooth_mask`: a mask is averaged in the middle of each latent.
    - `draws_posterior`: the image encoder gives a distribution, and latents are drawn from it.
    - `respaced`: from an image, all steps are taken below the strength, on the remaining distilled levels.
    - `references`: how it takes images to edit; None if it takes none.
    - `controls`, `image_adapters`: the ControlNets and IP-Adapters in its folder.
    - `control_modes`: the number of kinds of each ControlNet that has several, by name.
    - `clip_layer`: the layer of CLIP that it reads, counted from the end, beginning with 1; 0 if it reads none.
    - `loras`, `embeddings`: the adapters and embeddings in its folder; `pickled`: embedding files that are not read.
    - `safety`: the graph that checks finished images; None if they are not checked.
    - `provider`: short name of the onnxruntime provider; empty, like its options, until the model is loaded.
    - `slot`: the key of its slot in the repository, which distinguishes a model from one that has replaced it.

    Raises:
        ModelBroken: values contradict each other.
    """

    name: str
    family: str
    diffusion: Diffusion = field(repr=False)
    defaults: Defaults
    native_sizes: tuple[Size, ...]
    size_multiple: int
    latent_channels: int
    downscale: int
    max_tokens: int
    batched_timestep: bool
    max_side: int | None = None
    guidance: Guidance = Guidance.CLASSIFIER_FREE
    guidance_rule: GuidanceRule = PLAIN
    references: ReferenceRule | None = None
    controls: tuple[str, ...] = ()
    control_modes: Mapping[str, int] = field(default_factory=dict)
    image_adapters: tuple[str, ...] = ()
    clip_layer: int = 1
    inpaints: bool = False
    mask_layout: MaskLayout = MaskLayout()
    patch: int = 1
    even_levels: bool = False
    respaced: bool = False
    smooth_mask: bool = False
    draws_posterior: bool = True
    weights_bytes: int = 0
    precision: str = ""
    created: datetime | None = None
    license: str = ""
    description: str = ""
    provider: str = ""
    provider_options: Mapping[str, str] = field(default_factory=dict)
    loras: tuple[str, ...] = ()
    embeddings: tuple[str, ...] = ()
    pickled: tuple[str, ...] = ()
    capabilities: frozenset[str] = frozenset({TEXT_TO_IMAGE})
    latent_to_rgb: LatentToRgb | None = field(default=None, repr=False)
    safety: SafetyFiles | None = field(default=None, repr=False)
    qualities: Mapping[str, Preset] = field(default_factory=dict)
    styles: Mapping[str, Preset] = field(default_factory=dict)
    slot: str = field(default="", compare=False, repr=False)

    def __post_init__(self) -> None:
        faults = [*self._size_faults(), *self._preview_faults()]
        if faults:
            raise ModelBroken(self.name, faults)

    @property
    def max_references(self) -> int:
        """The largest number of images to edit."""
        return self.references.most if self.references else 0

    def latent_shape(self, width: int, height: int) -> tuple[int, int, int]:
        """Return [c, h, w] of the latents of an image; width and height must be multiples of `size_multiple`."""
        return self.latent_channels, height // self.downscale, width // self.downscale

    def _size_faults(self) -> list[str]:
        numbers = ("size_multiple", "latent_channels", "downscale", "max_tokens")
        faults = [f"{n} must be at least 1, not {getattr(self, n)}" for n in numbers if getattr(self, n) < 1]
        if not faults and self.size_multiple % self.downscale:
            faults.append(f"size_multiple {self.size_multiple} must be a multiple of downscale {self.downscale}")
        if not self.native_sizes:
            faults.append("native_sizes must hold at least one size")
        odd = [size for size in self.native_sizes if not faults and any(n < 1 or n % self.size_multiple for n in size)]
        faults += [f"native size {w}x{h} must be a multiple of {self.size_multiple}" for w, h in odd]
        return faults

    def _preview_faults(self) -> list[str]:
        if self.latent_to_rgb is None or len(self.latent_to_rgb.weights) == self.latent_channels:
            return []
        rows = len(self.latent_to_rgb.weights)
        return [f"preview.latent_to_rgb must have {self.latent_channels} rows, one for each latent channel, not {rows}"]
