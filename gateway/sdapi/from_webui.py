"""Build requests to the service from requests of the web UI's clients: a pure function, as a dialect's `parse`.

Absent fields are the model's own: steps, sampler, guidance, size. Zeros that clients send by default (`eta`, `hr_*`,
sides) count as absent. A field without effect is not an error: `ignored` names it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tintype.v1 import image_service_pb2 as pb
from tintype.v1.limits import MAX_COUNT, MAX_SIDE, RANGES

from ..errors import InvalidValue
from .controlnet.units import NO_UNITS, ControlUnits, parse_units
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
    "references": "init_images",
    "loras": "prompt",
    "embeddings": "prompt",
}
# Fields that are dropped if the model does not have them.
OPTIONAL = ("schedule", "prompt_weighting", "loras", "embeddings")
# A prompt that contains one of these has the web UI's syntax.
SYNTAX = ("(", "[", "\\", "BREAK", "AND")
ETA_SAMPLER = "ddim"  # the only sampler that takes `eta`; 1 has no effect on the others
STRENGTH = 0.75  # the web UI's default
CLIP_LAYERS = "CLIP_stop_at_last_layers"  # the setting for requests without `clip_skip`
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
class InitImages:
    """The initial images as sent: the one to start from, if any, those to edit, and how many are not used."""

    start: str = ""
    references: tuple[str, ...] = ()
    unused: int = 0

    @property
    def named(self) -> dict[str, tuple[str, str]]:
        """The client's name and the source of each image to edit, by place in the contract."""
        first = 1 if self.start else 0
        return {f"references[{k}]": (f"init_images[{first + k}]", one) for k, one in enumerate(self.references)}


@dataclass(frozen=True, slots=True)
class BatchedRequest:
    """A request to the service, how many images each call makes, and the ignored keys with their values.

    `init_images` and `units` are images that the request does not have yet.
    """

    request: pb.GenerateImagesRequest
    batches: tuple[int, ...]
    hires: Hires | None = None
    init_images: InitImages = InitImages()
    units: ControlUnits = NO_UNITS
    ignored: dict[str, str] = field(default_factory=dict)

    @property
    def names(self) -> dict[str, str]:
        """The client's names of fields of the contract."""
        references = {place: key for place, (key, _) in self.init_images.named.items()}
        return NAMES | references | self.units.names

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
    _check_script(body)
    init_images = place_init_images(body, model)
    hires = _build_hires(body, model)
    first = (body.init_images or [""])[0] if isinstance(body, ImageToImage) else ""
    units = parse_units(body.alwayson_scripts, model, init_image=first, hires=hires is not None)
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
        strength=_strength(body) if init_images.start else None,
        controls=units.controls,
        image_prompts=units.image_prompts,
        clip_skip=_clip_skip(body, model),
    )
    unused = {"prompt": " ".join(prompts.unused)} if prompts.unused else {}
    eta = {} if takes_eta or body.eta in (None, 0, 1) else {"eta": f"{body.eta:g}"}
    ignored = {**chosen.ignored, **unused, **eta, **_ignored_fields(body, body.override_settings or {})}
    ignored |= {**_ignored_clip_skip(body, model), **_ignored_images(body, init_images), **units.ignored}
    return BatchedRequest(request, _batch_sizes(body, max_images), hires, init_images, units, ignored)


def _check_script(body: TextToImage | ImageToImage) -> None:
    """Raise NoSuchScript for a script: without it, the image would be a different one."""
    if body.script_name:
        raise NoSuchScript("Script", body.script_name)


def place_init_images(body: TextToImage | ImageToImage, model: pb.Model) -> InitImages:
    """Return which initial images a model starts from, and which it edits.

    At strength 1 nothing of the image remains, so a model that edits gets it as an image to edit.
    """
    if not isinstance(body, ImageToImage):
        return InitImages()
    images = tuple(body.init_images or ())
    starts = body.mask or not model.max_references or (model.image_to_image and _strength(body) < 1)
    rest = images[1:] if starts else images
    references = rest[: model.max_references]
    return InitImages(images[0] if starts and images else "", references, len(rest) - len(references))


def _ignored_images(body: TextToImage | ImageToImage, init_images: InitImages) -> dict[str, str]:
    """Return the ignored keys of `img2img` that depend on what becomes of the initial images."""
    if not isinstance(body, ImageToImage):
        return {}
    used = len(body.init_images or ()) - init_images.unused
    unused = {"init_images": f"all but the first {used}" if used > 1 else "all but the first"}
    strength = {}
    if not (init_images.start or body.denoising_strength in (None, 1)):
        strength = {"denoising_strength": f"{body.denoising_strength:g}"}
    return (unused if init_images.unused else {}) | strength


def clip_layer(body: TextToImage | ImageToImage) -> int:
    """Return the layer of CLIP that a request names, counted from the end, beginning with 1."""
    setting = (body.override_settings or {}).get(CLIP_LAYERS)
    number = setting if body.clip_skip is None and isinstance(setting, int | float) else body.clip_skip
    return max(1, int(number or 1))


def _clip_skip(body: TextToImage | ImageToImage, model: pb.Model) -> int | None:
    """Return how many layers of CLIP to leave out beyond those that the model leaves out itself.

    As in the web UI, numbers up to the layer that the model reads have no effect.
    """
    more = min(clip_layer(body) - model.clip_layer, int(RANGES["clip_skip"][1]))
    return more if more > 0 and model.clip_layer else None


def _ignored_clip_skip(body: TextToImage | ImageToImage, model: pb.Model) -> dict[str, str]:
    """Return the keys of a layer of CLIP without effect: not a number, overridden, or of a model without layers."""
    key, setting = f"override_settings.{CLIP_LAYERS}", (body.override_settings or {}).get(CLIP_LAYERS)
    without_effect = body.clip_skip is not None or not isinstance(setting, int | float)
    ignored = {key: _format_note(setting)} if without_effect and setting not in (None, 1, body.clip_skip) else {}
    if model.clip_layer or clip_layer(body) == 1:
        return ignored
    return ignored | {key if body.clip_skip is None else "clip_skip": str(clip_layer(body))}


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
    modes = UNSUPPORTED_MODES.items()
    return ignored | {key: names[getattr(body, key)] for key, names in modes if getattr(body, key) in names}


def _format_note(value: Any) -> str:
    """Return the value of an ignored key for a note, shortened; empty for lists, objects and true."""
    return str(value)[:80] if isinstance(value, (str, int, float)) and value is not True else ""
