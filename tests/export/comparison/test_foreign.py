"""A folder that plain optimum exported works as it is: no manifest, a scalar timestep, no word of ours in it."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import numpy as np
import onnx
import pytest
from diffusers import DiffusionPipeline

from tintype.export.picture import Studio, by_diffusers
from tintype.service.job import Job

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = [pytest.mark.torch, pytest.mark.filterwarnings("ignore")]

JOB = Job(prompt="a lake at sunset", negative_prompt="fog", steps=6, seed=3, guidance_scale=5.0, count=2)


@pytest.fixture(scope="module")
def foreign(pipelines: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `optimum-cli export onnx` makes of the random Stable Diffusion 1.x."""
    out = tmp_path_factory.mktemp("foreign") / "plain"
    command = [sys.executable, "-m", "optimum.exporters.onnx", "--task", "text-to-image", "--model"]
    subprocess.run([*command, str(pipelines("sd15")), str(out)], check=True, capture_output=True)
    return out


def test_it_is_what_others_make(foreign: Path) -> None:
    """The folder has no manifest, and its denoiser one timestep for all rows."""
    assert not (foreign / "tintype.json").exists()
    unet = onnx.load(foreign / "unet" / "model.onnx", load_external_data=False)
    (timestep,) = (i for i in unet.graph.input if i.name == "timestep")
    assert len(timestep.type.tensor_type.shape.dim) == 0


def test_it_draws_what_diffusers_draws(
    foreign: Path, pipelines: Callable[[str], Path], compare: Callable[..., None]
) -> None:
    """Without export of ours: the same pictures, two at a time."""
    with Studio([foreign]) as studio:
        ours = studio.draw(JOB)
    compare(ours, by_diffusers(DiffusionPipeline.from_pretrained(pipelines("sd15")), JOB))


def test_it_draws_what_our_export_draws(foreign: Path, exported: Callable[..., Path]) -> None:
    """The patched graph changes nothing but what may share a call."""
    with Studio([foreign]) as plain, Studio([exported("sd15")]) as ours:
        np.testing.assert_allclose(plain.draw(JOB), ours.draw(JOB), atol=1e-5)
