"""A small VAE (AutoencoderTiny) in place of the model's own gives the images of diffusers with it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import diffusers
import pytest
import torch

from tests.support.export.diffusers_pipelines import images_of_task
from tests.support.export.input_images import photo, png
from tintype.export.image_comparison import LocalService
from tintype.export.templates.pipelines import write_templates
from tintype.service.job import Job
from tintype.service.models.loading_options import LoadingOptions

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = [pytest.mark.torch, pytest.mark.filterwarnings("ignore")]

SIZE = (128, 96)
USUAL: dict[str, Any] = {"prompt": "A lake", "steps": 4, "seed": 7, "width": SIZE[0], "height": SIZE[1]}
JOBS = {"text": Job(**USUAL), "image": Job(**USUAL, image=png(photo(*SIZE)), strength=0.6)}


@pytest.fixture(scope="module")
def pipeline(pipelines: Callable[[str], Path]) -> Any:
    """A random Stable Diffusion 2 with a random AutoencoderTiny of the published number of levels."""
    pipeline = diffusers.DiffusionPipeline.from_pretrained(pipelines("sd21"))
    channels, blocks = (16, 16, 16, 16), {"num_encoder_blocks": (1, 1, 1, 1), "num_decoder_blocks": (1, 1, 1, 1)}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        pipeline.vae = diffusers.AutoencoderTiny(
            encoder_block_out_channels=channels, decoder_block_out_channels=channels, **blocks
        ).eval()
    return pipeline


@pytest.mark.parametrize("task", JOBS)
def test_a_vae_of_the_options_gives_diffusers_images(
    task: str, pipeline: Any, pipelines: Callable[[str], Path], tmp_path: Path, compare: Any
) -> None:
    """The weights of the model and those of the other VAE are in two folders."""
    pipeline.save_pretrained(tmp_path / "other")
    folder = tmp_path / "sd21"
    diffusers.DiffusionPipeline.from_pretrained(pipelines("sd21")).save_pretrained(folder)
    (folder / "tintype.json").write_text(json.dumps({"tintype": 1, "native_sizes": [list(SIZE)]}))
    write_templates(tmp_path / "other", tmp_path / "templates")
    options = LoadingOptions(templates=tmp_path / "templates", vae=tmp_path / "other" / "vae", cache=tmp_path / "cache")
    with LocalService([folder], options) as service:
        ours = service.generate(JOBS[task])
        assert service.spec.latent_channels == pipeline.vae.config.latent_channels
    compare(ours, images_of_task(pipeline, JOBS[task], SIZE))
