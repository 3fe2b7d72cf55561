"""Section 2: one call of each graph on the device gives what the CPU computes in float32."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from tintype.service.models.graph_source import OnnxFile
from tintype.service.models.residency.catalogue import BUILTIN
from tintype.service.models.runtime.runtime import Runtime

from .random_models import random_graph, random_inputs, read_ports
from .turns import apart
from .ways import GraphCall

if TYPE_CHECKING:
    from collections.abc import Callable

    from .context import Context

SIDE, QUICK_SIDE = 16, 4  # cells
LIMIT, HALF_LIMIT = 5e-3, 5e-2
"""Largest differences in float32 (CUDA multiplies in TF32, which has ten bits) and in float16."""
BUILTIN_GRAPHS = ("unet", "vae_decoder", "text_encoder")
QUICK, FULL = ("taesd-decoder",), ("taesd-decoder", "clip-l", "kl-decoder", "sd1-unet")


def run(context: Context) -> None:
    """Compare the built-in model's graphs, and templates with random float16 weights."""
    side = QUICK_SIDE if context.quick else SIDE
    for name in BUILTIN_GRAPHS[:1] if context.quick else BUILTIN_GRAPHS:
        _compare(context, f"built-in {name}", LIMIT, partial(_builtin, name, side))
    for name in QUICK if context.quick else FULL:
        _compare(context, f"random {name}, float16", HALF_LIMIT, partial(_random, context, name, side))


def _builtin(name: str, side: int) -> GraphCall:
    source = OnnxFile(BUILTIN / name / "model.onnx")
    output, ports = read_ports(source.path.read_bytes())
    return GraphCall(source, output, ports, random_inputs(ports, 1, side, tokens=32))


def _random(context: Context, name: str, side: int) -> GraphCall:
    return random_graph(context, name).call(1, side)


def _compare(context: Context, subject: str, limit: float, make: Callable[[], GraphCall]) -> None:
    if context.left() < 0:
        context.add(subject, context.provider, problem="not run: no time was left")
        return
    try:
        call = make()
        found = Runtime.choose((context.provider,)).open(call.source).run([call.output], call.feeds)[0]
        floats = {name: array.astype("float32") for name, array in call.feeds.items() if array.dtype == "float16"}
        cpu = Runtime.choose(("cpu",)).open(call.source).run([call.output], {**call.feeds, **floats})[0]
    except Exception as error:  # noqa: BLE001 - the others go on
        context.add(subject, context.provider, agrees=False, problem=" ".join(f"{error}".split())[:500])
        return
    difference = apart(found, cpu)
    verdict = {} if difference <= limit else {"problem": f"beyond the limit, {limit:.0e} of the largest value"}
    context.add(subject, context.provider, difference=difference, agrees=difference <= limit, **verdict)
