"""The built-in model, loaded: the engine's requirements, with real graphs."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from tests.support.models.small_template import SmallTemplate, write_weights
from tintype.service.errors import ModelBroken
from tintype.service.models.folder.reader import read_manifest
from tintype.service.models.loading_options import LoadingOptions
from tintype.service.models.model import Model, Prompt
from tintype.service.models.pipeline.denoiser import Denoiser
from tintype.service.models.pipeline.pipeline import DiffusionModel, load
from tintype.service.models.residency.catalogue import BUILTIN
from tintype.service.models.runtime.runtime import Runtime
from tintype.service.models.runtime.stop_flag import StopFlag
from tintype.service.models.templates.filling import fill_template

if TYPE_CHECKING:
    from pathlib import Path
    from typing import Any

    from tintype.service.models.model import Conditioning


@pytest.fixture(scope="module")
def rows(model: DiffusionModel) -> tuple[np.ndarray, np.ndarray, list[Conditioning]]:
    """Return three rows: latents, different timesteps, different prompts."""
    shape = model.spec.latent_shape(*model.spec.native_sizes[0])
    latents = np.random.default_rng(0).standard_normal((3, *shape), np.float32)
    return (
        latents,
        np.array([999, 500, 20], np.float32),
        model.encode([Prompt(""), Prompt("a red circle"), Prompt("a forest at night")]),
    )


def test_it_implements_the_protocol(model: DiffusionModel) -> None:
    """The loaded model implements `Model`; its spec has the provider and the graph's kind of timestep."""
    as_protocol: Model = model
    assert as_protocol.spec.provider == "cpu"
    assert as_protocol.spec == replace(read_manifest(BUILTIN).spec, provider="cpu", diffusion=model.spec.diffusion)


def test_conditionings_are_in_order(model: DiffusionModel) -> None:
    """There is one conditioning for each prompt; equal prompts share one."""
    a, b, c = model.encode([Prompt("a cat"), Prompt("a dog"), Prompt("a cat")])
    assert a is c
    assert not np.array_equal(a.prompt_embeds, b.prompt_embeds)
    assert a.prompt_embeds.shape[0] == model.spec.max_tokens
    assert a.prompt_embeds.dtype == np.float32


def test_rows_do_not_depend_on_their_batch(model: DiffusionModel, rows: Any) -> None:
    """A row in a batch with other timesteps and prompts gets the result that it gets alone."""
    latents, timesteps, conditionings = rows
    together = model.denoise(latents, timesteps, conditionings)
    alone = [model.denoise(latents[i : i + 1], timesteps[i : i + 1], conditionings[i : i + 1]) for i in range(3)]
    assert together.shape == latents.shape
    assert together.dtype == np.float32
    assert np.allclose(together, np.concatenate(alone), atol=2e-5)
    assert not np.allclose(together[0], together[1], atol=0.1)


def test_other_sizes_than_the_native_one(model: DiffusionModel, rows: Any) -> None:
    """Any multiple of the size multiple is supported, square or not."""
    step = model.spec.size_multiple
    shape = model.spec.latent_shape(5 * step, 3 * step)
    latents = np.random.default_rng(1).standard_normal((1, *shape), np.float32)
    out = model.denoise(latents, np.array([500], np.float32), rows[2][:1])
    assert out.shape == (1, *shape)
    assert model.decode(out).shape == (1, 3, 3 * step, 5 * step)
    assert model.preview(out[0]).shape == (3, *shape[1:])


