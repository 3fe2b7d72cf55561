"""Which component a module becomes, by its class: one row each. A module is one graph, an autoencoder two."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..errors import Refused
from . import autoencoders, denoisers, text_encoders

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..families import Family
    from .component import Component

KINDS: dict[str, Callable[[Any, str], Component | tuple[Component, Component]]] = {
    "CLIPTextModel": text_encoders.clip,
    "CLIPTextModelWithProjection": text_encoders.clip,
    "T5EncoderModel": text_encoders.t5,
    "T5EncoderModel with a mask": text_encoders.masked_t5,
    "Gemma2Model": text_encoders.gemma,
    "UNet2DConditionModel": denoisers.unet,
    "SD3Transformer2DModel": denoisers.sd3,
    "FluxTransformer2DModel": denoisers.flux,
    "PixArtTransformer2DModel": denoisers.pixart,
    "SanaTransformer2DModel": denoisers.sana,
    "AutoencoderKL": autoencoders.kl,
    "AutoencoderDC": autoencoders.dc,
}


def components(pipeline: Any, family: Family, part: str) -> tuple[Component, ...]:
    """Return the graphs to write of a part of a diffusers `pipeline`.

    Raises Refused where the part is of a class that can't be exported.
    """
    kind = type(getattr(pipeline, part)).__name__
    kind = family.classes.get(kind, kind)
    if kind not in KINDS:
        raise Refused(f"{part} is a {kind}; those that can be exported: {', '.join(KINDS)}")
    made = KINDS[kind](pipeline, part)
    return made if isinstance(made, tuple) else (made,)
