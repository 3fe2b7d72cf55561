"""The kinds of pipeline that can be exported, one row each.

A family is a value: what its classes are called in diffusers, which network denoises, and what its requests get by
default. Nothing else in this folder asks what a pipeline is called.
"""

from __future__ import annotations

from dataclasses import dataclass

from .errors import Refused


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """One row. `name` stands in the manifest; `parts` are the components that become graphs, the denoiser last.

    `pipelines` are the classes that model_index.json may name; `steps` and `guidance_scale` are defaults of requests.
    """

    name: str
    pipelines: tuple[str, ...]
    parts: tuple[str, ...]
    steps: int
    guidance_scale: float

    @property
    def denoiser(self) -> str:
        """The component that predicts, and its folder."""
        return self.parts[-1]


FAMILIES = (
    Family(
        name="sd",
        pipelines=("StableDiffusionPipeline",),
        parts=("text_encoder", "vae", "unet"),
        steps=50,
        guidance_scale=7.5,
    ),
)


def family_of(pipeline: str) -> Family:
    """Return the family of diffusers' class `pipeline`. Raises Refused, naming the classes that there are."""
    for family in FAMILIES:
        if pipeline in family.pipelines:
            return family
    known = ", ".join(name for family in FAMILIES for name in family.pipelines)
    raise Refused(f"pipelines of class {pipeline!r} can't be exported; those that can: {known}")
