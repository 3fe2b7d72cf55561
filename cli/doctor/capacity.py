"""Which sizes of graphics cards a model fits, with all components in memory or in turns, at each precision.

The weights are those that the graphs hold on a GPU. `ACTIVATIONS` is a reserve for intermediate results: a VAE that
finds no memory for a whole image decodes in tiles, so the reserve is for a denoiser call and a tile.
"""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING

from tintype.service.models.templates.archive import Variant
from tintype.service.models.templates.filled_template import BITS
from tintype.service.models.templates.layout import WeightUses, external_weights
from tintype.service.models.templates.onnx_pb2 import ModelProto
from tintype.service.models.weights.quantizing import Quantizer, quantized_bytes, reason_to_keep

from ..settings.values import format_size
from .findings import Finding

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tintype.service.models.loading_options import Precision
    from tintype.service.models.templates.catalogue import Template

GIB = 2**30
CARDS = (4, 6, 8, 12, 16, 24, 32, 48, 80)  # GiB
ACTIVATIONS = 3 * GIB // 2


def fitting(sizes: Sequence[int], card: int) -> str:
    """Return how components of `sizes` bytes fit a card of `card` GiB: "whole", "in turns", or not at all ("")."""
    free = card * GIB - ACTIVATIONS
    if sum(sizes) <= free:
        return "whole"
    return "in turns" if max(sizes, default=0) <= free else ""


def smallest(sizes: Sequence[int]) -> dict[str, int]:
    """Return the GiB of the smallest card that holds all components, and of the one that holds them in turns."""
    whole = next((card for card in CARDS if fitting(sizes, card) == "whole"), 0)
    return {"whole": whole, "in turns": next((card for card in CARDS if fitting(sizes, card)), 0)}


def card_finding(sizes: Mapping[str, int]) -> Finding:
    """Return the smallest cards for a model whose components have these bytes on a GPU."""
    cards, largest = smallest(list(sizes.values())), max(sizes, key=lambda name: sizes[name], default="")
    texts = [f"{size} GiB {way}" for way, size in cards.items() if size and size != cards["whole"] * (way != "whole")]
    note = f"; the largest component is {largest}, {format_size(sizes[largest])}" if largest else ""
    return Finding("smallest card", cards, (" or ".join(texts) or f"more than {CARDS[-1]} GiB") + note)


def template_bytes(template: Template, precision: Precision) -> int:
    """Return the bytes of a published component's weights on a GPU, whose template has no weights.

    Weights are in half precision if the template computes in it; int8 and int4 quantize the linear layers.
    """
    model = ModelProto.FromString(template.read(Variant(half=True)))
    weights = external_weights(model.graph)
    number = 2 if Variant(half=True) in {each.variant for each in template.variants} else 4
    shapes = {name: tuple(tensor.dims) for name, tensor in weights.items()}
    bits, uses = BITS.get(precision), WeightUses(model, shapes)
    total = 0
    for name, shape in shapes.items():
        if bits and not reason_to_keep(name, shape, uses.operators(name)):
            total += quantized_bytes(shape, bits, Quantizer(bits).block, number)
        else:
            total += number * prod(shape)
    return total
