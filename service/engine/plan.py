"""Plan of a job: its resolved parameters, computed before the first model call.

Open fields are filled in this order: the request's field, the preset of `quality`, the preset of `style`, the model's
default.
"""

from __future__ import annotations

import secrets
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any

from tintype.v1.limits import MAX_SEED

from ..capabilities import check_supported
from ..errors import InvalidField
from ..models.model import Prompt
from ..models.spec import Guidance
from ..models.text import prompt_editing, prompt_weights
from ..models.text.prompt_weights import PromptSyntaxError
from ..numerics import PLAIN, GuidanceRule
from .sampling import effective_strength, make_sampling
from .sizes import native_size

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from ..images.pixels import Levels
    from ..images.upload import Source
    from ..job import Control, Job
    from ..models.model import ImagePrompt, Reference
    from ..models.spec import MaskLayout, ModelSpec, Preset
    from ..models.text.prompt_editing import PromptParts, StepTexts
    from ..numerics import Table

LatentShape = tuple[int, int, int]
# Model, latent shape and shapes of the images to edit, which images of one batch share.
BatchKey = tuple[str, LatentShape, tuple[tuple[int, ...], ...]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The resolved parameters of a job.

    Attributes:
        revised_prompt: `prompt` if a preset changed it, otherwise empty.
        texts: prompt and negative prompt at each step; several texts if they change over the steps.
        output_size: width and height in pixels of the response.
        width, height: size in pixels that the model renders.
        shape: latent shape [c, h, w] of each image.
        seeds: one per image.
        skipped: number of `steps` skipped at the noisy end. All are skipped only at strength 0: the result is then
            `source`, and `table` has no meaning.
        source: the image to start from, if any; `strength` is None without it.
        mask_layout: how the model takes a mask; None if it takes none.
        controls, hints: ControlNets, and the levels [3, height, width] of the image that each follows.
        references: images to edit; `sees_references`: the text encoder reads them too.
        guided: whether each call also evaluates the negative prompt.
        calls: number of denoiser calls per image; a call with guidance counts once.
        slot: the key of the model's slot in the repository.
        batch_key: the model's slot, latent shape and shapes of the images to edit, which images of one batch share.
    """

    model: str
    prompt: str
    negative_prompt: str
    revised_prompt: str
    texts: tuple[StepTexts, StepTexts] = field(repr=False)
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
    mask_layout: MaskLayout | None = None
    references: tuple[Reference, ...] = ()
    guidance_rule: GuidanceRule = PLAIN
    clip_skip: int = 0
    clip_layer: int = 1
    sees_references: bool = False
    controls: tuple[Control, ...] = ()
    hints: tuple[Levels, ...] = ()
    image_prompts: tuple[ImagePrompt, ...] = ()
    slot: str = field(default="", compare=False, repr=False)
    guided: bool = field(init=False, repr=False)
    calls: int = field(init=False, repr=False)
    batch_key: BatchKey = field(init=False, repr=False)

    def __post_init__(self) -> None:
        guided = self.guidance is Guidance.CLASSIFIER_FREE and self.guidance_scale + self.guidance_rule.offset > 1
        edited = tuple(reference.levels.shape for reference in self.references)
        object.__setattr__(self, "guided", guided)
        object.__setattr__(self, "calls", len(self.table) if self.skipped < self.steps else 0)
        object.__setattr__(self, "batch_key", (self.slot or self.model, self.shape, edited))

    @property
    def prompts(self) -> tuple[Prompt, ...]:
        """All prompts to encode: the texts of the prompt and, with guidance, those of the negative prompt."""
        both = self.texts if self.guided else self.texts[:1]
        seen, more = self.references if self.sees_references else (), (self.clip_skip, self.image_prompts)
        return tuple(
            Prompt(text, negative, self.prompt_weighting, self.loras, self.embeddings, seen, *more)
            for negative, own in zip((False, True), both, strict=False)
            for text in own.texts
        )

    def prompt_indices(self, call: int) -> tuple[int, ...]:
        """Return the indices into `prompts` for denoiser call `call`, counted from 0: one, or two with guidance."""
        positive, negative = self.texts
        step = call * self.run_steps // max(self.calls, 1)
        return (positive.at(step), len(positive.texts) + negative.at(step)) if self.guided else (positive.at(step),)

    @property
    def run_steps(self) -> int:
        """Number of steps that run. Some samplers call the denoiser twice per step."""
        return self.steps - self.skipped

    @property
    def reads_images(self) -> bool:
        """Whether images are encoded with the prompts."""
        return self.source is not None or bool(self.references)


@dataclass(frozen=True, slots=True, eq=False)
class Ticket:
    """Identifies an accepted job; `number` counts from 0 in order of arrival."""

    number: int
    job: Job
    plan: Plan = field(repr=False)


def random_seed() -> int:
    """Return a random seed of 32 bits, the number of bits that the noise uses."""
    return secrets.randbelow(2**32)


def plan(job: Job, spec: ModelSpec, *, draw: Callable[[], int] = random_seed) -> Plan:
    """Return the plan of `job` on the model of `spec`. `draw` returns a seed if the job has none.

    Raises:
        InvalidField: an unknown name, or a number that this model does not take.
        Unsupported: a field that this model does not support.
        ModelBroken: the model's scheduler settings are wrong.
    """
    check_supported(job, spec)
    presets = _presets(job, spec)
    output_size = job.width or spec.defaults.width, job.height or spec.defaults.height
    width, height = native_size(*output_size, spec)
    shape = spec.latent_shape(width, height)
    sampling = make_sampling(
        job,
        spec,
        shape[1] * shape[2] // spec.patch**2,
        sampler=job.sampler or next((p.sampler for p in presets if p and p.sampler), ""),
        steps=_first_value("steps", job, presets, spec),
    )
    return Plan(
        model=spec.name,
        slot=spec.slot,
        **_prompt_fields(job, presets, sampling.steps - sampling.skipped),
        output_size=output_size,
        width=width,
        height=height,
        shape=shape,
        seeds=_seeds(job, draw),
        source=job.source,
        strength=effective_strength(job, spec),
        **{part.name: getattr(sampling, part.name) for part in fields(sampling)},
        **_guidance_fields(job, presets, spec),
        loras=tuple((lora.name, lora.weight) for lora in job.loras if lora.weight),
        embeddings=job.embeddings,
        batched_timestep=spec.batched_timestep,
        mask_layout=spec.mask_layout if spec.inpaints else None,
        references=job.edited,
        sees_references=bool(spec.references and spec.references.seen),
        clip_skip=(job.clip_skip or 0) if spec.clip_layer else 0,
        clip_layer=spec.clip_layer,
        controls=job.controls,
        hints=job.hints,
        image_prompts=job.resembled,
    )


def _prompt_fields(job: Job, presets: list[Preset | None], steps: int) -> dict[str, Any]:
    """Return the fields of a plan for the prompts of a run of `steps` steps."""
    prompt, negative_prompt = _apply_templates(job.prompt, presets), _negative_prompt(job, presets)
    return {
        "prompt": prompt,
        "negative_prompt": negative_prompt,
        "revised_prompt": prompt if prompt != job.prompt else "",
        "texts": _texts(job, prompt, negative_prompt, steps),
        "prompt_weighting": job.prompt_weighting,
    }


def _guidance_fields(job: Job, presets: list[Preset | None], spec: ModelSpec) -> dict[str, Any]:
    """Return the fields of a plan for guidance."""
    numbers = {name: _first_value(name, job, presets, spec) for name in ("guidance_scale", "guidance_rescale")}
    return {"guidance": spec.guidance, "guidance_rule": spec.guidance_rule, **numbers}


def _preset(name: str, value: str, known: Mapping[str, Preset]) -> Preset | None:
    if not value:
        return None
    if value not in known:
        names = ", ".join(map(repr, sorted(known)))
        valid = f"must be one of {names}, or omitted" if names else "must be omitted with this model, which has none"
        raise InvalidField(name, f"{valid}; got {value!r}")
    return known[value]


def _apply_templates(prompt: str, presets: list[Preset | None]) -> str:
    """Return the prompt in the presets' templates; for an empty prompt, their words without the comma."""
    for preset in filter(None, presets):
        text = preset.template.replace("{prompt}", prompt)
        prompt = text if prompt else text.strip(", ")
    return prompt


def _negative_prompt(job: Job, presets: list[Preset | None]) -> str:
    return ", ".join(filter(None, [job.negative_prompt, *(p.negative_prompt for p in presets if p)]))


def parse_prompts(job: Job, spec: ModelSpec) -> tuple[PromptParts, PromptParts]:
    """Return the parsed prompt and negative prompt of a job with prompt weighting, with the words of its presets.

    Parsing takes CPU time, so call it on a worker thread.

    Raises:
        InvalidField: brackets nest too deeply, weights are too large, or the prompt changes too often.
    """
    presets = _presets(job, spec)
    return _parse_both(_apply_templates(job.prompt, presets), _negative_prompt(job, presets))


def _parse_both(prompt: str, negative_prompt: str) -> tuple[PromptParts, PromptParts]:
    return _parse("prompt", prompt_editing.replace_and(prompt)), _parse("negative_prompt", negative_prompt)


def _parse(name: str, text: str) -> PromptParts:
    with as_invalid_field(name):
        prompt_weights.parse_weights(text)
        return prompt_editing.parse_changes(text)


def _texts(job: Job, prompt: str, negative_prompt: str, steps: int) -> tuple[StepTexts, StepTexts]:
    """Return both prompts at each step. Raises InvalidField if they change too often."""
    if not job.prompt_weighting:
        return prompt_editing.step_texts((prompt,), steps), prompt_editing.step_texts((negative_prompt,), steps)
    both = job.prompts or _parse_both(prompt, negative_prompt)
    with as_invalid_field("prompt"):
        positive = prompt_editing.step_texts(both[0], steps, job.earlier_steps)
    with as_invalid_field("negative_prompt"):
        return positive, prompt_editing.step_texts(both[1], steps, job.earlier_steps)


@contextmanager
def as_invalid_field(name: str) -> Iterator[None]:
    """Raise syntax errors of the prompt field `name` as InvalidField."""
    try:
        yield
    except PromptSyntaxError as error:
        raise InvalidField(name, str(error)) from error


def _presets(job: Job, spec: ModelSpec) -> list[Preset | None]:
    return [_preset("quality", job.quality, spec.qualities), _preset("style", job.style, spec.styles)]


def _first_value(name: str, job: Job, presets: list[Preset | None], spec: ModelSpec) -> Any:
    """Return the first value of field `name` that is not None: of job, presets, defaults."""
    values = (getattr(origin, name) for origin in (job, *presets, spec.defaults) if origin is not None)
    return next(value for value in values if value is not None)


def _seeds(job: Job, draw: Callable[[], int]) -> tuple[int, ...]:
    """Return seed + k for image k, modulo 2**63; the lower 32 bits, which the noise uses, stay consecutive."""
    first = draw() if job.seed is None else job.seed
    return tuple((first + k) % (MAX_SEED + 1) for k in range(job.count))
