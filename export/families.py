"""The kinds of pipeline that can be exported, one row each.

A family is a value: what its classes are called in diffusers, which parts become graphs, and what its requests get by
default. Nothing else in this folder asks what a pipeline is called.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from .errors import Refused

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True, kw_only=True)
class Defaults:
    """What a request gets that leaves them out; `max_tokens` are those of the longest text encoder."""

    steps: int
    guidance_scale: float
    max_tokens: int = 77


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """One row. `name` stands in the manifest; `parts` become graphs, the denoiser last; `optional` ones may be missing.

    `pipelines` are the classes that model_index.json may name, and `lacks` the part whose absence tells one family from
    another of the same classes. `distilled` are the defaults of models that were distilled to few steps.
    `classes` replaces the reader of a part's class, and `call` is what diffusers' pipeline is called
    with beside the request's own settings, so that it draws the size that was asked for.
    """

    name: str
    pipelines: tuple[str, ...]
    parts: tuple[str, ...]
    defaults: Defaults
    distilled: Defaults | None = None
    lacks: str = ""
    optional: frozenset[str] = frozenset()
    classes: Mapping[str, str] = field(default_factory=dict)
    call: Mapping[str, Any] = field(default_factory=dict)

    @property
    def denoiser(self) -> str:
        """The component that predicts, and its folder."""
        return self.parts[-1]


def _kinds(name: str, *kinds: str) -> tuple[str, ...]:
    """Return the classes of a pipeline from text, and from pictures."""
    return tuple(f"{name}{kind}Pipeline" for kind in ("", *kinds))


IMG2IMG = ("Img2Img", "Inpaint")
# Numbers of steps and guidance are those that the published models' cards recommend.
FAMILIES = (
    Family(
        name="sd",
        pipelines=_kinds("StableDiffusion", *IMG2IMG),
        parts=("text_encoder", "vae", "unet"),
        defaults=Defaults(steps=50, guidance_scale=7.5),
        distilled=Defaults(steps=1, guidance_scale=0),
    ),
    Family(
        name="lcm",
        pipelines=_kinds("LatentConsistencyModel", "Img2Img"),
        parts=("text_encoder", "vae", "unet"),
        defaults=Defaults(steps=4, guidance_scale=8.5),
    ),
    Family(
        name="sdxl_refiner",
        pipelines=_kinds("StableDiffusionXL", *IMG2IMG),
        lacks="text_encoder",
        parts=("text_encoder_2", "vae", "unet"),
        defaults=Defaults(steps=50, guidance_scale=5),
    ),
    Family(
        name="sdxl",
        pipelines=_kinds("StableDiffusionXL", *IMG2IMG),
        parts=("text_encoder", "text_encoder_2", "vae", "unet"),
        defaults=Defaults(steps=50, guidance_scale=5),
        distilled=Defaults(steps=1, guidance_scale=0),
    ),
    Family(
        name="sd3",
        pipelines=_kinds("StableDiffusion3", *IMG2IMG),
        parts=("text_encoder", "text_encoder_2", "text_encoder_3", "vae", "transformer"),
        optional=frozenset({"text_encoder_3"}),
        defaults=Defaults(steps=28, guidance_scale=7, max_tokens=256),
    ),
    Family(
        name="flux",
        pipelines=_kinds("Flux", *IMG2IMG),
        parts=("text_encoder", "text_encoder_2", "vae", "transformer"),
        defaults=Defaults(steps=28, guidance_scale=3.5, max_tokens=512),
        distilled=Defaults(steps=4, guidance_scale=0, max_tokens=256),
    ),
    Family(
        name="pixart_sigma",
        pipelines=_kinds("PixArtSigma"),
        parts=("text_encoder", "vae", "transformer"),
        classes={"T5EncoderModel": "T5EncoderModel with a mask"},
        defaults=Defaults(steps=20, guidance_scale=4.5, max_tokens=300),
        call={"use_resolution_binning": False},
    ),
    Family(
        name="sana",
        pipelines=_kinds("Sana"),
        parts=("text_encoder", "vae", "transformer"),
        defaults=Defaults(steps=20, guidance_scale=4.5, max_tokens=300),
        call={"use_resolution_binning": False},
    ),
)


def family_of(index: Mapping[str, Any]) -> Family:
    """Return the family of a pipeline by its model_index.json. Raises Refused, naming the classes that there are."""
    pipeline = str(index.get("_class_name", ""))
    for family in FAMILIES:
        if pipeline in family.pipelines and not (family.lacks and there(index, family.lacks)):
            return family
    known = ", ".join(dict.fromkeys(name for family in FAMILIES for name in family.pipelines))
    raise Refused(f"pipelines of class {pipeline!r} can't be exported; those that can: {known}")


def there(index: Mapping[str, Any], part: str) -> bool:
    """Whether model_index.json names a part: `[library, class]`, where both may be null."""
    named = index.get(part)
    return isinstance(named, list) and len(named) == 2 and None not in named
