"""How the answers of a model's text encoders become one conditioning: one function for each way.

A join takes the answers in the family's order and returns one, with the embeddings that the denoiser reads.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from ..files import ModelFileError

if TYPE_CHECKING:
    import numpy.typing as npt

    from ..model import Array


@dataclass(frozen=True, slots=True, eq=False)
class Encoded:
    """What one encoder made of a prompt: embeds [tokens, dim], pooled [dim], and a mask [tokens] of what counts."""

    embeds: Array
    pooled: Array | None = None
    mask: npt.NDArray[np.int64] | None = None


Join: TypeAlias = Callable[[Sequence[Encoded]], Encoded]


def single(parts: Sequence[Encoded]) -> Encoded:
    """Take the embeddings of the one encoder: Stable Diffusion."""
    return Encoded(parts[0].embeds)


def masked(parts: Sequence[Encoded]) -> Encoded:
    """Take the embeddings of the one encoder, and its mask: PixArt, Sana."""
    return Encoded(parts[0].embeds, mask=parts[0].mask)


def features(parts: Sequence[Encoded]) -> Encoded:
    """Put embeddings side by side; the last encoder's pooled one counts: SDXL."""
    return Encoded(np.concatenate([part.embeds for part in parts], axis=-1), parts[-1].pooled)


def clip_and_t5(parts: Sequence[Encoded]) -> Encoded:
    """Two CLIPs side by side, widened with zeros, then T5's tokens; both pooled ones: Stable Diffusion 3.

    Raises ModelFileError where T5's are narrower.
    """
    *clips, t5 = parts
    wide = np.concatenate([clip.embeds for clip in clips], axis=-1)
    if wide.shape[-1] > t5.embeds.shape[-1]:
        widths = f"{t5.embeds.shape[-1]} numbers wide, below the {wide.shape[-1]} of both CLIPs"
        raise ModelFileError(f"text_encoder_3 gives embeddings {widths}: it is of another model")
    wide = np.pad(wide, ((0, 0), (0, t5.embeds.shape[-1] - wide.shape[-1])))
    pooled = [clip.pooled for clip in clips if clip.pooled is not None]
    return Encoded(np.concatenate([wide, t5.embeds]), np.concatenate(pooled))


def pooled_and_embeds(parts: Sequence[Encoded]) -> Encoded:
    """The first encoder's pooled embedding, the second's tokens: FLUX."""
    return Encoded(parts[1].embeds, parts[0].pooled)
