"""Response bodies of `/sdapi/v1`: what clients of the Stable Diffusion web UI read."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from msgspec import UNSET, Meta, UnsetType, field


class GenerationResponse(msgspec.Struct, kw_only=True):
    """Finished images, as base64 without a `data:` prefix; `info` is JSON in a string, a `GenerationInfo`."""

    images: Annotated[list[bytes], Meta(description="The files in base64")]
    parameters: Annotated[dict[str, Any], Meta(description="The request as the server understood it")]
    info: Annotated[str, Meta(description="JSON as text: seed, size, sampler and infotext of each image")]


class GenerationInfo(msgspec.Struct, kw_only=True):
    """How images were made; lists have one item for each of them."""

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


class JobState(msgspec.Struct, kw_only=True):
    """State of the current job; the defaults are those without a job."""

    skipped: Annotated[bool, Meta(description="Whether POST skip was received")] = False
    interrupted: Annotated[bool, Meta(description="Whether POST interrupt was received")] = False
    stopping_generation: Annotated[bool, Meta(description="false: an interrupted image stops at once")] = False
    job: Annotated[str, Meta(description="Name of the job; empty if there is none")] = ""
    job_count: Annotated[int, Meta(description="Number of parts of the job")] = 0
    job_timestamp: Annotated[str, Meta(description="When the job began, YYYYMMDDhhmmss")] = "0"
    job_no: Annotated[int, Meta(description="Number of finished parts")] = 0
    sampling_step: Annotated[int, Meta(description="Finished steps of the current part")] = 0
    sampling_steps: Annotated[int, Meta(description="Steps of the current part")] = 0


class JobProgress(msgspec.Struct, kw_only=True):
    """`GET /sdapi/v1/progress`: the finished share, 0 to 1, and the estimated seconds to the end."""

    progress: Annotated[float, Meta(description="Finished share, 0 to 1")] = 0.0
    eta_relative: Annotated[float, Meta(description="Estimated seconds to the end")] = 0.0
    state: Annotated[JobState, Meta(description="State of the current job")] = field(default_factory=JobState)
    current_image: Annotated[bytes | None, Meta(description="The newest preview in base64, or null")] = None
    textinfo: Annotated[str | None, Meta(description="Always null")] = None


class PngInfoResponse(msgspec.Struct, kw_only=True):
    """The infotext of an image, its other texts by key, and the infotext parsed."""

    info: Annotated[str, Meta(description="The infotext of the image; empty if it has none")]
    items: Annotated[dict[str, str], Meta(description="Other texts by key")]
    parameters: Annotated[dict[str, str], Meta(description="The parts of the infotext by name")]


class UpscaleResponse(msgspec.Struct, kw_only=True):
    """The enlarged image, and a description in HTML."""

    image: Annotated[bytes, Meta(description="The PNG file in base64")]
    html_info: Annotated[str, Meta(description="Description of the enlargement in HTML")]


class BatchUpscaleResponse(msgspec.Struct, kw_only=True):
    """The enlarged images, and a description in HTML."""

    images: Annotated[list[bytes], Meta(description="The PNG files in base64")]
    html_info: Annotated[str, Meta(description="Description of the enlargement in HTML")]


class FieldError(msgspec.Struct, kw_only=True):
    """One invalid field."""

    loc: Annotated[list[str], Meta(description="Place: body, and the field")]
    msg: Annotated[str, Meta(description="What is wrong")]
    type: Annotated[str, Meta(description="Kind of error")] = "value_error"


class WebUiError(msgspec.Struct, kw_only=True, omit_defaults=True):
    """What went wrong."""

    error: Annotated[str | UnsetType, Meta(description="Kind of error")] = UNSET
    detail: Annotated[str | list[FieldError], Meta(description="What went wrong; for invalid fields, a list of faults")]
    body: Annotated[str | UnsetType, Meta(description="Always empty")] = UNSET
    errors: Annotated[str | UnsetType, Meta(description="What went wrong, and what would be right")] = UNSET
