"""The built-in model, loaded: what the engine relies on, with real graphs."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from tintype.service.errors import ModelBroken
from tintype.service.models.folder.reader import read_manifest
from tintype.service.models.model import Model, Prompt
from tintype.service.models.pipeline.denoiser import Denoiser
from tintype.service.models.pipeline.pipeline import DiffusionModel, load
from tintype.service.models.residency.catalogue import BUILTIN
from tintype.service.models.runtime.runtime import Runtime

if TYPE_CHECKING:
    from pathlib import Path
    from typing import Any

    from tintype.service.models.model import Conditioning


@pytest.fixture(scope="module")
def rows(model: DiffusionModel) -> tuple[np.ndarray, np.ndarray, list[Conditioning]]:
    """Return three rows: latents, timesteps that differ, prompts that differ."""
    shape = model.spec.latent_shape(*model.spec.native_sizes[0])
    latents = np.random.default_rng(0).standard_normal((3, *shape), np.float32)
    return (
        latents,
        np.array([999, 500, 20], np.float32),
        model.encode([Prompt(""), Prompt("a red circle"), Prompt("a forest at night")]),
    )


def test_it_is_a_model(model: DiffusionModel) -> None:
    """The engine's protocol is what the real model has; its spec tells the provider and what the graph takes."""
    as_protocol: Model = model
    assert as_protocol.spec.provider == "cpu"
    assert as_protocol.spec == replace(read_manifest(BUILTIN).spec, provider="cpu", diffusion=model.spec.diffusion)


def test_prompts_come_back_in_order_and_once(model: DiffusionModel) -> None:
    """One conditioning for each prompt; the same prompt is the same conditioning."""
    a, b, c = model.encode([Prompt("a cat"), Prompt("a dog"), Prompt("a cat")])
    assert a is c
    assert not np.array_equal(a.prompt_embeds, b.prompt_embeds)
    assert a.prompt_embeds.shape[0] == model.spec.max_tokens
    assert a.prompt_embeds.dtype == np.float32


def test_rows_do_not_depend_on_their_company(model: DiffusionModel, rows: Any) -> None:
    """A row in a batch of rows at other timesteps with other prompts gets what it gets alone."""
    latents, timesteps, conditionings = rows
    together = model.denoise(latents, timesteps, conditionings)
    alone = [model.denoise(latents[i : i + 1], timesteps[i : i + 1], conditionings[i : i + 1]) for i in range(3)]
    assert together.shape == latents.shape
    assert together.dtype == np.float32
    assert np.allclose(together, np.concatenate(alone), atol=2e-5)
    assert not np.allclose(together[0], together[1], atol=0.1)


def test_other_sizes_than_the_native_work(model: DiffusionModel, rows: Any) -> None:
    """A picture need not be square: any multiple of the size multiple is made."""
    step = model.spec.size_multiple
    shape = model.spec.latent_shape(5 * step, 3 * step)
    latents = np.random.default_rng(1).standard_normal((1, *shape), np.float32)
    out = model.denoise(latents, np.array([500], np.float32), rows[2][:1])
    assert out.shape == (1, *shape)
    assert model.decode(out).shape == (1, 3, 3 * step, 5 * step)
    assert model.preview(out[0]).shape == (3, *shape[1:])


def test_a_picture_shows_what_the_prompt_says(draw: Any) -> None:
    """A red shape on blue: the middle is red, the border is blue. The whole line of parts has to be right for that."""
    _, pixels = draw("a red circle on a blue background", steps=8)
    height, width = pixels.shape[1:]
    middle = pixels[:, height // 2 - 8 : height // 2 + 8, width // 2 - 8 : width // 2 + 8].mean((1, 2))
    border = pixels[:, :8].mean((1, 2))
    assert middle[0] > middle[2] + 0.3
    assert border[2] > border[0] + 0.3


def test_pixels_survive_the_way_to_latents_and_back(model: DiffusionModel, draw: Any) -> None:
    """Encoded and decoded again, a picture is nearly the same."""
    latents, pixels = draw("a red circle on a blue background", steps=8)
    again = model.decode(model.encode_pixels(pixels[None], np.zeros_like(latents)[None]))[0]
    assert np.abs(again - pixels).mean() < 0.05


@pytest.mark.parametrize("damage", ["no graph", "another's graph"])
def test_an_encoder_that_is_damaged_is_told_when_it_is_needed(folder: Path, damage: str) -> None:
    """Text to image works; the first picture to start from finds the fault, and names the file."""
    graph = folder / "vae_encoder" / "model.onnx"
    graph.unlink()
    if damage == "no graph":
        graph.write_bytes(b"not a graph")
    else:
        graph.symlink_to(BUILTIN / "vae_decoder" / "model.onnx")
    model = load(replace(read_manifest(folder), files={}), Runtime("cpu", 1), lambda _: None)
    shape = model.spec.latent_shape(*model.spec.native_sizes[0])
    with pytest.raises(ModelBroken, match=r"vae_encoder/model\.onnx"):
        model.encode_pixels(np.zeros((1, 3, 256, 256), np.float32), np.zeros((1, *shape), np.float32))


def test_progress_is_told_by_bytes(folder: Path) -> None:
    """Loading tells the done share of the bytes after each graph, and ends at 1."""
    shares: list[float] = []
    manifest = read_manifest(folder)
    load(manifest, Runtime("cpu", 1), shares.append)
    weights = [manifest.component_bytes(name) for name in manifest.family.required_graphs]
    assert shares == pytest.approx(np.cumsum(weights) / sum(weights))


def test_the_preview_is_fitted_where_the_manifest_has_none(folder: Path, edit: Any) -> None:
    """Without a map in the manifest there is a preview all the same."""
    edit(folder / "tintype.json", lambda content: content.pop("preview"))
    model = load(read_manifest(folder), Runtime("cpu", 1), lambda _: None)
    latents = np.random.default_rng(0).standard_normal((model.spec.latent_channels, 4, 6), np.float32)
    pixels = model.preview(latents)
    assert pixels.shape == (3, 4, 6)
    assert 0 <= pixels.min() < pixels.max() <= 1


def test_a_manifest_that_promises_more_than_its_graph_is_broken(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Batched timesteps in the manifest, a scalar in the graph: the folder is told to be wrong."""
    monkeypatch.setattr(Denoiser, "batched_timestep", property(lambda _: False))
    with pytest.raises(ModelBroken, match="the denoiser's graph takes one timestep for all rows"):
        load(read_manifest(folder), Runtime("cpu", 1), lambda _: None)


def test_a_graph_in_the_wrong_folder_is_named(folder: Path) -> None:
    """The decoder in the denoiser's place is found by its inputs."""
    (folder / "unet/model.onnx").unlink()
    (folder / "unet/model.onnx").symlink_to(BUILTIN / "vae_decoder/model.onnx")
    with pytest.raises(ModelBroken, match="has the inputs latent_sample; this family requires sample,"):
        load(read_manifest(folder), Runtime("cpu", 1), lambda _: None)


def test_a_tokenizer_of_another_model_shows_when_loading(folder: Path, edit: Any) -> None:
    """Prompts longer than the encoder takes fail the load, not the first request."""
    edit(folder / "tintype.json", lambda content: content.update(max_tokens=99))
    with pytest.raises(ModelBroken, match=r"text_encoder/model\.onnx failed"):
        load(read_manifest(folder), Runtime("cpu", 1), lambda _: None)
