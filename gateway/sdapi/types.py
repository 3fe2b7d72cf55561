"""The JSON of `/sdapi/v1`: what the Stable Diffusion web UI's clients send, and what they read.

Every field of a request may be missing or null; keys that are not here are passed over. Fields without effect are
`Any`: whatever a client has there is no reason to refuse it. Numbers may come as text, and whole ones as `512.0`, or
even `512.4`: the web UI cuts the rest off.
"""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from msgspec import Meta, field

MAX_BATCH = 100  # pictures of one request

Side = Annotated[int, Meta(ge=0, le=4096)]  # pixels; 0 is "not said"
Steps = Annotated[int, Meta(ge=0, le=150)]  # 0 is "not said"
Seed = Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]  # below 0 is "any"
Batch = Annotated[int, Meta(ge=1, le=MAX_BATCH)]
Prompt = Annotated[str, Meta(max_length=32_000)]
Name = Annotated[str, Meta(max_length=256)]  # of a sampler, a schedule, an upscaler, a script


class Request(msgspec.Struct, kw_only=True):
    """What both kinds of requests for pictures have."""

    prompt: Prompt | None = ""
    negative_prompt: Prompt | None = ""
    styles: Any = None
    seed: Seed | None = -1
    subseed: Any = -1
    subseed_strength: Any = 0
    seed_resize_from_h: Any = -1
    seed_resize_from_w: Any = -1
    sampler_name: Name | None = None
    sampler_index: Name | int | None = None
    scheduler: Name | None = None
    batch_size: Batch | None = 1
    n_iter: Batch | None = 1
    steps: Steps | None = None
    cfg_scale: float | None = None
    distilled_cfg_scale: Any = None
    width: Side | None = None
    height: Side | None = None
    restore_faces: Any = None
    tiling: Any = None
    do_not_save_samples: Any = False
    do_not_save_grid: Any = False
    eta: float | None = None
    denoising_strength: float | None = None
    s_min_uncond: Any = None
    s_churn: Any = None
    s_tmax: Any = None
    s_tmin: Any = None
    s_noise: Any = None
    clip_skip: int | None = None
    override_settings: dict[str, Any] | None = field(default_factory=dict)
    override_settings_restore_afterwards: bool | None = True
    refiner_checkpoint: Any = None
    refiner_switch_at: Any = None
    disable_extra_networks: bool | None = False
    comments: Any = None
    script_name: Name | None = None
    script_args: Any = field(default_factory=list)
    alwayson_scripts: dict[str, Any] | None = field(default_factory=dict)
    send_images: bool | None = True
    save_images: Any = False
    force_task_id: Any = None
    infotext: Any = None


class TextToImage(Request, kw_only=True):
    """`POST /sdapi/v1/txt2img`."""

    enable_hr: bool | None = False
    firstphase_width: Any = 0
    firstphase_height: Any = 0
    hr_scale: Annotated[float, Meta(ge=0, le=256)] | None = 2.0
    hr_upscaler: Name | None = None
    hr_second_pass_steps: Steps | None = 0
    hr_resize_x: Side | None = 0
    hr_resize_y: Side | None = 0
    hr_checkpoint_name: Any = None
    hr_sampler_name: Any = None
    hr_scheduler: Any = None
    hr_prompt: Any = ""
    hr_negative_prompt: Any = ""


class ImageToImage(Request, kw_only=True):
    """`POST /sdapi/v1/img2img`."""

    init_images: list[str] | None = None
    resize_mode: int | None = 0
    mask: str | None = None
    mask_blur: Annotated[int, Meta(ge=0, le=64)] | None = None
    mask_blur_x: Annotated[int, Meta(ge=0, le=64)] | None = None
    mask_blur_y: Annotated[int, Meta(ge=0, le=64)] | None = None
    inpainting_fill: int | None = 0
    inpaint_full_res: bool | None = True
    inpaint_full_res_padding: Annotated[int, Meta(ge=0, le=4096)] | None = 0
    inpainting_mask_invert: int | None = 0
    mask_round: Any = True
    initial_noise_multiplier: Any = None
    image_cfg_scale: Any = None
    latent_mask: Any = None
    include_init_images: bool | None = False


class Pictures(msgspec.Struct, kw_only=True):
    """Finished pictures, as base64 without a `data:` prefix; `info` is JSON in a string, an `Info`."""

    images: list[bytes]
    parameters: dict[str, Any]
    info: str


class Info(msgspec.Struct, kw_only=True):
    """How pictures were made; lists have an item for each of them."""

    prompt: str
    all_prompts: list[str]
    negative_prompt: str
    all_negative_prompts: list[str]
    seed: int
    all_seeds: list[int]
    subseed: int = -1
    all_subseeds: list[int]
    subseed_strength: float = 0
    width: int
    height: int
    sampler_name: str
    cfg_scale: float
    steps: int
    batch_size: int
    restore_faces: bool = False
    face_restoration_model: str | None = None
    sd_model_name: str
    sd_model_hash: str | None = None
    sd_vae_name: str | None = None
    sd_vae_hash: str | None = None
    seed_resize_from_w: int = -1
    seed_resize_from_h: int = -1
    denoising_strength: float | None = None
    extra_generation_params: dict[str, str]
    index_of_first_image: int = 0
    infotexts: list[str]
    styles: list[str] = field(default_factory=list)
    job_timestamp: str
    clip_skip: int = 1
    is_using_inpainting_conditioning: bool = False
    version: str = "tintype"


class State(msgspec.Struct, kw_only=True):
    """What is being made; idle as it stands here."""

    skipped: bool = False
    interrupted: bool = False
    stopping_generation: bool = False
    job: str = ""
    job_count: int = 0
    job_timestamp: str = "0"
    job_no: int = 0
    sampling_step: int = 0
    sampling_steps: int = 0


class Progress(msgspec.Struct, kw_only=True):
    """`GET /sdapi/v1/progress`: the share done, 0 to 1, and seconds to the end."""

    progress: float = 0.0
    eta_relative: float = 0.0
    state: State = field(default_factory=State)
    current_image: bytes | None = None
    textinfo: str | None = None


class ImageOnly(msgspec.Struct, kw_only=True):
    """`POST /sdapi/v1/png-info`, and others that take a picture."""

    image: str


class PngInfo(msgspec.Struct, kw_only=True):
    """The text in a picture, other texts by key, and the text taken apart."""

    info: str
    items: dict[str, str]
    parameters: dict[str, str]


class Extra(msgspec.Struct, kw_only=True):
    """`POST /sdapi/v1/extra-single-image`: enlarge by a factor (`resize_mode` 0), or to a size (1)."""

    image: str
    resize_mode: Annotated[int, Meta(ge=0, le=1)] | None = 0
    upscaling_resize: Annotated[float, Meta(ge=0.1, le=8)] | None = 2.0
    upscaling_resize_w: Side | None = 512
    upscaling_resize_h: Side | None = 512
    upscaling_crop: bool | None = True
    upscaler_1: Name | None = "None"
    upscaler_2: Name | None = "None"
    extras_upscaler_2_visibility: float | None = 0
    gfpgan_visibility: float | None = 0
    codeformer_visibility: float | None = 0
    codeformer_weight: Any = 0
    upscale_first: Any = False
    show_extras_results: Any = True


class Enlarged(msgspec.Struct, kw_only=True):
    """The picture, and what was done, as HTML."""

    image: bytes
    html_info: str
