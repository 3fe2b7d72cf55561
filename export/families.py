"""The families of pipelines that can be exported, one row each.

A row holds a family's class names in diffusers, the parts that become graphs, and the defaults of its requests. No
other module of this package depends on a pipeline's name.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from .errors import ExportRefusal

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestDefaults:
    """Values for requests that omit them; `max_tokens` is the limit of the longest text encoder."""

    steps: int
    guidance_scale: float
    max_tokens: int = 77


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """A family of pipelines.

    - `name` is the family's name in the manifest.
    - `pipelines` are the classes that model_index.json may name.
    - `parts` become graphs; the last one is the denoiser. Those in `optional` may be missing.
    - `lacks` is a part whose absence identifies this family among those with the same classes.
    - `defaults` are for requests; `distilled` replaces them for models distilled to few steps.
    - `classes` maps a part's class to another row of `components.registry`.
    - `call` holds further arguments of diffusers' pipeline, with which it generates the requested size.
    """

    name: str
    pipelines: tuple[str, ...]
    parts: tuple[str, ...]
    defaults: RequestDefaults
    distilled: RequestDefaults | None = None
    lacks: str = ""
    optional: frozenset[str] = frozenset()
    classes: Mapping[str, str] = field(default_factory=dict)
    call: Mapping[str, Any] = field(default_factory=dict)

    @property
    def denoiser(self) -> str:
        """The name of the denoiser, which is also its folder."""
        return self.parts[-1]


def _pipeline_classes(name: str, *tasks: str) -> tuple[str, ...]:
    """Return the class names of a family's pipelines: for text to image, and for the other tasks."""
    return tuple(f"{name}{task}Pipeline" for task in ("", *tasks))


IMAGE_TASKS = ("Img2Img", "Inpaint")
# Steps and guidance are those that the model cards recommend.
FAMILIES = (
    Family(
        name="sd",
        pipelines=_pipeline_classes("StableDiffusion", *IMAGE_TASKS),
        parts=("text_encoder", "vae", "unet"),
        defaults=RequestDefaults(steps=50, guidance_scale=7.5),
        distilled=RequestDefaults(steps=1, guidance_scale=0),
    ),
    Family(
        name="lcm",
        pipelines=_pipeline_classes("LatentConsistencyModel", "Img2Img"),
        parts=("text_encoder", "vae", "unet"),
        defaults=RequestDefaults(steps=4, guidance_scale=8.5),
    ),
    Family(
        name="sdxl_refiner",
        pipelines=_pipeline_classes("StableDiffusionXL", *IMAGE_TASKS),
        lacks="text_encoder",
        parts=("text_encoder_2", "vae", "unet"),
        defaults=RequestDefaults(steps=50, guidance_scale=5),
    ),
    Family(
        name="sdxl",
        pipelines=_pipeline_classes("StableDiffusionXL", *IMAGE_TASKS),
        parts=("text_encoder", "text_encoder_2", "vae", "unet"),
        defaults=RequestDefaults(steps=50, guidance_scale=5),
        distilled=RequestDefaults(steps=1, guidance_scale=0),
    ),
    Family(
        name="sd3",
        pipelines=_pipeline_classes("StableDiffusion3", *IMAGE_TASKS),
        parts=("text_encoder", "text_encoder_2", "text_encoder_3", "vae", "transformer"),
        optional=frozenset({"text_encoder_3"}),
        defaults=RequestDefaults(steps=28, guidance_scale=7, max_tokens=256),
    ),
    Family(
        name="flux",
        pipelines=_pipeline_classes("Flux", *IMAGE_TASKS),
        parts=("text_encoder", "text_encoder_2", "vae", "transformer"),
        defaults=RequestDefaults(steps=28, guidance_scale=3.5, max_tokens=512),
        distilled=RequestDefaults(steps=4, guidance_scale=0, max_tokens=256),
    ),
    Family(
        name="pixart_sigma",
        pipelines=_pipeline_classes("PixArtSigma"),
        parts=("text_encoder", "vae", "transformer"),
        classes={"T5EncoderModel": "T5EncoderModel with a mask"},
        defaults=RequestDefaults(steps=20, guidance_scale=4.5, max_tokens=300),
        call={"use_resolution_binning": False},
    ),
    Family(
        name="sana",
        pipelines=_pipeline_classes("Sana"),
        parts=("text_encoder", "vae", "transformer"),
        defaults=RequestDefaults(steps=20, guidance_scale=4.5, max_tokens=300),
        call={"use_resolution_binning": False},
    ),
)


def family_of(index: Mapping[str, Any]) -> Family:
    """Return the family of the pipeline that a model_index.json describes.

    Raises ExportRefusal, which lists the supported classes.
    """
    pipeline = str(index.get("_class_name", ""))
    for family in FAMILIES:
        if pipeline in family.pipelines and not (family.lacks and has_part(index, family.lacks)):
            return family
    known = ", ".join(dict.fromkeys(name for family in FAMILIES for name in family.pipelines))
    raise ExportRefusal(f"pipelines of class {pipeline!r} cannot be exported; supported: {known}")


def has_part(index: Mapping[str, Any], part: str) -> bool:
    """Whether model_index.json names a part: its entry is `[library, class]`, and both are null for an absent one."""
    named = index.get(part)
    return isinstance(named, list) and len(named) == 2 and None not in named
