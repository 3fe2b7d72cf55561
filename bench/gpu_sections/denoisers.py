"""Section 5: UNets of published size with random float16 weights, in tintype's ways and torch's, in turns."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from . import torch_ways
from .random_models import random_graph
from .turns import Turns
from .ways import ways

if TYPE_CHECKING:
    from .context import Context

GIB = 2**30
SESSION = 1.5  # memory of a session, in bytes of its weights: weights and intermediate results


class Size(NamedTuple):
    """Rows of a call and the side of its latents, in cells."""

    rows: int
    side: int


SIZES = {"sdxl-unet": Size(2, 128), "sd1-unet": Size(2, 64)}
"""One image with guidance at the model's own size."""
OTHER, TINY = Size(2, 64), Size(2, 2)


def run(context: Context) -> None:
    """Measure an architecture if it fits into the free memory."""
    try:
        _measure(context, context.architecture)
    except Exception as error:  # noqa: BLE001 - such as too little space on disk
        context.add(context.architecture, problem=" ".join(f"{type(error).__name__}: {error}".split())[:500])


def _measure(context: Context, name: str) -> None:
    graph = random_graph(context, name)
    session = SESSION * graph.source.bytes_on(context.provider)
    rows, side = TINY if context.quick else SIZES.get(name, OTHER)
    if session > context.free:
        needed = f"{session / GIB:.1f} GiB, but {context.free / GIB:.1f} GiB are free"
        context.add(name, problem=f"not run: a session needs about {needed}")
        return
    call = graph.call(rows, side)
    subject = f"{name}, {side}x{side} cells, rows {rows}"
    reason = "not run: without torch" if not context.torch else torch_ways.missing(graph.template.kind)
    if reason:
        context.add(subject, "torch", problem=reason)
    own = ways(context.provider, call)
    others = [] if reason else torch_ways.ways(graph, tiny=context.quick)
    # Quick ways first: eager torch before the sessions with fixed axes, then what compiles.
    order = [*own[:-1], *others[:1], *own[-1:], *others[1:]]
    together = (len(own) + bool(others)) * session < context.free
    Turns(context, subject, call.feeds, together=together).compare(order)
