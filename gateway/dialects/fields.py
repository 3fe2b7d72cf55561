"""Request fields that several vendors share, each with its bounds and its text in `openapi.json`.

- Every field but `Prompt` may be absent or null.
- The description of a field says what it means. A description inside the union, as in `Size`, says which values are
  valid; error messages repeat it.
- `extra_json_schema` holds what the type does not check, such as the default. A default is stated only if it is the
  same for every model and configuration.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import Meta

from tintype.v1.limits import MAX_NAME, MAX_PROMPT, MAX_SIDE, MAX_STEPS, MIN_SIDE, MIN_STEPS, RANGES

# The image in example requests: a lake of 64 x 64 pixels in three colours, a PNG file in base64.
EXAMPLE_IMAGE = (
    "iVBORw0KGgoAAAANSUhEUgAAAEAAAABAAgMAAADXB5lNAAAACVBMVEV4tOZablooWpa6FVrxAAAAdUlEQVR42u2RwQ3AIAhFP4YB6KH7sESXbJfs"
    "wQJicIA29YDmKU9Q4HODfdX6tM0AM1DNgCAZcFgXDgFloICOgAC31g4eim94jtMI1MPCQUBc09zHAQQIa+l4/GrAKhADnB66clifPZVOXLa5a088"
    "qm/4wevADbw5BSR9fwnKAAAAAElFTkSuQmCC"
)
EXAMPLE_URL = f"data:image/png;base64,{EXAMPLE_IMAGE}"

IMAGE_FILE = "a PNG, JPEG or WebP file as a URL, a data: URL or base64"
MASK = (
    f"Part of the image to repaint: {IMAGE_FILE}, of the image's size. Transparent parts are repainted, or white parts "
    "if nothing is transparent. Absent: everything"
)
_PRESET = "name of a preset, a vendor's or the model's own; it applies if the model has it"

PromptText = Annotated[str, Meta(max_length=MAX_PROMPT)]
ModelName = Annotated[str, Meta(max_length=MAX_NAME)]
PresetName = Annotated[str, Meta(max_length=100)]
OptionName = Annotated[str, Meta(max_length=100)]  # of a sampler or a schedule
StepCount = Annotated[int, Meta(ge=MIN_STEPS, le=MAX_STEPS)]
Scale = Annotated[float, Meta(ge=0, le=RANGES["guidance_scale"][1])]
Side = Annotated[int, Meta(ge=MIN_SIDE, le=MAX_SIDE)]  # pixels
SizeText = Annotated[
    str,
    Meta(
        pattern="^(auto|[1-9][0-9]{0,4}x[1-9][0-9]{0,4})$",
        description="'auto' or WIDTHxHEIGHT in pixels, for example 1024x1024",
    ),
]
RatioText = Annotated[
    str, Meta(pattern="^[1-9][0-9]{0,3}:[1-9][0-9]{0,3}$", description="WIDTH:HEIGHT, for example 16:9")
]
ImageText = Annotated[str, Meta(description=IMAGE_FILE)]

Prompt = Annotated[
    PromptText,
    Meta(
        description="What the image should show",
        examples=["A serene mountain lake at sunset"],
        extra_json_schema={"pattern": r"\S"},
    ),
]
NegativePrompt = Annotated[
    PromptText | None,
    Meta(
        description="What the image should not show; no effect if guidance_scale is at most 1. Absent: nothing",
    ),
]
Model = Annotated[
    ModelName | None,
    Meta(
        description="Name of the model, as GET /v1/models lists it, or a usual name such as dall-e-3. "
        "Absent: the default model"
    ),
]
Count = Annotated[
    Annotated[int, Meta(ge=1, le=10)] | None,
    Meta(
        description="Number of images; the k-th, counted from 0, has the seed `seed + k`",
        extra_json_schema={"default": 1},
    ),
]
Size = Annotated[
    SizeText | None,
    Meta(
        description="'auto' or WIDTHxHEIGHT in pixels. Absent: the model's own size",
        examples=["1024x1024"],
    ),
]
AspectRatio = Annotated[
    RatioText | None,
    Meta(description="WIDTH:HEIGHT, at about 1024 x 1024 pixels. Absent: see size", examples=["16:9"]),
]
Width = Annotated[
    Side | None, Meta(description="Width in pixels; no effect if size is given. Absent: the model's own width")
]
Height = Annotated[
    Side | None, Meta(description="Height in pixels; no effect if size is given. Absent: the model's own height")
]
Quality = Annotated[
    PresetName | None,
    Meta(
        description=f"Effort: {_PRESET}. Absent: the model's own settings",
        examples=["auto", "low", "medium", "high", "xhigh", "max", "standard", "hd"],
    ),
]
Style = Annotated[
    PresetName | None,
    Meta(description=f"Look: {_PRESET}. Absent: the model's own settings", examples=["vivid", "natural"]),
]
ResponseFormat = Annotated[
    Literal["url", "b64_json"] | None,
    Meta(
        description="Whether images are returned as links or as base64. "
        "Absent: as the server is configured, usually links"
    ),
]
Seed = Annotated[
    Annotated[int, Meta(ge=-1, le=2**63 - 1)] | None,
    Meta(
        description="Seed of the noise: the same seed gives the same image. "
        "Absent or -1: a random seed, which the response names"
    ),
]
Steps = Annotated[StepCount | None, Meta(description="Number of denoising steps. Absent: the model's own number")]
StepsSynonym = Annotated[StepCount | None, Meta(description="Another name for steps")]
GuidanceScale = Annotated[
    Scale | None,
    Meta(
        description="How closely the image follows the prompt; at most 1 turns guidance off. "
        "Absent: the model's own value"
    ),
]
GuidanceSynonym = Annotated[Scale | None, Meta(description="Another name for guidance_scale")]
Strength = Annotated[
    Annotated[float, Meta(ge=0, le=1)] | None,
    Meta(
        description="How far the result may differ from the image: 0 not at all, 1 entirely. Absent: 0.8; in edits 1 "
        "with a mask, 0.6 with input_fidelity 'high'; in variations 0.7"
    ),
]
Mask = Annotated[ImageText | None, Meta(description=MASK)]

# In edits and variations, JSON bodies may also give an image as `{"image_url": …}`.
_URL_OBJECT: dict[str, Any] = {
    "type": "object",
    "properties": {"image_url": {"type": "string"}},
    "required": ["image_url"],
}
IMAGE_SCHEMA: dict[str, Any] = {"anyOf": [{"type": "string"}, _URL_OBJECT]}
