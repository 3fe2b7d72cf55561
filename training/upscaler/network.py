"""The network of the upscaler, and its ONNX graph.

A linear branch interpolates: it starts as Lanczos' filter. A chain of 3 by 3 convolutions at the small size adds what
interpolation cannot know: sharp edges, and the absence of noise. All convolutions work at the small size; each gives
four values per channel, one for each pixel of a 2 by 2 block.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional

from ..model.graphs import GraphExport, export_graph

if TYPE_CHECKING:
    from pathlib import Path

WIDTH = 32
BLOCKS = 4
FACTOR = 2
# The side of the linear filter, and Lanczos' parameter.
TAPS = 7
LOBES = 3
AXES = {0: "batch_size", 2: "height", 3: "width"}
# How many pixels around a pixel change it: 1 for each 3 by 3 convolution.
REACH = 2 * BLOCKS + 2


class Upscaler(nn.Module):
    """RGB in 0..1 [n, 3, h, w] -> RGB [n, 3, 2h, 2w], not limited to 0..1."""

    def __init__(self, width: int = WIDTH, blocks: int = BLOCKS) -> None:
        super().__init__()
        self.conv_in = nn.Conv2d(3, width, 3, padding=1)
        self.blocks = nn.ModuleList(
            nn.ModuleList(nn.Conv2d(width, width, 3, padding=1) for _ in range(2)) for _ in range(blocks)
        )
        self.conv_out = nn.Conv2d(width, 3 * FACTOR**2, 3, padding=1)
        self.linear = nn.Conv2d(3, 3 * FACTOR**2, TAPS, padding=TAPS // 2, bias=False)
        nn.init.zeros_(self.conv_out.weight)
        nn.init.zeros_(self.conv_out.bias)  # type: ignore[arg-type]
        with torch.no_grad():
            self.linear.weight.copy_(_lanczos_weight())

    def forward(self, small: Tensor) -> Tensor:
        """Return the enlarged images."""
        hidden = functional.relu(self.conv_in(small))
        for first, second in self.blocks:  # type: ignore[misc]
            hidden = hidden + second(functional.relu(first(hidden)))
        return functional.pixel_shuffle(self.linear(small) + self.conv_out(hidden), FACTOR)


def _lanczos_weight() -> Tensor:
    """Return Lanczos' filter as a convolution: [12, 3, 7, 7], each colour from itself alone."""
    rows = []
    for phase in range(FACTOR):
        middle = (phase + 0.5) / FACTOR - 0.5
        row = [_lanczos(tap - TAPS // 2 - middle) for tap in range(TAPS)]
        rows.append([value / sum(row) for value in row])
    taps = torch.tensor(rows)
    weight = torch.zeros(3, FACTOR, FACTOR, 3, TAPS, TAPS)
    for color in range(3):
        weight[color, :, :, color] = torch.einsum("ai,bj->abij", taps, taps)
    return weight.reshape(3 * FACTOR**2, 3, TAPS, TAPS)


def _lanczos(x: float) -> float:
    if abs(x) >= LOBES:
        return 0.0
    if x == 0:
        return 1.0
    return LOBES * math.sin(math.pi * x) * math.sin(math.pi * x / LOBES) / (math.pi * x) ** 2


def write_graph(network: Upscaler, path: Path) -> None:
    """Write the network as an ONNX file, with float16 weights: image [n, 3, h, w] -> enlarged [n, 3, 2h, 2w]."""
    example = {"image": torch.rand(1, 3, 32, 32)}
    graph = GraphExport(network, example, ["enlarged"], {"image": AXES, "enlarged": AXES})
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(export_graph(graph).SerializeToString())
