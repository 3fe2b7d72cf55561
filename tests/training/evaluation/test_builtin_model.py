"""The model in the package."""

# ruff: noqa: PLC0415 - tests that need torch import it themselves

import json
from pathlib import Path

import pytest

from tintype.training.model.manifest import MANIFEST, hash_files

BUILTIN = Path(__file__).parents[3] / "service" / "models" / "builtin"


def test_the_manifest_lists_every_file() -> None:
    """The manifest lists exactly the files of the folder, with their hashes."""
    assert json.loads((BUILTIN / MANIFEST).read_text())["files"] == hash_files(BUILTIN)


def test_size() -> None:
    """The model has at most 20 MB."""
    assert sum(path.stat().st_size for path in BUILTIN.rglob("*") if path.is_file()) <= 20e6


@pytest.mark.torch
def test_onnx_and_torch_generate_the_same_image() -> None:
    """For one prompt and seed, images of diffusers and of the graphs differ by at most 2 of 255."""
    pytest.importorskip("torch")
    from tintype.training.evaluation.verification import TOLERANCE, measure_difference

    assert measure_difference(BUILTIN, "a red circle on a blue background", 0) <= TOLERANCE


@pytest.mark.torch
def test_torch_pipeline_has_every_weight() -> None:
    """The pipeline loaded from the graphs has the size that the manifest and the configurations state."""
    pytest.importorskip("torch")
    from tintype.training import torch_pipeline

    pipeline = torch_pipeline(BUILTIN)
    assert pipeline.unet.config.in_channels == json.loads((BUILTIN / MANIFEST).read_text())["latent_channels"]
    assert sum(parameter.numel() for parameter in pipeline.unet.parameters()) > 5e6


@pytest.mark.torch
def test_images_follow_prompts() -> None:
    """Of 24 held-out combinations, nine in ten have the right shape and both right colours."""
    pytest.importorskip("torch")
    from tintype.training.evaluation.judges import judge
    from tintype.training.evaluation.pipeline import OnnxPipeline
    from tintype.training.evaluation.score import REQUIRED, choose_combinations, make_prompt

    asked = choose_combinations(24)
    images = OnnxPipeline(BUILTIN).generate([make_prompt(combination) for combination in asked], list(range(24)))
    verdicts = [judge(image) for image in images]
    right = [(v.color, v.shape, v.background) == combination for v, combination in zip(verdicts, asked, strict=True)]
    assert sum(right) >= REQUIRED * len(right)
