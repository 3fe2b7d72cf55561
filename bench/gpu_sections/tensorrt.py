"""Section 7: TensorRT's engines, which take minutes to build: the built-in denoiser, then a random UNet."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from tintype.service.models.runtime.provider_options import DEVICES
from tintype.service.models.runtime.providers import run_probe

from .random_models import random_graph
from .recording import DenoiserInputs
from .turns import Turns, Way
from .ways import bound, tensorrt

if TYPE_CHECKING:
    from .context import Context
    from .ways import GraphCall

BUILDING = 120.0  # seconds that are needed at least for an engine of a published UNet


def run(context: Context) -> None:
    """Compare engines with calls on CUDA."""
    if DEVICES.get(context.provider) != "cuda":
        context.add("TensorRT", problem=f"not run: with {context.provider} there is no TensorRT")
        return
    if problem := run_probe("tensorrt").problem:
        context.add("TensorRT", problem=f"not run: {problem}")
        return
    folder = context.models[0]
    with DenoiserInputs(context.provider, folder) as inputs:
        call = inputs.of_call(2, context.size)
    _measure(context, f"{folder.name}, {context.size}x{context.size}, rows 2", call, 10)
    if not context.quick:
        _measure(context, "sd1-unet, 64x64 cells, rows 2", random_graph(context, "sd1-unet").call(2, 64), BUILDING)


def _measure(context: Context, subject: str, call: GraphCall, seconds: float) -> None:
    ways = [
        Way("bound", partial(bound, context.provider, call.source, call.output, "cuda")),
        Way("tensorrt", partial(tensorrt, call, context.work / "engines"), seconds),
    ]
    Turns(context, subject, call.feeds).compare(ways)
