"""The model that is in the package."""

# ruff: noqa: PLC0415 - torch is imported by the tests that need it

import json
from pathlib import Path

import pytest

from tintype.training.model.manifest import MANIFEST, hashes

BUILTIN = Path(__file__).parents[3] / "service" / "models" / "builtin"


def test_the_manifest_knows_every_file() -> None:
    """Each file is there with the hash that the manifest gives, and none besides."""
    assert json.loads((BUILTIN / MANIFEST).read_text())["files"] == hashes(BUILTIN)


def test_it_is_small() -> None:
    """The whole model is at most 20 MB."""
    assert sum(path.stat().st_size for path in BUILTIN.rglob("*") if path.is_file()) <= 20e6


@pytest.mark.torch
def test_onnx_and_torch_paint_the_same_picture() -> None:
    """Same prompt, same seed: diffusers' pipeline with the graphs' weights differs by at most 2 of 255."""
    pytest.importorskip("torch")
    from tintype.training.evaluation.verify import TOLERANCE, difference

    assert difference(BUILTIN, "a red circle on a blue background", 0) <= TOLERANCE


@pytest.mark.torch
def test_torch_pipeline_has_every_weight() -> None:
    """The pipeline rebuilt from the graphs lacks nothing: its own saved form has the sizes that the configs say."""
    pytest.importorskip("torch")
    from tintype.training import torch_pipeline

    pipeline = torch_pipeline(BUILTIN)
    assert pipeline.unet.config.in_channels == json.loads((BUILTIN / MANIFEST).read_text())["latent_channels"]
    assert sum(parameter.numel() for parameter in pipeline.unet.parameters()) > 5e6


@pytest.mark.torch
def test_it_draws_what_it_is_asked_for() -> None:
    """Of 24 combinations that training held out, nine in ten come out right: both colours, and the shape."""
    pytest.importorskip("torch")
    from tintype.training.evaluation.judges import judge
    from tintype.training.evaluation.pipeline import Painter
    from tintype.training.evaluation.score import WANTED, asked_for, prompt_of

    asked = asked_for(24)
    pictures = Painter(BUILTIN).paint([prompt_of(triple) for triple in asked], list(range(24)))
    verdicts = [judge(picture) for picture in pictures]
    right = [(v.color, v.shape, v.background) == triple for v, triple in zip(verdicts, asked, strict=True)]
    assert sum(right) >= WANTED * len(right)
