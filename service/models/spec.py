"""What a model is and can do, as values: readable from its folder without loading it.

Everything above this package knows a model only by its ModelSpec and by the Model protocol.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

from ..errors import ModelBroken

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from ..numerics import Diffusion

Size = tuple[int, int]
"""Width and height in pixels."""

TEXT_TO_IMAGE, IMAGE_TO_IMAGE, INPAINTING = "text_to_image", "image_to_image", "inpainting"


class Guidance(StrEnum):
    """How a model is guided: by a second call for the negative prompt, by an input of its own, or not at all."""

    CLASSIFIER_FREE = "classifier_free"
    EMBEDDED = "embedded"
    NONE = "none"


@dataclass(frozen=True, slots=True, kw_only=True)
class Defaults:
    """What a request gets for the fields that it leaves out; width and height are pixels."""

    steps: int
    guidance_scale: float
    width: int
    height: int
    guidance_rescale: float = 0.0
    sampler: str
    schedule: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Preset:
    """A named bundle of settings: of effort (`quality`) or of look (`style`). None leaves a setting alone.

    `template` holds `{prompt}` once; `negative_prompt` is appended to the request's own.
    """

    steps: int | None = None
    guidance_scale: float | None = None
    guidance_rescale: float | None = None
    sampler: str = ""
    template: str = "{prompt}"
    negative_prompt: str = ""


@dataclass(frozen=True, slots=True)
class LatentToRgb:
    """A linear picture of latents: rgb = clip(weights.T @ latent + bias), in 0..1, at latent resolution.

    `weights` is [channels][3], `bias` [3]; fitted by least squares on decoded latents.
    """

    weights: tuple[tuple[float, float, float], ...]
    bias: tuple[float, float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSpec:
    """One model; sizes in pixels, `weights_bytes` in bytes on disk.

    `native_sizes` holds the default first; `size_multiple` is what widths and heights made without resampling are
    multiples of; latents are [latent_channels, height / downscale, width / downscale].
    `batched_timestep` tells whether rows of one denoiser call may be at different timesteps.
    `inpaints` tells whether the denoiser takes a mask and a masked picture beside its latents, and can't do without.
    `patch` is how many latents wide a token of the denoiser is. `even_levels`: those of a flow are 1 to 1/steps.
    `respaced`: from a picture, all steps are taken below the strength, on the levels that are left of a distillation.
    `loras` are the adapters and `embeddings` the embeddings that its folder holds; `pickled` are files of embeddings
    that are not read.
    `provider` is the short name of the onnxruntime provider that runs it, empty until it is loaded, as are the options
    that it was told.

    Raises:
        ModelBroken: values that contradict each other.
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
    guidance: Guidance = Guidance.CLASSIFIER_FREE
    inpaints: bool = False
    patch: int = 1
    even_levels: bool = False
    respaced: bool = False
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
    qualities: Mapping[str, Preset] = field(default_factory=dict)
    styles: Mapping[str, Preset] = field(default_factory=dict)

    def __post_init__(self) -> None:
        faults = [*self._size_faults(), *self._preview_faults()]
        if faults:
            raise ModelBroken(self.name, faults)

    def latent_shape(self, width: int, height: int) -> tuple[int, int, int]:
        """Return [c, h, w] of the latents of a picture of that size; both must be multiples of `size_multiple`."""
        return self.latent_channels, height // self.downscale, width // self.downscale

    def _size_faults(self) -> list[str]:
        numbers = ("size_multiple", "latent_channels", "downscale", "max_tokens")
        faults = [f"{n} must be at least 1, not {getattr(self, n)}" for n in numbers if getattr(self, n) < 1]
        if not faults and self.size_multiple % self.downscale:
            faults.append(f"size_multiple {self.size_multiple} must be a multiple of downscale {self.downscale}")
        if not self.native_sizes:
            faults.append("native_sizes must name at least one size")
        odd = [size for size in self.native_sizes if not faults and any(n < 1 or n % self.size_multiple for n in size)]
        faults += [f"native size {w}x{h} must be a multiple of {self.size_multiple}" for w, h in odd]
        return faults

    def _preview_faults(self) -> list[str]:
        if self.latent_to_rgb is None or len(self.latent_to_rgb.weights) == self.latent_channels:
            return []
        rows = len(self.latent_to_rgb.weights)
        return [f"preview.latent_to_rgb must have {self.latent_channels} rows, one for each latent channel, not {rows}"]
