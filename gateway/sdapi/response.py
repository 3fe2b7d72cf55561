"""Render finished images as the web UI's response: pure functions, as a dialect's `render`.

The infotext of an image is the one that the service wrote into its file. Ignored keys are added as the setting
`Ignored`, in the response and, if the file is a PNG, in the file.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import structs

from tintype.v1 import image_service_pb2 as pb
from tintype.v1.image_texts import KEY, read_texts

from .controlnet.units import without_images
from .from_webui import clip_layer
from .infotext import add_settings, write_infotext
from .request_types import ImageToImage
from .response_types import GenerationInfo, GenerationResponse
from .samplers import label

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from .from_webui import BatchedRequest
    from .request_types import TextToImage


def add_infotext(image: pb.Image, batched: BatchedRequest, settings: Mapping[str, str]) -> str:
    """Return an image's infotext with `settings` added, and write it into the image's file."""
    found = read_texts(image.data).get(KEY)
    text = add_settings(found or _minimal_infotext(image, batched), settings)
    if text != found:
        image.data = write_infotext(image.data, text)
    return text


def added_settings(batched: BatchedRequest, dropped: Mapping[str, str]) -> dict[str, str]:
    """Return the settings to add to infotexts: the second pass, and the ignored keys with `dropped`."""
    ignored = {**batched.ignored, **dropped}
    notes = {"Ignored": "; ".join(f"{key} {value}".strip() for key, value in ignored.items())} if ignored else {}
    hires = batched.hires
    second_pass = {"Hires resize": f"{hires.width}x{hires.height}", "Hires upscaler": "Lanczos"} if hires else {}
    return second_pass | notes


def render(
    body: TextToImage | ImageToImage,
    batched: BatchedRequest,
    model: pb.Model,
    images: Sequence[pb.Image],
    infotexts: Sequence[str],
    added: Mapping[str, str],
    stamp: str,
) -> GenerationResponse:
    """Return the response; `infotexts` has one text for each of `images`, `added` are the settings that it adds."""
    echo: dict[str, Any] = msgspec.to_builtins(structs.replace(body, alwayson_scripts=None))
    echo["alwayson_scripts"] = without_images(body.alwayson_scripts)
    if isinstance(body, ImageToImage) and not body.include_init_images:
        echo |= {"init_images": None, "mask": None}
    info = _render_info(body, batched, model, images, infotexts, added, stamp)
    files = [image.data for image in images] if body.send_images is not False else []
    return GenerationResponse(images=files, parameters=echo, info=msgspec.json.encode(info).decode())


def _render_info(
    body: TextToImage | ImageToImage,
    batched: BatchedRequest,
    model: pb.Model,
    images: Sequence[pb.Image],
    infotexts: Sequence[str],
    added: Mapping[str, str],
    stamp: str,
) -> GenerationInfo:
    request, defaults, count = batched.request, model.defaults, len(images)
    prompt, negative_prompt = body.prompt or "", body.negative_prompt or ""
    first = images[0] if images else pb.Image(seed=request.seed, width=request.width, height=request.height)
    return GenerationInfo(
        prompt=prompt,
        all_prompts=[prompt] * count,
        negative_prompt=negative_prompt,
        all_negative_prompts=[negative_prompt] * count,
        seed=first.seed,
        all_seeds=[image.seed for image in images],
        all_subseeds=[-1] * count,
        width=first.width,
        height=first.height,
        sampler_name=label(request.sampler or defaults.sampler),
        cfg_scale=request.guidance_scale if request.HasField("guidance_scale") else defaults.guidance_scale,
        steps=request.steps or defaults.steps,
        batch_size=body.batch_size or 1,
        sd_model_name=model.name,
        clip_skip=clip_layer(body) if model.clip_layer else 1,
        denoising_strength=_strength(batched),
        extra_generation_params=dict(added),
        infotexts=list(infotexts),
        job_timestamp=stamp,
    )


def _strength(batched: BatchedRequest) -> float | None:
    if batched.hires:
        return batched.hires.strength
    return batched.request.strength if batched.request.HasField("strength") else None


def _minimal_infotext(image: pb.Image, batched: BatchedRequest) -> str:
    """Return an infotext of the settings that are known, for an image whose file has none."""
    request = batched.request
    negative = f"\nNegative prompt: {request.negative_prompt}" if request.negative_prompt else ""
    steps = f"Steps: {request.steps}, " if request.steps else ""
    settings = f"{steps}Seed: {image.seed}, Size: {image.width}x{image.height}, Version: tintype"
    return f"{request.prompt}{negative}\n{settings}".lstrip("\n")
