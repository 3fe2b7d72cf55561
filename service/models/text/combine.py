"""Combining the outputs of a model's text encoders to one conditioning: one function for each way.

Each function takes the outputs in the family's order and returns what the denoiser reads.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from ...errors import InvalidField
from ..files import ModelFileError

if TYPE_CHECKING:
    import numpy.typing as npt

    from ..model import Array


@dataclass(frozen=True, slots=True, eq=False)
class EncoderOutput:
    """One encoder's output for a prompt: embeds [tokens, dim], pooled [dim], attention mask [tokens]."""

    embeds: Array
    pooled: Array | None = None
    mask: npt.NDArray[np.int64] | None = None


PENULTIMATE = "hidden_states.-2"
"""Name for the output of the last layer but one; graphs number their layers from 0."""

LAYER, NORMED = "hidden_states.", "normed_states."
"""Beginnings of the names of a CLIP's outputs: its layers, and the same normalised like the last one."""

CombineFunction: TypeAlias = Callable[[Sequence[EncoderOutput]], EncoderOutput]


def single_embeds(outputs: Sequence[EncoderOutput]) -> EncoderOutput:
    """Return the embeddings of the only encoder: Stable Diffusion."""
    return EncoderOutput(outputs[0].embeds)


def masked_embeds(outputs: Sequence[EncoderOutput]) -> EncoderOutput:
    """Return the embeddings and the mask of the only encoder: PixArt, Sana."""
    return EncoderOutput(outputs[0].embeds, mask=outputs[0].mask)


def without_padding(outputs: Sequence[EncoderOutput]) -> EncoderOutput:
    """Return the embeddings of the only encoder, zeros for padding: AuraFlow and Ovis-Image."""
    (only,) = outputs
    if only.mask is None:
        return EncoderOutput(only.embeds)
    return EncoderOutput(only.embeds * only.mask[:, np.newaxis].astype(np.float32))


def clips_side_by_side(outputs: Sequence[EncoderOutput]) -> EncoderOutput:
    """Concatenate embeddings along dim, with the last encoder's pooled embedding: SDXL and its refiner."""
    return EncoderOutput(np.concatenate([output.embeds for output in outputs], axis=-1), outputs[-1].pooled)


def clips_then_t5(outputs: Sequence[EncoderOutput]) -> EncoderOutput:
    """Combine two CLIPs and T5: Stable Diffusion 3.

    The embeddings of both CLIPs are concatenated along dim and padded with zeros to T5's width; T5's tokens follow.
    The pooled embeddings of both CLIPs are concatenated.

    Raises:
        ModelFileError: T5's embeddings are narrower than those of both CLIPs.
    """
    *clips, t5 = outputs
    wide = np.concatenate([clip.embeds for clip in clips], axis=-1)
    if wide.shape[-1] > t5.embeds.shape[-1]:
        raise ModelFileError(
            f"text_encoder_3 must give embeddings at least as wide as both CLIPs together ({wide.shape[-1]}), "
            f"not {t5.embeds.shape[-1]}: it belongs to another model"
        )
    wide = np.pad(wide, ((0, 0), (0, t5.embeds.shape[-1] - wide.shape[-1])))
    pooled = [clip.pooled for clip in clips if clip.pooled is not None]
    return EncoderOutput(np.concatenate([wide, t5.embeds]), np.concatenate(pooled))


def clip_pooled_and_t5(outputs: Sequence[EncoderOutput]) -> EncoderOutput:
    """Return T5's embeddings with CLIP's pooled embedding: FLUX."""
    clip, t5 = outputs
    return EncoderOutput(t5.embeds, clip.pooled)


def output_name(name: str, outputs: Sequence[str]) -> str:
    """Return the name of a graph's output; PENULTIMATE is replaced by the layer's number."""
    return name if name != PENULTIMATE else f"{LAYER}{_last_layer(outputs) - 1}"


def skipped_output(name: str, count: int, outputs: Sequence[str]) -> str:
    """Return the output that is `count` layers before the output `name` of a CLIP, as `clip_skip` in diffusers.

    The last hidden state is normalised, and so are those before it.

    Raises:
        InvalidField: the graph has no such output.
    """
    number = int(name.removeprefix(LAYER)) if name.startswith(LAYER) else _last_layer(outputs)
    found = f"{LAYER if name.startswith(LAYER) else NORMED}{number - count}"
    if found in outputs:
        return found
    most = max((n for n in range(count) if f"{found.rpartition('.')[0]}.{number - n}" in outputs), default=0)
    reason = "its text encoder does not give earlier layers; export the model again" if not most else f"at most {most}"
    raise InvalidField("clip_skip", f"cannot be {count} with this model: {reason}")


def _last_layer(outputs: Sequence[str]) -> int:
    return max((int(output.removeprefix(LAYER)) for output in outputs if output.startswith(LAYER)), default=0)
