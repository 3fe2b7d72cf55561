"""A plan: all that is known of a job's work before its first call, its choices filled in from the model's own.

What counts, from strong to weak: the request's field, the preset of `quality`, the preset of `style`, the model's
default.
"""

from __future__ import annotations

import secrets
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ..errors import InvalidField, Unsupported
from ..job import MAX_SEED
from ..models.model import Prompt
from ..models.spec import IMAGE_TO_IMAGE, INPAINTING, TEXT_TO_IMAGE, Guidance
from ..models.text import prompt_editing, prompt_weights
from ..models.text.embeddings import advice
from ..models.text.prompt_weights import Malformed
from .sampling import effective_strength, make_sampling
from .sizes import native_size

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from ..images.source import Source
    from ..job import Job
    from ..models.spec import ModelSpec, Preset
    from ..models.text.prompt_editing import Items, Texts
    from ..numerics import Table

LatentShape = tuple[int, int, int]
BatchKey = tuple[str, LatentShape]  # the model and the shape of latents: what images that share a call have in common

# Fields that take a capability of the model.
NEEDS = {"image": {IMAGE_TO_IMAGE, INPAINTING}, "mask": {INPAINTING}}


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What will be made: sizes in pixels as the model makes them, latents of `shape` [c, h, w] for each seed.

    `output_size` is the size of the answer. `revised_prompt` is what `prompt` is when a preset changed it, else empty.
    `texts` are what prompt and negative prompt are at each step: several where they change on the way. Without a
    `source` to start from, `strength` is None. `skipped` of the `steps` are left out at the noisy end. All of them are
    left out only where the strength is 0: then the source itself is the result, and `table` has no meaning.
    """

    model: str
    prompt: str
    negative_prompt: str
    revised_prompt: str
    texts: tuple[Texts, Texts] = field(repr=False)
    output_size: tuple[int, int]
    width: int
    height: int
    shape: LatentShape
    seeds: tuple[int, ...]
    steps: int
    skipped: int = 0
    source: Source | None = None
    strength: float | None = None
    sampler: str
    schedule: str
    table: Table = field(repr=False)
    guidance_scale: float
    guidance_rescale: float
    guidance: Guidance = Guidance.CLASSIFIER_FREE
    prompt_weighting: bool = False
    loras: tuple[tuple[str, float], ...] = ()
    embeddings: tuple[str, ...] = ()
    batched_timestep: bool
    inpaints: bool = False

    @property
    def guided(self) -> bool:
        """Whether each call needs the negative prompt's half too."""
        return self.guidance is Guidance.CLASSIFIER_FREE and self.guidance_scale > 1

    @property
    def prompts(self) -> tuple[Prompt, ...]:
        """All prompts to encode.

        These are the texts of the prompt and, with guidance, those of the negative prompt.
        """
        both = self.texts if self.guided else self.texts[:1]
        return tuple(
            Prompt(text, negative, self.prompt_weighting, self.loras, self.embeddings)
            for negative, own in zip((False, True), both, strict=False)
            for text in own.texts
        )

    def prompt_indices(self, call: int) -> tuple[int, ...]:
        """Return the indices into `prompts` for a call of the denoiser.

        Calls are counted from 0. There is one index, with guidance two.
        """
        positive, negative = self.texts
        step = call * self.run_steps // max(self.calls, 1)
        return (positive.at(step), len(positive.texts) + negative.at(step)) if self.guided else (positive.at(step),)

    @property
    def run_steps(self) -> int:
        """The number of steps that are made.

        Some samplers call the denoiser twice for one.
        """
        return self.steps - self.skipped

    @property
    def calls(self) -> int:
        """How often one image calls the denoiser; guidance counts once."""
        return len(self.table) if self.skipped < self.steps else 0

    @property
    def batch_key(self) -> BatchKey:
        """What images must have in common to share a call: model and shape of latents."""
        return self.model, self.shape


def random_seed() -> int:
    """Return a seed of 32 bits, as many as count."""
    return secrets.randbelow(2**32)


def plan(job: Job, spec: ModelSpec, *, draw: Callable[[], int] = random_seed) -> Plan:
    """Fill in what `job` leaves open; `draw` gives the seed where it has none.

    Raises:
        InvalidField: a name that does not exist, or a number that this model can't take.
        Unsupported: a field that is not served, or not by this model.
    """
    _check_served(job, spec)
    presets = _presets(job, spec)
    width, height = native_size(job.width or spec.defaults.width, job.height or spec.defaults.height, spec)
    shape = spec.latent_shape(width, height)
    prompt = _templated(job.prompt, presets)
    negative_prompt = _negative(job, presets)
    sampling = make_sampling(
        job,
        spec,
        shape[1] * shape[2] // spec.patch**2,
        sampler=job.sampler or next((p.sampler for p in presets if p and p.sampler), ""),
        steps=_choice("steps", job, presets, spec),
    )
    return Plan(
        model=spec.name,
        prompt=prompt,
        negative_prompt=negative_prompt,
        revised_prompt=prompt if prompt != job.prompt else "",
        texts=_texts(job, prompt, negative_prompt, sampling.steps - sampling.skipped),
        output_size=(job.width or spec.defaults.width, job.height or spec.defaults.height),
        width=width,
        height=height,
        shape=shape,
        seeds=_seeds(job, draw),
        steps=sampling.steps,
        skipped=sampling.skipped,
        source=job.source,
        strength=effective_strength(job),
        sampler=sampling.sampler,
        schedule=sampling.schedule,
        table=sampling.table,
        guidance_scale=_choice("guidance_scale", job, presets, spec),
        guidance_rescale=_choice("guidance_rescale", job, presets, spec),
        guidance=spec.guidance,
        prompt_weighting=job.prompt_weighting,
        loras=tuple((lora.name, lora.weight) for lora in job.loras if lora.weight),
        embeddings=job.embeddings,
        batched_timestep=spec.batched_timestep,
        inpaints=spec.inpaints,
    )


