"""Build requests to the service from requests of the web UI's clients: a pure function, as a dialect's `parse`.

Absent fields are the model's own: steps, sampler, guidance, size. Zeros that clients send by default (`eta`, `hr_*`,
sides) count as absent. A field without effect is not an error: `ignored` names it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tintype.v1 import image_service_pb2 as pb
from tintype.v1.limits import MAX_COUNT, MAX_SIDE

from ..errors import InvalidValue
from .errors import NoSuchScript
from .prompts import parse_prompts
from .request_types import MAX_BATCH, ImageToImage, TextToImage
from .samplers import choose_sampler

if TYPE_CHECKING:
    from collections.abc import Mapping

NAMES = {
    "count": "batch_size",
    "guidance_scale": "cfg_scale",
    "sampler": "sampler_name",
    "schedule": "scheduler",
    "strength": "denoising_strength",
    "image": "init_images",
    "loras": "prompt",
    "embeddings": "prompt",
}
# Fields that are dropped if the model does not have them.
OPTIONAL = ("schedule", "prompt_weighting", "loras", "embeddings")
# A prompt that contains one of these has the web UI's syntax.
SYNTAX = ("(", "[", "\\", "BREAK", "AND")
ETA_SAMPLER = "ddim"  # the only sampler that takes `eta`; 1 has no effect on the others
STRENGTH = 0.75  # the web UI's default
MIME_TYPES = {"png": "image/png", "jpg": "image/jpeg", "jpeg": "image/jpeg", "webp": "image/webp"}

# Keys without effect. Empty, zero and the listed values are not reported: they change nothing in the web UI either.
NO_EFFECT: dict[str, tuple[Any, ...]] = {
    "styles": (),
    "restore_faces": (),
    "tiling": (),
    "subseed_strength": (),
    "seed_resize_from_h": (-1,),
    "seed_resize_from_w": (-1,),
    "s_churn": (),
    "s_min_uncond": (),
    "refiner_checkpoint": ("None",),
    "clip_skip": (1,),
    "distilled_cfg_scale": (3.5,),
    "firstphase_width": (),
    "firstphase_height": (),
    "latent_mask": (),
    "initial_noise_multiplier": (1,),
}
HIRES_NO_EFFECT: dict[str, tuple[Any, ...]] = {
    "hr_upscaler": ("Lanczos", "None"),
    "hr_checkpoint_name": ("Use same checkpoint",),
    "hr_sampler_name": ("Use same sampler",),
    "hr_scheduler": ("Use same scheduler", "Automatic"),
    "hr_prompt": (),
    "hr_negative_prompt": (),
}
SETTINGS_NO_EFFECT: dict[str, tuple[Any, ...]] = {
    "CLIP_stop_at_last_layers": (1,),
    "sd_vae": ("Automatic", "None"),
    "forge_additional_modules": (),
}
UNSUPPORTED_MODES: dict[str, dict[int, str]] = {
    "resize_mode": {3: "latent upscale"},
    "inpainting_fill": {2: "latent noise", 3: "latent nothing"},
}


@dataclass(frozen=True, slots=True)
class Hires:
    """A second pass from the first pass's image; sides in pixels.

    `steps` 0 means as many as the first pass, which has `earlier_steps`.
    """

    width: int
    height: int
    steps: int
    strength: float
    earlier_steps: int = 0


@dataclass(frozen=True, slots=True)
class BatchedRequest:
    """A request to the service, how many images each call makes, and the ignored keys with their values."""

    request: pb.GenerateImagesRequest
    batches: tuple[int, ...]
    hires: Hires | None = None
    ignored: dict[str, str] = field(default_factory=dict)

    @property
    def image_count(self) -> int:
        """Number of images to make, first passes included."""
        return sum(self.batches) * (2 if self.hires else 1)

    @property
    def call_count(self) -> int:
        """Number of calls to the service."""
        return len(self.batches) + (sum(self.batches) if self.hires else 0)


def build_request(
    body: TextToImage | ImageToImage, model: pb.Model, seed: int, max_images: int | None = None
) -> BatchedRequest:
    """Return the request for a model; `seed` is used if the client gives none.

    Raises BadRequest, also for more than `max_images` images.
    """
    _check_scripts(body)
    chosen = choose_sampler(model, body.sampler_name or str(body.sampler_index or ""), body.scheduler or "")
    prompts = parse_prompts(
        body.prompt or "", body.negative_prompt or "", model, apply_loras=not body.disable_extra_networks
    )
    takes_eta = (chosen.sampler or model.defaults.sampler) == ETA_SAMPLER
    request = pb.GenerateImagesRequest(
        model=model.name,
        prompt=prompts.prompt,
        negative_prompt=prompts.negative_prompt,
        width=body.width,
        height=body.height,
        steps=body.steps or None,
        guidance_scale=body.cfg_scale,
        sampler=chosen.sampler,
        schedule=chosen.schedule,
        eta=body.eta or None if takes_eta else None,
        seed=body.seed if body.seed is not None and body.seed >= 0 else seed,
        loras=prompts.loras,
        embeddings=prompts.embeddings,
        allow_empty_prompt=True,
        prompt_weighting=any(mark in f"{body.prompt} {body.negative_prompt}" for mark in SYNTAX),
        output=pb.OutputFormat(mime_type=_mime_type(body.override_settings or {})),
        strength=_strength(body) if isinstance(body, ImageToImage) else None,
    )
    unused = {"prompt": " ".join(prompts.unused)} if prompts.unused else {}
    eta = {} if takes_eta or body.eta in (None, 0, 1) else {"eta": f"{body.eta:g}"}
    ignored = {**chosen.ignored, **unused, **eta, **_ignored_fields(body, body.override_settings or {})}
    return BatchedRequest(request, _batch_sizes(body, max_images), _build_hires(body, model), ignored)


def _check_scripts(body: TextToImage | ImageToImage) -> None:
    """Raise NoSuchScript for scripts and extensions: without them, the image would be a different one."""
    if body.script_name:
        raise NoSuchScript("Script", body.script_name)
    for name in body.alwayson_scripts or ():
        raise NoSuchScript("Always on script", name)


def _batch_sizes(body: TextToImage | ImageToImage, max_images: int | None) -> tuple[int, ...]:
    """Return how many images each call makes. Raises InvalidValue if they are too many."""
    size, times = body.batch_size or 1, body.n_iter or 1
    bound = MAX_BATCH if max_images is None else min(MAX_BATCH, max_images)
    if size * times > bound:
        raise InvalidValue("n_iter", f"times 'batch_size' must be at most {bound}, not {size * times}")
    return tuple(min(MAX_COUNT, size - done) for _ in range(times) for done in range(0, size, MAX_COUNT))


def _strength(body: TextToImage | ImageToImage) -> float:
    return STRENGTH if body.denoising_strength is None else body.denoising_strength


def _mime_type(settings: Mapping[str, Any]) -> str:
    return MIME_TYPES.get(str(settings.get("samples_format", "png")).lower().lstrip("."), "image/png")


def _build_hires(body: TextToImage | ImageToImage, model: pb.Model) -> Hires | None:
    """Return the second pass of a request, if any; one side determines the other. Raises InvalidValue."""
    if not isinstance(body, TextToImage) or not body.enable_hr:
        return None
    width, height = body.width or model.defaults.width, body.height or model.defaults.height
    x, y = body.hr_resize_x or 0, body.hr_resize_y or 0
    scale = x / width if x else y / height if y else body.hr_scale or 2.0
    steps = body.hr_second_pass_steps or 0
    sides = (x or round(width * scale), y or round(height * scale))
    if max(sides) > MAX_SIDE:
        key = "hr_resize_x" if x else "hr_resize_y" if y else "hr_scale"
        raise InvalidValue(key, f"must give sides of at most {MAX_SIDE} pixels, not {sides[0]}x{sides[1]}")
    return Hires(*sides, steps, _strength(body), body.steps or model.defaults.steps)


def _ignored_fields(body: TextToImage | ImageToImage, settings: Mapping[str, Any]) -> dict[str, str]:
    keys = NO_EFFECT | (HIRES_NO_EFFECT if isinstance(body, TextToImage) and body.enable_hr else {})
    values = {key: getattr(body, key, None) for key in keys}
    ignored = {key: _format_note(value) for key, value in values.items() if value and value not in keys[key]}
    ignored |= {
        f"override_settings.{key}": _format_note(settings[key])
        for key, harmless in SETTINGS_NO_EFFECT.items()
        if settings.get(key) and settings[key] not in harmless
    }
    if not isinstance(body, ImageToImage):
        return ignored
    ignored |= {
        key: names[getattr(body, key)] for key, names in UNSUPPORTED_MODES.items() if getattr(body, key) in names
    }
    return ignored | ({"init_images": "all but the first"} if len(body.init_images or ()) > 1 else {})


def _format_note(value: Any) -> str:
    """Return the value of an ignored key for a note, shortened; empty for lists, objects and true."""
    return str(value)[:80] if isinstance(value, (str, int, float)) and value is not True else ""
