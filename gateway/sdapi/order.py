"""From what a client of the web UI asks for to what the service is asked: a pure function, as a dialect's `parse`.

What is left out is the model's own: steps, sampler, guidance, size. Zeros that clients send by themselves (`eta`,
`hr_*`, sides) count as left out. What has no effect is no error: it is named in `ignored`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tintype.v1 import image_service_pb2 as pb

from ..errors import InvalidValue
from .errors import NoSuchScript
from .samplers import choose
from .types import MAX_BATCH, ImageToImage, TextToImage

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

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
# Fields that are asked without where the model has no such thing.
WISHES = ("schedule", "prompt_weighting", "loras", "embeddings")
MAX_COUNT = 10  # pictures of one call, the contract's limit
MAX_LORAS = 8
MAX_EMBEDDINGS = 8
MAX_SIDE = 4096  # pixels
MAX_SEED = 2**63 - 1
# What says that a prompt has the web UI's syntax.
SYNTAX = ("(", "[", "\\", "BREAK", "AND")
OF_ETA = "ddim"  # the sampler that `eta` is of; with others 1 is what they do anyway
STRENGTH = 0.75  # the web UI's
MIME_TYPES = {"png": "image/png", "jpg": "image/jpeg", "jpeg": "image/jpeg", "webp": "image/webp"}

# Keys without effect, and the values, beside nothing and zero, with which nobody misses one.
WITHOUT_EFFECT: dict[str, tuple[Any, ...]] = {
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
OF_HIRES: dict[str, tuple[Any, ...]] = {
    "hr_upscaler": ("Lanczos", "None"),
    "hr_checkpoint_name": ("Use same checkpoint",),
    "hr_sampler_name": ("Use same sampler",),
    "hr_scheduler": ("Use same scheduler", "Automatic"),
    "hr_prompt": (),
    "hr_negative_prompt": (),
}
SETTINGS: dict[str, tuple[Any, ...]] = {
    "CLIP_stop_at_last_layers": (1,),
    "sd_vae": ("Automatic", "None"),
    "forge_additional_modules": (),
}
OF_PICTURES: dict[str, dict[int, str]] = {
    "resize_mode": {3: "latent upscale"},
    "inpainting_fill": {2: "latent noise", 3: "latent nothing"},
}
_AND = re.compile(r"\bAND\b")
# No part goes beyond the next `<`, so that each character is read a bounded number of times.
_NETWORK = re.compile(r"<(\w+):([^<:>]+)(?::([^<>]*))?>")

_WORD = re.compile(r"\w")


@dataclass(frozen=True, slots=True)
class Hires:
    """A second pass from the first one's image, in pixels.

    `steps` 0 means as many as the `earlier` pass made.
    """

    width: int
    height: int
    steps: int
    strength: float
    earlier: int = 0


@dataclass(frozen=True, slots=True)
class Order:
    """Pictures to be made: what all have in common, how many at a time, and what is left out by key, with its value."""

    request: pb.GenerateImagesRequest
    batches: tuple[int, ...]
    hires: Hires | None = None
    ignored: dict[str, str] = field(default_factory=dict)

    @property
    def drawn(self) -> int:
        """Pictures that are drawn, those of first passes included."""
        return sum(self.batches) * (2 if self.hires else 1)

    @property
    def parts(self) -> int:
        """Calls of the service that it takes."""
        return len(self.batches) + (sum(self.batches) if self.hires else 0)


def order(asked: TextToImage | ImageToImage, model: pb.Model, seed: int, most: int | None = None) -> Order:
    """Return what is asked of a model; `seed` counts where the client has none.

    Raises BadRequest, also where that is more than `most` pictures.
    """
    _refuse(asked)
    chosen = choose(model, asked.sampler_name or str(asked.sampler_index or ""), asked.scheduler or "")
    prompt, loras, unknown = _networks(asked.prompt or "", model.loras, apply=not asked.disable_extra_networks)
    prompts, embeddings, more = _embeddings([prompt, asked.negative_prompt or ""], model.embeddings)
    settings, sampler = asked.override_settings or {}, chosen.sampler or model.defaults.sampler
    request = pb.GenerateImagesRequest(
        model=model.name,
        prompt=prompts[0],
        negative_prompt=prompts[1],
        width=asked.width,
        height=asked.height,
        steps=asked.steps or None,
        guidance_scale=asked.cfg_scale,
        sampler=chosen.sampler,
        schedule=chosen.schedule,
        eta=asked.eta or None if sampler == OF_ETA else None,
        seed=asked.seed if asked.seed is not None and asked.seed >= 0 else seed,
        loras=loras,
        embeddings=embeddings,
        allow_empty_prompt=True,
        prompt_weighting=any(mark in f"{asked.prompt} {asked.negative_prompt}" for mark in SYNTAX),
        output=pb.OutputFormat(mime_type=_mime_type(settings)),
    )
    if isinstance(asked, ImageToImage):
        request.strength = STRENGTH if asked.denoising_strength is None else asked.denoising_strength
    eta = {"eta": f"{asked.eta:g}"} if asked.eta not in (None, 0, 1) and sampler != OF_ETA else {}
    unknown = {"prompt": " ".join([*unknown.values(), *more])} if unknown or more else {}
    ignored = {**chosen.ignored, **unknown, **eta, **_without_effect(asked, settings)}
    return Order(request, _batches(asked, most), _hires(asked, model), ignored)


def _refuse(asked: TextToImage | ImageToImage) -> None:
    """Say what can't be left out in silence: a picture without it would be another one."""
    if asked.script_name:
        raise NoSuchScript("Script", asked.script_name)
    for name in asked.alwayson_scripts or ():
        raise NoSuchScript("Always on script", name)