def test_the_image_shows_the_prompt(generate: Any) -> None:
    """For a red shape on blue the middle is red and the border is blue, which requires all components to be correct."""
    _, pixels = generate("a red circle on a blue background", steps=8)
    height, width = pixels.shape[1:]
    middle = pixels[:, height // 2 - 8 : height // 2 + 8, width // 2 - 8 : width // 2 + 8].mean((1, 2))
    border = pixels[:, :8].mean((1, 2))
    assert middle[0] > middle[2] + 0.3
    assert border[2] > border[0] + 0.3


def test_an_image_is_encoded_and_decoded(model: DiffusionModel, generate: Any) -> None:
    """An image that is encoded and decoded again is nearly the same."""
    latents, pixels = generate("a red circle on a blue background", steps=8)
    again = model.decode(model.encode_pixels(pixels[None], np.zeros_like(latents)[None]))[0]
    assert np.abs(again - pixels).mean() < 0.05


@pytest.mark.parametrize("damage", ["no graph", "another's graph"])
def test_a_damaged_image_encoder_is_named_when_it_is_needed(folder: Path, damage: str) -> None:
    """Text to image works; the first image to start from fails with an error that names the file."""
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


def test_overwritten_weights_give_no_image(model: DiffusionModel, rows: Any, tmp_path: Path) -> None:
    """A file that is overwritten before or during a request fails it, instead of a wrong image."""
    weights = write_weights(tmp_path / "unet" / "m.safetensors")
    source = fill_template(SmallTemplate(), "unet", weights, LoadingOptions(cache=tmp_path / "cache"), adapters=False)
    changing = DiffusionModel(model.spec, model._stages, model._vae, StopFlag(), [source])
    changing.encode([Prompt("")])
    assert changing.decode(rows[0][:1]).shape[0] == 1
    os.utime(weights.files[0], ns=(1, 1))
    for call in (lambda: changing.decode(rows[0][:1]), lambda: changing.encode([Prompt("")])):
        with pytest.raises(ModelBroken, match=r"unet/m\.safetensors was overwritten after it was loaded"):
            call()


def test_progress_is_counted_in_bytes(folder: Path) -> None:
    """Loading reports the loaded share of the bytes after each graph, up to 1."""
    shares: list[float] = []
    manifest = read_manifest(folder)
    load(manifest, Runtime("cpu", 1), shares.append)
    weights = [manifest.graphs[name].weights_bytes for name in manifest.family.required_graphs]
    assert shares == pytest.approx(np.cumsum(weights) / sum(weights))


def test_the_preview_is_fitted_without_a_map(folder: Path, edit: Any) -> None:
    """Without a map in tintype.json, a preview is computed with a fitted one."""
    edit(folder / "tintype.json", lambda content: content.pop("preview"))
    model = load(read_manifest(folder), Runtime("cpu", 1), lambda _: None)
    latents = np.random.default_rng(0).standard_normal((model.spec.latent_channels, 4, 6), np.float32)
    pixels = model.preview(latents)
    assert pixels.shape == (3, 4, 6)
    assert 0 <= pixels.min() < pixels.max() <= 1


def test_a_scalar_timestep_contradicts_batched_timestep(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """tintype.json says that timesteps are batched, but the graph takes a scalar: the model is broken."""
    monkeypatch.setattr(Denoiser, "batched_timestep", property(lambda _: False))
    with pytest.raises(ModelBroken, match="the denoiser's graph takes one timestep for all rows"):
        load(read_manifest(folder), Runtime("cpu", 1), lambda _: None)


def test_a_graph_in_the_wrong_folder_is_named(folder: Path) -> None:
    """A decoder in the denoiser's folder is recognised by its inputs."""
    (folder / "unet/model.onnx").unlink()
    (folder / "unet/model.onnx").symlink_to(BUILTIN / "vae_decoder/model.onnx")
    with pytest.raises(ModelBroken, match="has the inputs latent_sample; this family requires sample,"):
        load(read_manifest(folder), Runtime("cpu", 1), lambda _: None)


def test_a_tokenizer_of_another_model_fails_the_load(folder: Path, edit: Any) -> None:
    """Prompts longer than the encoder's fail the load, not the first request."""
    edit(folder / "tintype.json", lambda content: content.update(max_tokens=99))
    with pytest.raises(ModelBroken, match=r"text_encoder/model\.onnx failed"):
        load(read_manifest(folder), Runtime("cpu", 1), lambda _: None)
