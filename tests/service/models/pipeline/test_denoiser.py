"""A call of the denoiser: the inputs that a graph requires, by name, and its output as latents."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import pytest

from tests.support.models.graphs import NONE, as_session
from tintype.service.models.family import DenoiserSpec
from tintype.service.models.files import ModelFileError
from tintype.service.models.folder.configs import PipelineConfig
from tintype.service.models.folder.reader import read_manifest
from tintype.service.models.model import Conditioning
from tintype.service.models.pipeline.denoiser import Denoiser
from tintype.service.models.residency.catalogue import BUILTIN

if TYPE_CHECKING:
    from collections.abc import Collection

SPEC = replace(read_manifest(BUILTIN).spec, latent_channels=1, downscale=16, latent_to_rgb=None)


class ScalarTimestep:
    """A denoiser's graph as optimum exports it: out = sample + timestep + embeds."""

    provider = "cpu"
    optional: ClassVar[dict[str, tuple[int, ...]]] = {}

    def __init__(self, rank: int, width: int | None = None) -> None:
        self.widths = {} if width is None else {"timestep": width}
        self.inputs = {"sample": (None, 4), "timestep": (None, rank), "encoder_hidden_states": (None, 3)}

    def require(self, *, inputs: tuple[str, ...], output: str, optional: Collection[str]) -> None:
        assert (set(inputs), output) == (set(self.inputs), "out_sample")
        assert "time_ids" in optional

    def run(self, _: str, **feeds: np.ndarray) -> np.ndarray:
        assert all(isinstance(array, np.ndarray) for array in feeds.values()), "onnxruntime refuses numpy's scalars"
        assert {name: array.ndim for name, array in feeds.items()} == {n: rank for n, (_, rank) in self.inputs.items()}
        assert feeds["timestep"].shape[:1] in ((), (self.widths.get("timestep", len(feeds["sample"])),))
        embeds = feeds["encoder_hidden_states"].sum((1, 2))
        return feeds["sample"] + (feeds["timestep"] + embeds).reshape(-1, 1, 1, 1)


@pytest.mark.parametrize("graph", [ScalarTimestep(0), ScalarTimestep(1, 1)], ids=["a scalar", "a list of one"])
def test_one_timestep_must_be_equal_for_all_rows(graph: ScalarTimestep) -> None:
    """A graph that takes one timestep rejects rows of different timesteps."""
    denoiser = Denoiser(as_session(graph), DenoiserSpec(), PipelineConfig(), SPEC, NONE)
    conditionings = [Conditioning(np.full((2, 2), i, np.float32)) for i in range(2)]
    latents = np.zeros((2, 1, 1, 1), np.float32)
    assert denoiser.batched_timestep is False
    assert denoiser(latents, np.array([3, 3], np.float32), conditionings).ravel().tolist() == [3, 7]
    with pytest.raises(ValueError, match="takes one timestep for all rows"):
        denoiser(latents, np.array([3, 4], np.float32), conditionings)
    batched = Denoiser(as_session(ScalarTimestep(1)), DenoiserSpec(), PipelineConfig(), SPEC, NONE)
    assert batched(latents, np.array([3, 4], np.float32), conditionings).ravel().tolist() == [3, 8]


@pytest.mark.parametrize(
    ("widths", "pooled", "problem"),
    [
        ({"encoder_hidden_states": 3}, True, ""),
        ({}, True, ""),
        (
            {"encoder_hidden_states": 2},
            True,
            "requires encoder_hidden_states of width 2, but the text encoders give 3",
        ),
        ({"text_embeds": 4}, True, "requires text_embeds of width 4, but the text encoders give 2"),
        ({"text_embeds": 2}, False, "requires text_embeds, which the text encoders of this family do not give"),
    ],
)
def test_encoders_of_another_model_are_rejected(widths: dict[str, int], problem: str, *, pooled: bool) -> None:
    """Loading compares the inputs of the graph with the output of the text encoders."""
    graph = RecordingGraph("sample", "text_embeds")
    graph.widths = widths
    denoiser = Denoiser(as_session(graph), DenoiserSpec(), PipelineConfig(), SPEC, NONE)
    conditioning = Conditioning(np.zeros((2, 3), np.float32), np.zeros(2, np.float32) if pooled else None)
    with pytest.raises(ModelFileError, match=rf"unet/model\.onnx {problem}") if problem else nullcontext():
        denoiser.check(conditioning)


class RecordingGraph:
    """A graph that records its inputs, and returns its latents with as many zero channels after them."""

    provider = "cpu"
    optional: ClassVar[dict[str, tuple[int, ...]]] = {}

    def __init__(self, latents: str, *names: str) -> None:
        self.latents = latents
        self.inputs = dict.fromkeys((latents, "timestep", "encoder_hidden_states", *names), (None, 1))
        self.label = "unet/model.onnx"
        self.widths: dict[str, int] = {}
        self.recorded: dict[str, np.ndarray] = {}

    def require(self, *, inputs: tuple[str, ...], output: str, optional: Collection[str]) -> None:
        pass

    def run(self, _: str, **feeds: np.ndarray) -> np.ndarray:
        self.recorded = feeds
        latents = feeds[self.latents]
        return np.concatenate([latents, np.zeros_like(latents)], axis=1) if latents.ndim == 4 else latents


def rows() -> list[Conditioning]:
    """Return a prompt and a negative prompt: embeds [3, 2], pooled [2], mask [3]."""
    return [
        Conditioning(np.full((3, 2), i, np.float32), np.full(2, i, np.float32), np.array([1, 1, 0]), 2, i == 1, 4.0 + i)
        for i in range(2)
    ]


