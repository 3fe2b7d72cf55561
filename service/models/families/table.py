"""The table of model families.

A family names the components of a model folder, how their outputs become one conditioning, and the values that hold if
neither tintype.json nor the components' configurations give others. No other code branches on a family's name.
Numbers and rules are those of diffusers' pipelines, so that a request gives the same image as there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from . import (
    aura_flow,
    dreamlite,
    flux,
    flux2,
    flux_like,
    pixart,
    qwen_image,
    sana,
    single_stream,
    stable_diffusion,
    z_image,
)

if TYPE_CHECKING:
    from collections.abc import Collection

    from ..family import Family

FAMILIES: dict[str, Family] = {
    family.name: family
    for module in (
        stable_diffusion,
        flux,
        flux2,
        flux_like,
        pixart,
        aura_flow,
        sana,
        qwen_image,
        single_stream,
        dreamlite,
        z_image,
    )
    for family in module.FAMILIES
}


def by_pipeline(class_name: str, absent: Collection[str] = ()) -> Family | None:
    """Return the family of a pipeline class, of diffusers, its legacy ONNX ones or optimum; None if not supported.

    `absent` are components that model_index.json says are missing; a family that requires one of them is skipped.
    """
    name = class_name.removeprefix("ORT").removeprefix("Onnx").removesuffix("Legacy")
    name = name.replace("OnnxPipeline", "Pipeline")  # StableDiffusionOnnxPipeline, the oldest
    found = (family for family in FAMILIES.values() if name in family.pipelines)
    return next((family for family in found if not set(family.required_graphs) & set(absent)), None)


def known_pipelines() -> list[str]:
    """Return the pipeline classes that are supported, sorted."""
    return sorted({name for family in FAMILIES.values() for name in family.pipelines})
