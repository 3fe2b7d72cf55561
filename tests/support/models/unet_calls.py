"""Calls of the built-in denoiser, and how far two graphs' results are apart."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from tintype.service.models.graph_source import OnnxFile
from tintype.service.models.residency.catalogue import BUILTIN

if TYPE_CHECKING:
    from tintype.service.models.runtime.graph import Values

OUT = ["out_sample"]
UNET = OnnxFile(BUILTIN / "unet/model.onnx")


def prompt_embeds(rows: int, seed: int) -> Values:
    """Return random embeddings, read-only as in the engine."""
    embeds = np.random.default_rng(seed).standard_normal((rows, 32, 128), np.float32)
    embeds.setflags(write=False)
    return embeds


def unet_feeds(rows: int = 1, seed: int = 0, side: int = 4) -> dict[str, Any]:
    """Return inputs of the built-in denoiser."""
    return {
        "sample": np.random.default_rng(seed).standard_normal((rows, 16, side, side), np.float32),
        "timestep": np.linspace(100, 900, rows, dtype=np.float32),
        "encoder_hidden_states": prompt_embeds(rows, seed),
    }


def largest_difference(one: Any, other: Any, feeds: dict[str, Any]) -> float:
    """Return the largest difference of two graphs' results, relative to the largest value."""
    first, second = (np.asarray(graph.run(OUT, feeds)[0]) for graph in (one, other))
    return float(np.abs(first - second).max() / np.abs(second).max())