def _batches(asked: TextToImage | ImageToImage, most: int | None) -> tuple[int, ...]:
    """Return how many pictures are made at a time. Raises InvalidValue where they are too many."""
    size, times = asked.batch_size or 1, asked.n_iter or 1
    bound = MAX_BATCH if most is None else min(MAX_BATCH, most)
    if size * times > bound:
        raise InvalidValue("n_iter", f"times 'batch_size' must be at most {bound}, not {size * times}")
    return tuple(min(MAX_COUNT, size - done) for _ in range(times) for done in range(0, size, MAX_COUNT))


def _networks(prompt: str, known: Iterable[str], *, apply: bool) -> tuple[str, list[pb.Lora], dict[str, str]]:
    """Return a prompt without `<lora:name:weight>`, and its adapters.

    The result is the prompt, the adapters that the model has, and what has no effect, by key. The service reads AND,
    with which the web UI composes prompts, as a comma.
    """
    names = {name.lower(): name for name in known}
    loras: list[pb.Lora] = []
    unknown: list[str] = []
    for kind, name, weight in _NETWORK.findall(prompt) if apply else ():
        found = names.get(name.strip().lower()) if kind.lower() == "lora" else None
        if found is None or len(loras) == MAX_LORAS:
            unknown.append(f"{kind}:{name}")
        else:
            loras.append(pb.Lora(name=found, weight=_weight(weight)))
    prompt = _NETWORK.sub("", prompt).strip()
    unknown += ["AND"] if _AND.search(prompt) else []
    return prompt, loras, {"prompt": " ".join(unknown)} if unknown else {}


