"""A folder exported by plain optimum, compared with its torch pipeline.

The pipeline is tiny and has random weights; the tokenizer is that of the built-in model.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pytest

from tests.support.peers.environment import export_with_optimum
from tintype.service.models import Prompt, Repository
from tintype.service.models.residency.catalogue import BUILTIN

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tintype.service.models.pipeline.pipeline import DiffusionModel

torch = pytest.importorskip("torch")
diffusers = pytest.importorskip("diffusers")
transformers = pytest.importorskip("transformers")

pytestmark = [pytest.mark.torch, pytest.mark.filterwarnings("default")]


def make_pipeline() -> Any:
    """Return a Stable Diffusion of 0.6 M parameters: 4 latent channels, factor 8, 64x64 pixels."""
    torch.manual_seed(0)
    tokenizer = transformers.CLIPTokenizer.from_pretrained(BUILTIN / "tokenizer")
    text = transformers.CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=tokenizer.model_max_length,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    unet = diffusers.UNet2DConditionModel(
        sample_size=8,
        block_out_channels=(32, 32),
        layers_per_block=1,
        norm_num_groups=8,
        cross_attention_dim=32,
        attention_head_dim=8,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
    )
    vae = diffusers.AutoencoderKL(
        block_out_channels=(8, 8, 16, 16),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        latent_channels=4,
        norm_num_groups=4,
        sample_size=64,
    )
    return diffusers.StableDiffusionPipeline(
        vae=vae,
        text_encoder=transformers.CLIPTextModel(text),
        tokenizer=tokenizer,
        unet=unet,
        scheduler=diffusers.DDIMScheduler(clip_sample=False, beta_schedule="scaled_linear", steps_offset=1),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


@pytest.fixture(scope="module")
def pipeline() -> Any:
    return make_pipeline()


@pytest.fixture(scope="module")
def exported(pipeline: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from tintype.export.tiny.pipelines import write_as_published  # noqa: PLC0415 - imports torch

    source, target = tmp_path_factory.mktemp("torch") / "tiny", tmp_path_factory.mktemp("onnx") / "tiny"
    pipeline.save_pretrained(source)
    write_as_published(pipeline, source)
    export_with_optimum([(source, target, "text-to-image")])
    return target


@pytest.fixture(scope="module")
def foreign_model(exported: Path) -> Iterator[DiffusionModel]:
    with Repository([exported]) as repository:
        yield cast("DiffusionModel", repository.wait(timeout=60))


@pytest.fixture(scope="module")
def latents() -> np.ndarray:
    return np.random.default_rng(0).standard_normal((2, 4, 8, 8), np.float32)


def torch_of(*arrays: np.ndarray) -> list[Any]:
    return [torch.from_numpy(np.array(array)) for array in arrays]


def test_spec_is_read_without_tintype_json(foreign_model: DiffusionModel) -> None:
    """Without tintype.json, sizes and defaults are those of the pipeline."""
    spec = foreign_model.spec
    assert (spec.name, spec.family, spec.native_sizes) == ("tiny", "sd", ((64, 64),))
    assert (spec.latent_channels, spec.downscale, spec.size_multiple) == (4, 8, 16)
    assert (spec.max_tokens, spec.batched_timestep) == (32, False)
    assert (spec.defaults.sampler, spec.defaults.steps, spec.defaults.guidance_scale) == ("ddim", 50, 7.5)


@pytest.mark.parametrize("prompt", ["a red circle on a blue background", "", "a very long prompt " * 20])
def test_prompt_embeds_are_those_of_the_pipeline(pipeline: Any, foreign_model: DiffusionModel, prompt: str) -> None:
    """Embeddings equal those of diffusers; the first chunk of a long prompt ends where diffusers cuts it."""
    (conditioning,) = foreign_model.encode([Prompt(prompt)])
    embeds = pipeline.encode_prompt(prompt, "cpu", 1, do_classifier_free_guidance=False)[0][0].detach().numpy()
    assert np.abs(conditioning.prompt_embeds[: len(embeds)] - embeds).max() < 1e-5


def test_denoiser_equals_the_torch_module(pipeline: Any, foreign_model: DiffusionModel, latents: np.ndarray) -> None:
    """One call on two rows with a fractional timestep equals the torch module's."""
    conditionings = foreign_model.encode([Prompt("a cat"), Prompt("a dog")])
    out = foreign_model.denoise(latents, np.array([421.5, 421.5], np.float32), conditionings)
    x, embeds = torch_of(latents, np.stack([c.prompt_embeds for c in conditionings]))
    assert np.abs(out - pipeline.unet(x, 421.5, embeds).sample.detach().numpy()).max() < 1e-5


def test_pixels_equal_the_pipelines(pipeline: Any, foreign_model: DiffusionModel, latents: np.ndarray) -> None:
    """Decoding equals that of diffusers, with scaling and postprocessing."""
    (x,) = torch_of(latents)
    image = pipeline.vae.decode(x / pipeline.vae.config.scaling_factor).sample
    expected = pipeline.image_processor.postprocess(image.detach(), output_type="pt").numpy()
    assert np.abs(foreign_model.decode(latents) - expected).max() < 1e-5


def test_latents_of_an_image_equal_the_pipelines(pipeline: Any, foreign_model: DiffusionModel) -> None:
    """Encoding equals diffusers' posterior: its mean, and its deviation times the noise."""
    random = np.random.default_rng(0)
    pixels, noise = random.random((1, 3, 64, 64), np.float32), random.standard_normal((1, 4, 8, 8), np.float32)
    (x,) = torch_of(pixels)
    posterior = pipeline.vae.encode(x * 2 - 1).latent_dist
    for share in (0, 1):
        expected = posterior.mean.detach().numpy() + posterior.std.detach().numpy() * share * noise
        found = foreign_model.encode_pixels(pixels, np.float32(share) * noise)
        assert np.abs(found - expected * pipeline.vae.config.scaling_factor).max() < 1e-5