def _check_served(job: Job, spec: ModelSpec) -> None:
    for lora in job.loras:
        if lora.name not in spec.loras:
            there = f"its adapters are {', '.join(spec.loras)}" if spec.loras else "it has none"
            raise InvalidField("loras", f"{lora.name!r} is no adapter of model {spec.name!r}: {there}")
    for name in job.embeddings:
        if name not in spec.embeddings:
            there = f"its embeddings are {', '.join(spec.embeddings)}" if spec.embeddings else "it has none"
            reason = advice(name, spec.pickled) or f"it is not an embedding of model {spec.name!r}: {there}"
            raise InvalidField("embeddings", f"{name!r} can't be used: {reason}")
    for name, capabilities in NEEDS.items():
        if getattr(job, name) and not capabilities & spec.capabilities:
            raise Unsupported(name, f"model {spec.name!r} takes none: it has no image encoder (vae_encoder)")
    if not job.image and not job.source and TEXT_TO_IMAGE not in spec.capabilities:
        raise InvalidField("image", f"is needed: model {spec.name!r} makes nothing from text alone")
    if spec.inpaints and not job.mask and (job.source is None or job.source.repaint is None):
        raise InvalidField("mask", f"is needed: model {spec.name!r} repaints parts of images, and does nothing else")


def _preset(name: str, value: str, known: Mapping[str, Preset]) -> Preset | None:
    if not value:
        return None
    if value not in known:
        names = ", ".join(map(repr, sorted(known)))
        right = (
            f"must be one of {names}, or be left out" if names else "must be left out with this model, which has none"
        )
        raise InvalidField(name, f"{right}, not {value!r}")
    return known[value]


def _templated(prompt: str, presets: list[Preset | None]) -> str:
    """Return the prompt within the presets' words; where it is empty, these alone, without the comma between."""
    for preset in filter(None, presets):
        said = preset.template.replace("{prompt}", prompt)
        prompt = said if prompt else said.strip(", ")
    return prompt


def _negative(job: Job, presets: list[Preset | None]) -> str:
    return ", ".join(filter(None, [job.negative_prompt, *(p.negative_prompt for p in presets if p)]))


def read_prompts(job: Job, spec: ModelSpec) -> tuple[Items, Items]:
    """Return the parts of a job's two weighted prompts.

    They include the words of its presets. Parsing takes a thread's time. Raises InvalidField: brackets nest too deeply,
    weigh too much, or change too often.
    """
    presets = _presets(job, spec)
    return _both(_templated(job.prompt, presets), _negative(job, presets))


def _both(prompt: str, negative_prompt: str) -> tuple[Items, Items]:
    return _read("prompt", prompt_editing.joined(prompt)), _read("negative_prompt", negative_prompt)


def _read(name: str, text: str) -> Items:
    with as_invalid_field(name):
        prompt_weights.parse(text)
        return prompt_editing.read(text)


def _texts(job: Job, prompt: str, negative_prompt: str, steps: int) -> tuple[Texts, Texts]:
    """Return what both prompts are at each step.

    Raises InvalidField where they change too often.
    """
    if not job.prompt_weighting:
        return prompt_editing.texts((prompt,), steps), prompt_editing.texts((negative_prompt,), steps)
    both = job.prompts or _both(prompt, negative_prompt)
    with as_invalid_field("prompt"):
        positive = prompt_editing.texts(both[0], steps, job.earlier_steps)
    with as_invalid_field("negative_prompt"):
        return positive, prompt_editing.texts(both[1], steps, job.earlier_steps)


@contextmanager
def as_invalid_field(name: str) -> Iterator[None]:
    """Raise syntax errors of the prompt `name` as InvalidField."""
    try:
        yield
    except Malformed as error:
        raise InvalidField(name, str(error)) from error


def _presets(job: Job, spec: ModelSpec) -> list[Preset | None]:
    return [_preset("quality", job.quality, spec.qualities), _preset("style", job.style, spec.styles)]


def _choice(name: str, job: Job, presets: list[Preset | None], spec: ModelSpec) -> Any:
    """Return the first that is not None of job, presets and defaults."""
    given = (getattr(source, name) for source in (job, *presets, spec.defaults) if source is not None)
    return next(value for value in given if value is not None)


def _seeds(job: Job, draw: Callable[[], int]) -> tuple[int, ...]:
    """Return seed + k for image k, past the largest from 0 again: the 32 bits that count go on as if it had not."""
    first = draw() if job.seed is None else job.seed
    return tuple((first + k) % (MAX_SEED + 1) for k in range(job.count))