def _embeddings(prompts: Sequence[str], known: Iterable[str]) -> tuple[list[str], list[str], list[str]]:
    """Choose the embeddings whose names occur in the prompts as words.

    Upper and lower case count as equal, as in the web UI. Returns the prompts with the names as the model spells them,
    what is chosen, and what is beyond `MAX_EMBEDDINGS`. The longest names come first.
    """
    made, chosen, more = list(prompts), list[str](), list[str]()
    folded = [_folded(prompt) for prompt in prompts]
    for name in sorted(known, key=lambda name: (-len(name), name)):
        places = [[*_places(text, _folded(name))] for text in folded]
        if not any(places):
            continue
        if len(chosen) == MAX_EMBEDDINGS:
            more.append(f"embedding:{name}")
            continue
        chosen.append(name)
        made = [_respelled(prompt, name, at) for prompt, at in zip(made, places, strict=True)]
    return made, chosen, more


def _places(text: str, name: str) -> Iterator[int]:
    """Yield where a name stands as a word.

    No character is looked at more than a few times.
    """
    at = text.find(name)
    while at >= 0:
        end = at + len(name)
        if not (_joined(text[at - 1 : at] if at else "", name[0]) or _joined(name[-1], text[end : end + 1])):
            yield at
        at = text.find(name, end)


def _joined(left: str, right: str) -> bool:
    """Whether two neighbours are of one word."""
    return bool(_WORD.match(left) and _WORD.match(right))


def _folded(text: str) -> str:
    """Return a text in lower case, of the same length.

    A letter whose lower case is longer stays.
    """
    return "".join(low if len(low := letter.lower()) == 1 else letter for letter in text)


def _respelled(prompt: str, name: str, places: Iterable[int]) -> str:
    parts, end = list[str](), 0
    for at in places:
        parts += [prompt[end:at], name]
        end = at + len(name)
    return "".join([*parts, prompt[end:]])


def _weight(text: str) -> float:
    try:
        return float(text.partition(":")[0] or 1)
    except ValueError:
        return 1.0


def _mime_type(settings: Mapping[str, Any]) -> str:
    return MIME_TYPES.get(str(settings.get("samples_format", "png")).lower().lstrip("."), "image/png")


def _hires(asked: TextToImage | ImageToImage, model: pb.Model) -> Hires | None:
    """Return the second pass that is asked for; one side that is given decides on the other. Raises InvalidValue."""
    if not isinstance(asked, TextToImage) or not asked.enable_hr:
        return None
    width, height = asked.width or model.defaults.width, asked.height or model.defaults.height
    x, y = asked.hr_resize_x or 0, asked.hr_resize_y or 0
    scale = x / width if x else y / height if y else asked.hr_scale or 2.0
    strength = STRENGTH if asked.denoising_strength is None else asked.denoising_strength
    steps = asked.hr_second_pass_steps or 0
    sides = (x or round(width * scale), y or round(height * scale))
    if max(sides) > MAX_SIDE:
        key = "hr_resize_x" if x else "hr_resize_y" if y else "hr_scale"
        raise InvalidValue(key, f"makes {sides[0]}x{sides[1]} pixels, and a side has at most {MAX_SIDE}")
    return Hires(*sides, steps, strength, asked.steps or model.defaults.steps)


def _without_effect(asked: TextToImage | ImageToImage, settings: Mapping[str, Any]) -> dict[str, str]:
    keys = WITHOUT_EFFECT | (OF_HIRES if isinstance(asked, TextToImage) and asked.enable_hr else {})
    wanted = {key: getattr(asked, key, None) for key in keys}
    missed = {key: _said(value) for key, value in wanted.items() if value and value not in keys[key]}
    missed |= {
        f"override_settings.{key}": _said(settings[key])
        for key, harmless in SETTINGS.items()
        if settings.get(key) and settings[key] not in harmless
    }
    if not isinstance(asked, ImageToImage):
        return missed
    missed |= {key: words[getattr(asked, key)] for key, words in OF_PICTURES.items() if getattr(asked, key) in words}
    return missed | ({"init_images": "all but the first"} if len(asked.init_images or ()) > 1 else {})


def _said(value: Any) -> str:
    """Return a value as a note repeats it; what is long or has parts is left out."""
    return str(value)[:80] if isinstance(value, (str, int, float)) and value is not True else ""
