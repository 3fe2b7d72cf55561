"""The interface of a loaded model: functions of arrays, independent of graphs, tokenizers and providers.

Arrays are float32 and C-contiguous; the model casts them to the types of its graphs. Only the device thread calls a
model; any thread may stop it. Between calls a model keeps only its cache of conditionings.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from .spec import ModelSpec

Array = npt.NDArray[np.float32]
Shape = tuple[int, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Reference:
    """An image to edit, as the model reads it: levels [3, h, w], 0..255, for the image encoder.

    `seen` are the levels [3, h', w'] for a text encoder that reads images; None for others. `digest` identifies the
    content.
    """

    levels: npt.NDArray[np.uint8] = field(repr=False)
    seen: npt.NDArray[np.uint8] | None = field(default=None, repr=False)
    digest: bytes = b""


@dataclass(frozen=True, slots=True, eq=False)
class ImagePrompt:
    """An image that the result resembles: an IP-Adapter's name, levels [3, 224, 224], 0..255, and a weight."""

    name: str
    levels: npt.NDArray[np.uint8] = field(repr=False)
    weight: float = 1.0
    digest: bytes = b""


@dataclass(frozen=True, slots=True, eq=False)
class ControlInput:
    """What a ControlNet reads for a row: its name, the hint [c, h, w], and the weight of its changes.

    The hint is pixels [3, H, W] in 0..1, or latents. It applies from the share `start` of the steps up to `end`. `mode`
    is the number of a kind of control, for a ControlNet that has several.
    """

    name: str
    hint: Array = field(repr=False)
    weight: float = 1.0
    start: float = 0.0
    end: float = 1.0
    mode: int = 0

    def active(self, call: int, calls: int) -> bool:
        """Return whether it applies to denoiser call `call` of `calls`, counted from 0, as in diffusers."""
        return call / calls >= self.start and (call + 1) / calls <= self.end


@dataclass(frozen=True, slots=True)
class Prompt:
    """A text to encode.

    `negative` marks a prompt of what must not be shown. With `weighted`, `(word:1.3)` is a prompt weight. `loras` are
    names and weights of adapters. `embeddings` are files whose names in the text stand for their vectors. `images` are
    those that the text encoder reads with the text. `clip_skip` is the number of CLIP's last layers to leave out.
    `image_prompts` are images that the result resembles.
    """

    text: str
    negative: bool = False
    weighted: bool = False
    loras: tuple[tuple[str, float], ...] = ()
    embeddings: tuple[str, ...] = ()
    images: tuple[Reference, ...] = ()
    clip_skip: int = 0
    image_prompts: tuple[ImagePrompt, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Conditioning:
    """An encoded prompt: prompt_embeds [tokens, dim], and the other inputs of the denoiser for its row.

    `pooled` is [dim], `mask` [tokens] int64, 0 for padding; None if the model has none. Other arrays are float32; all
    are read-only. `tokens` counts the prompt's own tokens that are read, without padding and control tokens.
    `guidance_scale` is for models that take it as an input. `later` is the conditioning of a second stage, if there is
    one. `loras` are those of the prompt; `held` keeps them in memory. `references` are the latents [c, h, w] of images
    to edit; `controls` are the ControlNets of this call; `attended` are the keys and values
    [tokens, width] of image prompts, for each cross attention.
    """

    prompt_embeds: Array = field(repr=False)
    pooled: Array | None = field(default=None, repr=False)
    mask: npt.NDArray[np.int64] | None = field(default=None, repr=False)
    tokens: int = 0
    negative: bool = False
    guidance_scale: float = 1.0
    later: Conditioning | None = field(default=None, repr=False)
    loras: tuple[tuple[str, float], ...] = ()
    held: tuple[object, ...] = field(default=(), repr=False)
    references: tuple[Array, ...] = field(default=(), repr=False)
    controls: tuple[ControlInput, ...] = field(default=(), repr=False)
    attended: tuple[Array, ...] = field(default=(), repr=False)
    key: tuple[Shape, ...] = field(init=False, repr=False)
    """Shapes of the arrays; rows of one model with equal keys may share a denoiser call."""

    def __post_init__(self) -> None:
        for array in self.arrays:
            array.setflags(write=False)
        shapes = (array.shape for array in self.arrays)
        object.__setattr__(self, "key", (*shapes, *(self.later.key if self.later else ())))

    @property
    def arrays(self) -> list[npt.NDArray[np.generic]]:
        """Return all arrays that are not None."""
        own = (self.prompt_embeds, self.pooled, self.mask, *self.references, *self.attended)
        return [array for array in own if array is not None]


def call_groups(conditionings: Sequence[Conditioning], width: int) -> list[list[int]]:
    """Return groups of at most `width` indices with one conditioning key: a negative prompt's may differ."""
    groups: dict[object, list[int]] = {}
    for i, conditioning in enumerate(conditionings):
        groups.setdefault(conditioning.key, []).append(i)
    return [group[i : i + width] for group in groups.values() for i in range(0, len(group), width)]


class Model(Protocol):
    """A loaded model. Calls may raise GenerationFailed and OutOfMemory, and Cancelled between `stop` and `resume`.

    A model whose latents may stay on its device also has `resident`, see `resident.interface`.
    """

    @property
    def spec(self) -> ModelSpec:
        """Return its spec, with `provider` set."""

    @property
    def adapter_reader(self) -> Callable[[Iterable[str]], None]:
        """A function that reads adapters by name, so that `encode` need not. From any thread; raises InvalidField.

        It does not keep the model's weights in memory.
        """

    def chunks(self, prompts: Sequence[Prompt]) -> int:
        """Return the number of chunks of the longest prompt."""

    def encode(self, prompts: Sequence[Prompt], chunks: int = 1) -> list[Conditioning]:
        """Encode the prompts of one image, one conditioning each, in order.

        Recent prompts are cached. All prompts get the number of chunks of the longest, and at least `chunks`.
        """

    def denoise(self, latents: Array, timesteps: Array, conditionings: Sequence[Conditioning]) -> Array:
        """Call the denoiser once: latents [n, c, h, w], timesteps [n], n conditionings of one key -> out [n, c, h, w].

        If `spec.inpaints`, the channels of `spec.mask_layout` follow those of the latents.
        If `spec.batched_timestep` is False, all timesteps must be equal (ValueError).
        """

    def encode_hint(self, name: str, pixels: Array, draw: Callable[[Shape], Array]) -> Array:
        """Return what the ControlNet `name` reads of pixels [3, H, W] in 0..1: the pixels, or latents [c, h, w].

        `draw` returns standard normal noise of a shape, for latents that are drawn from a posterior.
        """

    def decode(self, latents: Array) -> Array:
        """Decode latents [n, c, h, w] to pixels [n, 3, h * downscale, w * downscale] in 0..1.

        Raises:
            GenerationFailed: latents or pixels are not finite.
        """

    def encode_pixels(self, pixels: Array, noise: Array) -> Array:
        """Draw latents [n, c, h, w] of pixels [n or 1, 3, H, W] in 0..1; noise [n, c, h, w] is standard normal.

        Raises:
            Unsupported: the model has no image encoder.
            GenerationFailed: the latents are not finite.
        """

    def preview(self, latents: Array) -> Array:
        """Return a rough preview of latents [c, h, w] as pixels [3, h, w] in 0..1, without a call of a graph."""

    def stop(self) -> None:
        """Stop the running call as soon as possible, and fail others until `resume`. From any thread."""

    def resume(self) -> None:
        """Allow calls again."""
