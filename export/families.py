"""The families of pipelines that can be exported, one row each.

A row holds the parts that become graphs. All other values are those of the service's row with the same name. No other
module of this package depends on a pipeline's name.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tintype.service.models.families.table import FAMILIES as SERVED

from .errors import ExportRefusal

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tintype.service.models.family import Family as ServedFamily


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """A family of pipelines.

    - `name` is the family's name in the manifest.
    - `also` are classes that model_index.json may name, in addition to those of the service's row.
    - `parts` become graphs; the last one is the denoiser. Those in `optional` may be missing.
    - `lacks` is a part whose absence identifies this family among those with the same classes.
    - `classes` maps a part's class to another row of `components.registry`.
    - `call` holds further arguments of diffusers' pipeline, with which it generates the requested size; `area` is the
      name of the one that takes the number of pixels, `guidance` that of the guidance scale if not `guidance_scale`.
    """

    name: str
    parts: tuple[str, ...]
    also: tuple[str, ...] = ()
    lacks: str = ""
    optional: frozenset[str] = frozenset()
    classes: Mapping[str, str] = field(default_factory=dict)
    call: Mapping[str, Any] = field(default_factory=dict)
    area: str = ""
    guidance: str = ""

    @property
    def served(self) -> ServedFamily:
        """The service's row."""
        return SERVED[self.name]

    @property
    def pipelines(self) -> tuple[str, ...]:
        """The classes that model_index.json may name."""
        return (*self.also, *self.served.pipelines)

    def call_for(self, width: int, height: int, guidance_scale: float = 1.0) -> dict[str, Any]:
        """Return the further arguments of diffusers' pipeline for an image of this size in pixels."""
        named = {self.area: width * height, self.guidance: guidance_scale}
        return {**self.call, **{name: value for name, value in named.items() if name}}

    @property
    def denoiser(self) -> str:
        """The name of the denoiser, which is also its folder."""
        return self.parts[-1]


MASKED_T5 = {"T5EncoderModel": "T5EncoderModel with a mask"}
FAMILIES = (
    Family(
        name="sd",
        parts=("text_encoder", "vae", "unet"),
    ),
    Family(
        name="lcm",
        parts=("text_encoder", "vae", "unet"),
    ),
    Family(
        name="sdxl_refiner",
        also=("StableDiffusionXLPipeline",),
        lacks="text_encoder",
        parts=("text_encoder_2", "vae", "unet"),
    ),
    Family(
        name="sdxl",
        parts=("text_encoder", "text_encoder_2", "vae", "unet"),
    ),
    Family(
        name="kolors",
        parts=("text_encoder", "vae", "unet"),
    ),
    Family(
        name="sd3",
        parts=("text_encoder", "text_encoder_2", "text_encoder_3", "vae", "transformer"),
        optional=frozenset({"text_encoder_3"}),
    ),
    Family(
        name="flux",
        parts=("text_encoder", "text_encoder_2", "vae", "transformer"),
    ),
    Family(
        name="flux_kontext",
        parts=("text_encoder", "text_encoder_2", "vae", "transformer"),
        area="max_area",
    ),
    Family(
        name="flux_fill",
        parts=("text_encoder", "text_encoder_2", "vae", "transformer"),
    ),
    Family(
        name="chroma",
        parts=("text_encoder", "vae", "transformer"),
        classes=MASKED_T5,
    ),
    Family(
        name="flux2_klein",
        parts=("text_encoder", "vae", "transformer"),
        classes={"Qwen3ForCausalLM": "Qwen3 layers 9, 18, 27"},
    ),
    Family(
        name="flux2",
        parts=("text_encoder", "vae", "transformer"),
        classes={"Mistral3ForConditionalGeneration": "Mistral layers 10, 20, 30"},
    ),
    Family(
        name="ovis_image",
        parts=("text_encoder", "vae", "transformer"),
        classes={"Qwen3Model": "Qwen3 last layer"},
    ),
    Family(
        name="ernie_image",
        parts=("text_encoder", "vae", "transformer"),
        classes={"Mistral3Model": "Ministral3 penultimate"},
        call={"use_pe": False},
    ),
    Family(
        name="krea2",
        parts=("text_encoder", "vae", "transformer"),
        classes={"Qwen3VLModel": "Qwen3-VL layers of Krea 2"},
    ),
    *(
        Family(
            name=name,
            parts=("text_encoder", "vae", "unet"),
            classes={"Qwen3VLForConditionalGeneration": "Qwen3-VL last layer"},
        )
        for name in ("dreamlite", "dreamlite_mobile")
    ),
    Family(
        name="longcat_image",
        parts=("text_encoder", "vae", "transformer"),
        call={"enable_prompt_rewrite": False},
    ),
    Family(
        name="z_image",
        parts=("text_encoder", "vae", "transformer"),
        classes={"Qwen3Model": "Qwen3 penultimate", "Qwen3ForCausalLM": "Qwen3 penultimate"},
    ),
    Family(
        name="lumina2",
        parts=("text_encoder", "vae", "transformer"),
        classes={"Gemma2Model": "Gemma2 penultimate"},
    ),
    Family(
        name="pixart_sigma",
        parts=("text_encoder", "vae", "transformer"),
        classes=MASKED_T5,
        call={"use_resolution_binning": False},
    ),
    Family(
        name="pixart_alpha",
        parts=("text_encoder", "vae", "transformer"),
        classes=MASKED_T5,
        call={"use_resolution_binning": False},
    ),
    Family(
        name="aura_flow",
        parts=("text_encoder", "vae", "transformer"),
    ),
    Family(
        name="sana_sprint",
        parts=("text_encoder", "vae", "transformer"),
        call={"use_resolution_binning": False, "intermediate_timesteps": None},
    ),
    Family(
        name="sana",
        parts=("text_encoder", "vae", "transformer"),
        call={"use_resolution_binning": False},
    ),
    Family(
        name="qwen_image",
        parts=("text_encoder", "vae", "transformer"),
        call={"negative_prompt": " "},
        guidance="true_cfg_scale",
    ),
    *(
        Family(
            name=name,
            parts=("text_encoder", "vae", "transformer"),
            classes={"Qwen2_5_VLForConditionalGeneration": "Qwen2_5_VLForConditionalGeneration with vision"},
            call={"negative_prompt": " "},
            guidance="true_cfg_scale",
        )
        for name in ("qwen_image_edit", "qwen_image_edit_plus")
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
