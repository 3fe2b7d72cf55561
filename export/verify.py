"""Is what was exported what the source was? Each component, and one whole picture, against torch and diffusers.

Components are compared on random inputs at two sizes, one of them not square, with rows at different timesteps.
The picture is drawn twice from one prompt and seed: by the service's own engine, and by diffusers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from tintype.service.job import Job

from .graphs import GRAPH
from .picture import Studio, by_diffusers
from .quiet import quiet
from .sessions import Graph

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

# The largest difference that a component may have, relative to the largest value that it gives.
COMPONENT_LIMIT = 1e-3
# Levels of 255 by which any value of the picture may differ.
PICTURE_LIMIT = 2.0
# In cells of the latents: height, width.
SIZES = ((16, 16), (16, 24))
ROWS = 3
PROMPT = "A serene mountain lake at sunset"
STEPS = 4
GUIDANCE_SCALE = 5.0


@dataclass(frozen=True, slots=True)
class Check:
    """What was compared, how large the difference was, how large it may be, and in which unit."""

    name: str
    difference: float
    limit: float
    unit: str

    @property
    def passed(self) -> bool:
        """A difference that is not a number is none that may be."""
        return bool(self.difference <= self.limit)

    def __str__(self) -> str:
        return f"{self.name}: {self.difference:.2g} {self.unit} (at most {self.limit:g})"


def check_components(pipeline: Any, folder: Path, *, seed: int = 0) -> Iterator[Check]:
    """Compare each graph in `folder` with its module, on random inputs; the largest of both sizes counts."""
    random = np.random.default_rng(seed)
    for part, compare in COMPARISONS.items():
        graph = Graph(folder / part / GRAPH)
        with quiet(), torch.no_grad():
            differences = [compare(pipeline, graph, random, size) for size in SIZES]
        yield Check(part, float(np.max(differences)), COMPONENT_LIMIT, "of the largest value")


def check_picture(pipeline: Any, folder: Path) -> Check:
    """Draw one picture with the service's engine and with diffusers, and compare all of their values."""
    job = Job(prompt=PROMPT, steps=STEPS, seed=0, guidance_scale=GUIDANCE_SCALE)
    with Studio([folder]) as studio:
        ours = studio.draw(job)
    theirs = by_diffusers(pipeline, job)
    return Check("picture", float(np.abs(ours - theirs).max() * 255), PICTURE_LIMIT, "levels of 255")


def _text_encoder(pipeline: Any, graph: Graph, random: np.random.Generator, size: tuple[int, int]) -> float:
    ids = random.integers(0, pipeline.text_encoder.config.vocab_size, (len(size), pipeline.tokenizer.model_max_length))
    theirs = pipeline.text_encoder(torch.from_numpy(ids))
    ours = graph(input_ids=ids)
    return _apart(ours["last_hidden_state"], theirs.last_hidden_state)


def _unet(pipeline: Any, graph: Graph, random: np.random.Generator, size: tuple[int, int]) -> float:
    config, tokens = pipeline.unet.config, pipeline.tokenizer.model_max_length
    inputs = {
        "sample": _normal(random, ROWS, config.in_channels, *size),
        "timestep": np.linspace(999, 1, ROWS, dtype=np.float32),
        "encoder_hidden_states": _normal(random, ROWS, tokens, config.cross_attention_dim),
    }
    theirs = pipeline.unet(**{name: torch.from_numpy(value) for name, value in inputs.items()})
    return _apart(graph(**inputs)["out_sample"], theirs.sample)


def _vae_decoder(pipeline: Any, graph: Graph, random: np.random.Generator, size: tuple[int, int]) -> float:
    latents = _normal(random, 1, pipeline.vae.config.latent_channels, *size)
    return _apart(graph(latent_sample=latents)["sample"], pipeline.vae.decode(torch.from_numpy(latents)).sample)


def _vae_encoder(pipeline: Any, graph: Graph, random: np.random.Generator, size: tuple[int, int]) -> float:
    downscale = 2 ** (len(pipeline.vae.config.block_out_channels) - 1)
    pixels = np.tanh(_normal(random, 1, 3, size[0] * downscale, size[1] * downscale))
    theirs = pipeline.vae.encode(torch.from_numpy(pixels)).latent_dist.parameters
    return _apart(graph(sample=pixels)["latent_parameters"], theirs)


COMPARISONS = {
    "text_encoder": _text_encoder,
    "unet": _unet,
    "vae_encoder": _vae_encoder,
    "vae_decoder": _vae_decoder,
}


def _normal(random: np.random.Generator, *shape: int) -> Any:
    return random.standard_normal(shape, dtype=np.float32)


def _apart(ours: Any, theirs: torch.Tensor) -> float:
    """Return the largest difference, relative to the largest value; infinite where shapes differ."""
    expected = theirs.numpy()
    if ours.shape != expected.shape:
        return float("inf")
    return float(np.abs(ours - expected).max() / np.abs(expected).max())
