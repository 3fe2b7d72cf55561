"""Request bodies of `/sdapi/v1`: what clients of the Stable Diffusion web UI send.

Every field may be missing or null, and unknown keys are ignored. Fields without effect are `Any`, so that no value of
them is an error. Numbers may be strings, and integers may have a fraction, such as `512.0` or `512.4`: it is cut off,
as the web UI does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import msgspec
from msgspec import Meta, field

from ..dialects import reading
from ..dialects.fields import EXAMPLE_IMAGE, PromptText

if TYPE_CHECKING:
    from collections.abc import Mapping

MAX_BATCH = 100  # images per request

_OWN = "Absent or null: the model's own"
_NO_EFFECT = Meta(description="No effect")

NoEffect = Annotated[Any, _NO_EFFECT]
MAX_ENLARGED = 16  # images that one request may enlarge
SideOrZero = Annotated[int, Meta(ge=0, le=4096)]  # pixels; 0 counts as absent
StepsOrZero = Annotated[int, Meta(ge=0, le=150)]  # 0 counts as absent
AnySeed = Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]  # below 0: a random seed
BatchCount = Annotated[int, Meta(ge=1, le=MAX_BATCH)]
Blur = Annotated[int, Meta(ge=0, le=64)]  # pixels
Name = Annotated[str, Meta(max_length=256)]  # of a sampler, a schedule, an upscaler, a script


def convert(kind: type[reading.Body], body: Mapping[str, Any]) -> reading.Body:
    """Return `body` as a `kind`. Raises InvalidValue."""
    return reading.convert(kind, body, strict=False, truncate=True)


class GenerationRequest(msgspec.Struct, kw_only=True):
    """Fields of both requests for images."""

    prompt: Annotated[
        PromptText | None,
        Meta(description="What the image should show; <lora:NAME:WEIGHT> applies an adapter. Empty: left to the model"),
    ] = ""
    negative_prompt: Annotated[PromptText | None, Meta(description="What the image should not show")] = ""
    styles: NoEffect = None
    seed: Annotated[
        AnySeed | None, Meta(description="Seed of the noise: the same seed gives the same image. -1: a random seed")
    ] = -1
    subseed: NoEffect = -1
    subseed_strength: NoEffect = 0
    seed_resize_from_h: NoEffect = -1
    seed_resize_from_w: NoEffect = -1
    sampler_name: Annotated[Name | None, Meta(description=f"Name of the sampler, as GET samplers lists it. {_OWN}")] = (
        None
    )
    sampler_index: Annotated[Name | int | None, Meta(description="Another name for sampler_name")] = None
    scheduler: Annotated[Name | None, Meta(description=f"Name of the schedule, as GET schedulers lists it. {_OWN}")] = (
        None
    )
    batch_size: Annotated[
        BatchCount | None, Meta(description=f"Images of one batch; times n_iter at most {MAX_BATCH}")
    ] = 1
    n_iter: Annotated[BatchCount | None, Meta(description="Number of batches")] = 1
    steps: Annotated[
        StepsOrZero | None, Meta(description=f"Denoising steps, at most 150; 0 counts as absent. {_OWN}")
    ] = None
    cfg_scale: Annotated[float | None, Meta(description=f"How closely the image follows the prompt. {_OWN}")] = None
    distilled_cfg_scale: NoEffect = None
    width: Annotated[SideOrZero | None, Meta(description=f"Width in pixels; 0 counts as absent. {_OWN}")] = None
    height: Annotated[SideOrZero | None, Meta(description=f"Height in pixels; 0 counts as absent. {_OWN}")] = None
    restore_faces: NoEffect = None
    tiling: NoEffect = None
    do_not_save_samples: NoEffect = False
    do_not_save_grid: NoEffect = False
    eta: Annotated[float | None, Meta(description="Noise that DDIM adds at each step")] = None
    denoising_strength: Annotated[
        float | None,
        Meta(description="How far the result may differ from the image, 0 to 1. Absent or null: 0.75"),
    ] = None
    s_min_uncond: NoEffect = None
    s_churn: NoEffect = None
    s_tmax: NoEffect = None
    s_tmin: NoEffect = None
    s_noise: NoEffect = None
    clip_skip: Annotated[
        int | None,
        Meta(description="The last layer of CLIP that is used, counted from its end; the model's own if that is later"),
    ] = None
    override_settings: Annotated[
        dict[str, Any] | None,
        Meta(
            description="Settings of this request: sd_model_checkpoint is the model, samples_format the file type of "
            "the images, CLIP_stop_at_last_layers another name for clip_skip"
        ),
    ] = field(default_factory=dict)
    override_settings_restore_afterwards: Annotated[
        bool | None, Meta(description="Whether the selected model stays the same; false selects this request's model")
    ] = True
    refiner_checkpoint: NoEffect = None
    refiner_switch_at: NoEffect = None
    disable_extra_networks: Annotated[
        bool | None, Meta(description="Whether <lora:NAME:WEIGHT> is removed without effect")
    ] = False
    comments: NoEffect = None
    script_name: Annotated[
        Name | None, Meta(description="Name of a script; there are none, so that any name is an error")
    ] = None
    script_args: NoEffect = field(default_factory=list)
    alwayson_scripts: Annotated[
        dict[str, Any] | None,
        Meta(
            description="Extensions by name: the only one is controlnet, whose args are units {model, image, weight, "
            "guidance_start, guidance_end, resize_mode}; any other name is an error"
        ),
    ] = field(default_factory=dict)
    send_images: Annotated[bool | None, Meta(description="Whether the response contains the images")] = True
    save_images: NoEffect = False
    force_task_id: NoEffect = None
    infotext: NoEffect = None


class TextToImage(GenerationRequest, kw_only=True):
    """`POST /sdapi/v1/txt2img`."""

    enable_hr: Annotated[bool | None, Meta(description="Whether a second pass makes each image again, larger")] = False
    firstphase_width: NoEffect = 0
    firstphase_height: NoEffect = 0
    hr_scale: Annotated[
        Annotated[float, Meta(ge=0, le=256)] | None,
        Meta(description="Factor of enlargement; hr_resize_x and hr_resize_y override it"),
    ] = 2.0
    hr_upscaler: Annotated[
        Name | None,
        Meta(description="Upscaler between the passes: always Lanczos; another name is listed as ignored"),
    ] = None
    hr_second_pass_steps: Annotated[
        StepsOrZero | None, Meta(description="Steps of the second pass; 0: as many as the first")
    ] = 0
    hr_resize_x: Annotated[
        SideOrZero | None, Meta(description="Width after the second pass in pixels; 0: from hr_scale")
    ] = 0
    hr_resize_y: Annotated[
        SideOrZero | None, Meta(description="Height after the second pass in pixels; 0: from hr_scale")
    ] = 0
    hr_checkpoint_name: NoEffect = None
    hr_sampler_name: NoEffect = None
    hr_scheduler: NoEffect = None
    hr_prompt: NoEffect = ""
    hr_negative_prompt: NoEffect = ""


class ImageToImage(GenerationRequest, kw_only=True):
    """`POST /sdapi/v1/img2img`."""

    schema_extra: ClassVar = {"required": ["init_images"]}

    init_images: Annotated[
        list[str] | None,
        Meta(
            description="Image to start from as base64, a data: URL or a URL. Models that edit take further ones, as "
            "many as max_references of GET /v1/models says, and with denoising_strength 1 all of them, to edit",
            examples=[[EXAMPLE_IMAGE]],
            extra_json_schema={"type": "array", "items": {"type": "string"}, "minItems": 1},
        ),
    ] = None
    resize_mode: Annotated[
        int | None, Meta(description="How the image gets the requested size: 0 stretch, 1 crop, 2 fill")
    ] = 0
    mask: Annotated[str | None, Meta(description="Part to repaint, in white; base64, a data: URL or a URL")] = None
    mask_blur: Annotated[Blur | None, Meta(description="Pixels over which the edge of the mask is blurred")] = None
    mask_blur_x: Annotated[Blur | None, Meta(description="mask_blur, horizontally only")] = None
    mask_blur_y: Annotated[Blur | None, Meta(description="mask_blur, vertically only")] = None
    inpainting_fill: Annotated[
        int | None,
        Meta(description="Initial content of the masked part: 0 the colours around it, 1 the image"),
    ] = 0
    inpaint_full_res: Annotated[
        bool | None, Meta(description="Whether only the surroundings of the mask are made, at full size")
    ] = True
    inpaint_full_res_padding: Annotated[
        Annotated[int, Meta(ge=0, le=4096)] | None, Meta(description="Pixels around the mask that are made with it")
    ] = 0
    inpainting_mask_invert: Annotated[int | None, Meta(description="1 repaints the black part instead")] = 0
    mask_round: NoEffect = True
    initial_noise_multiplier: NoEffect = None
    image_cfg_scale: NoEffect = None
    latent_mask: NoEffect = None
    include_init_images: Annotated[
        bool | None, Meta(description="Whether the parameters of the response repeat the images")
    ] = False


class PngInfoRequest(msgspec.Struct, kw_only=True):
    """`POST /sdapi/v1/png-info`."""

    image: Annotated[str, Meta(description="An image as base64, a data: URL or a URL")]


class Enlargement(msgspec.Struct, kw_only=True):
    """How to enlarge images: by a factor (`resize_mode` 0), or to a size (1)."""

    resize_mode: Annotated[
        Annotated[int, Meta(ge=0, le=1)] | None,
        Meta(description="0: by upscaling_resize; 1: to upscaling_resize_w x upscaling_resize_h"),
    ] = 0
    upscaling_resize: Annotated[
        Annotated[float, Meta(ge=0.1, le=8)] | None, Meta(description="Factor of enlargement")
    ] = 2.0
    upscaling_resize_w: Annotated[SideOrZero | None, Meta(description="Width in pixels")] = 512
    upscaling_resize_h: Annotated[SideOrZero | None, Meta(description="Height in pixels")] = 512
    upscaling_crop: Annotated[bool | None, Meta(description="Whether parts outside of the size are cut off")] = True
    upscaler_1: Annotated[Name | None, Meta(description="As GET upscalers lists it; None keeps the size")] = "None"
    upscaler_2: Annotated[Name | None, _NO_EFFECT] = "None"
    extras_upscaler_2_visibility: Annotated[float | None, _NO_EFFECT] = 0
    gfpgan_visibility: Annotated[float | None, _NO_EFFECT] = 0
    codeformer_visibility: Annotated[float | None, _NO_EFFECT] = 0
    codeformer_weight: NoEffect = 0
    upscale_first: NoEffect = False
    show_extras_results: NoEffect = True


class UpscaleRequest(Enlargement, kw_only=True):
    """`POST /sdapi/v1/extra-single-image`: an image, and how to enlarge it."""

    image: Annotated[str, Meta(description="Image to enlarge, as base64, a data: URL or a URL")]


class NamedImage(msgspec.Struct, kw_only=True):
    """One image of a batch."""

    data: Annotated[str, Meta(description="The image as base64, a data: URL or a URL")]
    name: Annotated[str, Meta(description="Its name, which has no effect")] = ""


class BatchUpscaleRequest(Enlargement, kw_only=True):
    """`POST /sdapi/v1/extra-batch-images`: images, and how to enlarge them."""

    imageList: Annotated[  # noqa: N815 - the web UI's name
        Annotated[
            list[NamedImage],
            Meta(description=f"a list of at most {MAX_ENLARGED} {{data, name}}", max_length=MAX_ENLARGED),
        ],
        Meta(description="Images to enlarge"),
    ]
