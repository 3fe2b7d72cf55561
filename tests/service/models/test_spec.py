"""ModelSpec rejects values that contradict each other; families are found by their pipelines."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from tintype.service.errors import ModelBroken
from tintype.service.models import LatentToRgb
from tintype.service.models.families.table import FAMILIES, by_pipeline, known_pipelines
from tintype.service.models.folder.reader import read_manifest
from tintype.service.models.residency.catalogue import BUILTIN

if TYPE_CHECKING:
    from tintype.service.models.family import Family


def test_latent_shape_of_an_image() -> None:
    """Latents are channels first, then height, then width."""
    spec = replace(read_manifest(BUILTIN).spec, latent_channels=12, downscale=16, latent_to_rgb=None)
    assert spec.latent_shape(320, 192) == (12, 12, 20)


def test_contradictions_are_reported_together() -> None:
    """The error names every value that does not fit the others."""
    with pytest.raises(ModelBroken) as caught:
        replace(
            read_manifest(BUILTIN).spec, native_sizes=(), latent_channels=0, latent_to_rgb=LatentToRgb((), (0, 0, 0))
        )
    assert caught.value.faults == (
        "latent_channels must be at least 1, not 0",
        "native_sizes must hold at least one size",
    )


def test_families_are_found_by_pipeline() -> None:
    """Diffusers' class name gives the family, with or without optimum's prefix; an unknown name gives None."""
    assert by_pipeline("StableDiffusionPipeline") is by_pipeline("ORTStableDiffusionPipeline") is FAMILIES["sd"]
    assert by_pipeline("StableDiffusion") is None
    assert "StableDiffusionPipeline" in known_pipelines()


def test_families_of_one_pipeline_differ_in_components() -> None:
    """SDXL's refiner has SDXL's class and one text encoder less."""
    pipeline = "StableDiffusionXLImg2ImgPipeline"
    assert by_pipeline(pipeline) is FAMILIES["sdxl"]
    assert by_pipeline(pipeline, ["image_encoder"]) is FAMILIES["sdxl"]
    assert by_pipeline(pipeline, ["text_encoder", "tokenizer"]) is FAMILIES["sdxl_refiner"]


@pytest.mark.parametrize("family", FAMILIES.values(), ids=lambda family: family.name)
def test_families_are_keyed_by_name_and_found_by_pipeline(family: Family) -> None:
    """Each family is found by its pipelines, given the components that its folders lack."""
    assert FAMILIES[family.name] is family
    parts = {part.encoder for other in FAMILIES.values() for part in other.text_encoders}
    absent = parts - {part.encoder for part in family.text_encoders}
    assert all(by_pipeline(name, absent) is family for name in family.pipelines)
