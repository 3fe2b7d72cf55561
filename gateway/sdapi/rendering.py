"""From finished pictures to the web UI's answer: pure functions, as a dialect's `render`.

Each picture's infotext is what the service has written into its file. What had no effect is added as the setting
`Ignored`, in the file as well where that is a PNG: both say the same.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from tintype.v1 import image_service_pb2 as pb

from .filetext import KEY, texts, written
from .infotext import with_setting
from .samplers import label
from .types import ImageToImage, Info, Pictures

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from .order import Order
    from .types import TextToImage


def told(image: pb.Image, order: Order, settings: Mapping[str, str]) -> str:
    """Return a picture's infotext with `settings`, and put it into its file."""
    found = texts(image.data).get(KEY)
    text = with_setting(found or _short(image, order), settings)
    if text != found:
        image.data = written(image.data, text)
    return text


def settings(order: Order, dropped: Mapping[str, str]) -> dict[str, str]:
    """Return what is added to the infotext: a second pass, and what had no effect, `dropped` included."""
    ignored = {**order.ignored, **dropped}
    notes = {"Ignored": "; ".join(f"{key} {value}".strip() for key, value in ignored.items())} if ignored else {}
    hires = order.hires
    first = {"Hires resize": f"{hires.width}x{hires.height}", "Hires upscaler": "Lanczos"} if hires else {}
    return first | notes


def render(
    asked: TextToImage | ImageToImage,
    order: Order,
    model: pb.Model,
    images: Sequence[pb.Image],
    infotexts: Sequence[str],
    more: Mapping[str, str],
    stamp: str,
) -> Pictures:
    """Return the answer; `infotexts` has one for each of `images`, `more` are the settings that were added."""
    echo: dict[str, Any] = msgspec.to_builtins(asked)
    if isinstance(asked, ImageToImage) and not asked.include_init_images:
        echo |= {"init_images": None, "mask": None}
    info = _info(asked, order, model, images, infotexts, more, stamp)
    shown = [image.data for image in images] if asked.send_images is not False else []
    return Pictures(images=shown, parameters=echo, info=msgspec.json.encode(info).decode())


def _info(
    asked: TextToImage | ImageToImage,
    order: Order,
    model: pb.Model,
    images: Sequence[pb.Image],
    infotexts: Sequence[str],
    more: Mapping[str, str],
    stamp: str,
) -> Info:
    made, defaults, count = order.request, model.defaults, len(images)
    prompt, negative_prompt = asked.prompt or "", asked.negative_prompt or ""
    first = images[0] if images else pb.Image(seed=made.seed, width=made.width, height=made.height)
    return Info(
        prompt=prompt,
        all_prompts=[prompt] * count,
        negative_prompt=negative_prompt,
        all_negative_prompts=[negative_prompt] * count,
        seed=first.seed,
        all_seeds=[image.seed for image in images],
        all_subseeds=[-1] * count,
        width=first.width,
        height=first.height,
        sampler_name=label(made.sampler or defaults.sampler),
        cfg_scale=made.guidance_scale if made.HasField("guidance_scale") else defaults.guidance_scale,
        steps=made.steps or defaults.steps,
        batch_size=asked.batch_size or 1,
        sd_model_name=model.name,
        denoising_strength=_strength(order),
        extra_generation_params=dict(more),
        infotexts=list(infotexts),
        job_timestamp=stamp,
    )


def _strength(order: Order) -> float | None:
    if order.hires:
        return order.hires.strength
    return order.request.strength if order.request.HasField("strength") else None


def _short(image: pb.Image, order: Order) -> str:
    """Return what is known for certain of a picture whose file says nothing."""
    asked = order.request
    negative = f"\nNegative prompt: {asked.negative_prompt}" if asked.negative_prompt else ""
    steps = f"Steps: {asked.steps}, " if asked.steps else ""
    settings = f"{steps}Seed: {image.seed}, Size: {image.width}x{image.height}, Version: tintype"
    return f"{asked.prompt}{negative}\n{settings}".lstrip("\n")
