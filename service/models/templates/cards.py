"""What a model from published weights says of itself: its precision, and what quantization changed."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from ..loading_options import Precision
from ..weights.number_formats import itemsize
from .filled_template import FilledTemplate

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from ..graph_source import GraphSource

NAMES = {"F32": "fp32", "F16": "fp16", "BF16": "bf16", "F8_E4M3": "fp8", "F8_E5M2": "fp8"}


def stored_types(source: FilledTemplate) -> dict[str, int]:
    """Return the bytes that a component reads of its files, by number format, the largest first."""
    sizes: Counter[str] = Counter()
    for link in source.links:
        stored = source.tensors.tensors[link.pieces[0].name].dtype
        sizes[stored] += link.size * itemsize(stored)
    return dict(sizes.most_common())


def precision_of(source: GraphSource) -> str:
    """Return the precision of a component's weights: the chosen one, or as they are stored; "" for an ONNX file."""
    if not isinstance(source, FilledTemplate):
        return ""
    if source.options.precision is not Precision.AUTO:
        return source.options.precision.value
    largest = next(iter(stored_types(source)), "")
    return NAMES.get(largest, largest.lower())


def describe_quantization(card: Mapping[str, Any] | None) -> str:
    """Return what quantization did to one component, from the card of its converted weights; "" without one."""
    found = (card or {}).get("quantization")
    if not found:
        return ""
    layers = f"{len(found['quantized'])} layers in {found['bits']} bits, {len(found['kept'])} kept"
    sizes = f"{found['bytes_after'] / 1e9:.2f} GB instead of {found['bytes_before'] / 1e9:.2f}"
    error = f"error {found['mean_error']:.2g}, at most {found['worst_error']:.2g} ({found['worst_layer']})"
    return f"{layers}, {sizes}, {error}"


def describe_all(sources: Iterable[GraphSource], provider: str) -> str:
    """Return what quantization did to each component that has been loaded; "" if none was quantized."""
    filled = (source for source in sources if isinstance(source, FilledTemplate))
    found = {source.component: describe_quantization(source.card(provider)) for source in filled}
    return "; ".join(f"{component}: {text}" for component, text in found.items() if text)