def call(graph: RecordingGraph, spec: DenoiserSpec, config: PipelineConfig, channels: int = 1) -> np.ndarray:
    latents = np.arange(2 * channels * 4 * 6, dtype=np.float32).reshape(2, channels, 4, 6)
    denoiser = Denoiser(as_session(graph), spec, config, replace(SPEC, latent_channels=channels), NONE)
    out = denoiser(latents, np.array([900, 100], np.float32), rows())
    assert np.array_equal(out, latents), "the output must be latents without the further channels"
    return out


@pytest.mark.parametrize(("scored", "ends"), [(False, [[64, 96], [64, 96]]), (True, [[6.0], [2.5]])])
def test_sizes_are_in_pixels(scored: bool, ends: list[list[float]]) -> None:  # noqa: FBT001
    """SDXL gets height, width, the crop's corner and the size; its refiner an aesthetic score in place of the size."""
    graph = RecordingGraph("sample", "text_embeds", "time_ids")
    call(graph, DenoiserSpec(), PipelineConfig(aesthetic_scores=scored))
    assert graph.recorded["time_ids"].tolist() == [[64, 96, 0, 0, *end] for end in ends]
    assert graph.recorded["text_embeds"].tolist() == [[0, 0], [1, 1]]


def test_packed_latents_are_tokens_with_positions() -> None:
    """FLUX: two by two latents are one token with row and column; words have no position; time is 0 to 1."""
    graph = RecordingGraph("hidden_states", "pooled_projections", "guidance", "img_ids", "txt_ids")
    spec = DenoiserSpec(latents="hidden_states", patch=2, packed=True)
    call(graph, spec, PipelineConfig(timestep_scale=1e-3), channels=3)
    tokens, ids = graph.recorded["hidden_states"], graph.recorded["img_ids"]
    assert tokens.shape == (2, 6, 12)
    assert tokens[0, 4].tolist() == [14, 15, 20, 21, 38, 39, 44, 45, 62, 63, 68, 69]
    assert ids[4].tolist() == [0, 1, 1]
    assert graph.recorded["txt_ids"].tolist() == [[0, 0, 0]] * 3
    assert graph.recorded["guidance"].tolist() == [4, 5]
    assert np.allclose(graph.recorded["timestep"], [0.9, 0.1])


def test_masks_are_passed() -> None:
    """PixArt and Sana get the mask of the prompt's tokens."""
    graph = RecordingGraph("hidden_states", "encoder_attention_mask")
    call(graph, DenoiserSpec(latents="hidden_states"), PipelineConfig())
    assert graph.recorded["encoder_attention_mask"].tolist() == [[1, 1, 0]] * 2


def test_the_guidance_scale_is_embedded() -> None:
    """Latent consistency models get sines and cosines of 1000 (scale - 1)."""
    graph = RecordingGraph("sample", "timestep_cond")
    call(graph, DenoiserSpec(), PipelineConfig(guidance_width=8))
    angles = np.array([[3000.0], [4000.0]]) * 10000.0 ** (-np.arange(4) / 3)
    assert np.allclose(graph.recorded["timestep_cond"], np.hstack([np.sin(angles), np.cos(angles)]), atol=2e-4)


def test_unknown_inputs_are_rejected() -> None:
    """A graph with an input that is not in the table cannot be served."""

    class Graph(RecordingGraph):
        def require(self, *, inputs: tuple[str, ...], output: str, optional: Collection[str]) -> None:
            assert output == "out_sample"
            if not set(self.inputs) <= {*inputs, *optional}:
                raise ModelFileError("has other inputs")

    with pytest.raises(ModelFileError, match="other inputs"):
        Denoiser(as_session(Graph("sample", "controlnet_cond")), DenoiserSpec(), PipelineConfig(), SPEC, NONE)


def test_references_are_tokens_behind_those_of_the_image() -> None:
    """Each in its own size, numbered in the position ids; the output is that of the image."""
    graph = RecordingGraph("hidden_states", "img_ids", "txt_ids")
    spec = DenoiserSpec(latents="hidden_states", patch=2, packed=True)
    first, second = np.full((3, 2, 4), -1, np.float32), np.full((3, 4, 2), -2, np.float32)
    edited = [replace(row, references=(first, second + i)) for i, row in enumerate(rows())]
    denoiser = Denoiser(as_session(graph), spec, PipelineConfig(), replace(SPEC, latent_channels=3), NONE)
    latents = np.arange(2 * 3 * 4 * 6, dtype=np.float32).reshape(2, 3, 4, 6)
    assert np.array_equal(denoiser(latents, np.array([900, 100], np.float32), edited), latents)
    tokens, ids = graph.recorded["hidden_states"], graph.recorded["img_ids"]
    assert tokens.shape == (2, 6 + 2 + 2, 12)
    assert tokens[:, 6:, 0].tolist() == [[-1, -1, -2, -2], [-1, -1, -1, -1]]
    assert ids[5:].tolist() == [[0, 1, 2], [1, 0, 0], [1, 0, 1], [2, 0, 0], [2, 1, 0]]
    assert graph.recorded["txt_ids"].tolist() == [[0, 0, 0]] * 3


def test_pixart_alpha_gets_the_size_in_pixels() -> None:
    """Height and width, and their ratio."""
    graph = RecordingGraph("hidden_states", "resolution", "aspect_ratio")
    call(graph, DenoiserSpec(latents="hidden_states"), PipelineConfig())
    assert graph.recorded["resolution"].tolist() == [[64, 96]] * 2
    assert np.allclose(graph.recorded["aspect_ratio"], [[2 / 3]] * 2)
