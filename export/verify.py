"""Compare an export with its source in torch and diffusers: tokenizers, each component, and one whole image.

Tokenizers are compared on texts with each of their added tokens. Components are compared on random inputs of two sizes:
one row, and three rows of another shape at different timesteps. The image is generated twice from one prompt and seed,
by the service's engine and by diffusers. The prompt contains an added token of each kind.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from inspect import signature
from io import BytesIO
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from tintype.service.job import Job
from tintype.service.models.families.table import by_pipeline
from tintype.service.models.files import ModelFileError
from tintype.service.models.spec import TEXT_TO_IMAGE
from tintype.service.models.text.added_tokens import ROLES

from .components.tensor_specs import ExampleSize
from .console import quiet
from .errors import ExportRefusal
from .graph.session import GraphSession
from .image_comparison import LocalService, diffusers_images
from .qwen_processor import complete

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tintype.service.models import ModelSpec
    from tintype.service.models.family import TextEncoderSpec

    from .components.component import Component
    from .families import Family

SIZES = (ExampleSize(rows=3, height=16, width=16, tokens=77), ExampleSize(rows=1, height=8, width=24, tokens=64))
IMAGE_CHECK = "picture"
"""Name of the image's check in the output of `--json`; scripts read it, so it stays."""
PROMPT = "A serene mountain lake at sunset"
STEPS = 4
GUIDANCE_SCALE = 5.0
STRENGTH = 0.75


@dataclass(frozen=True, slots=True)
class Check:
    """The result of a comparison: its subject, the difference, the limit, and the unit of both."""

    name: str
    difference: float
    limit: float
    unit: str

    @property
    def passed(self) -> bool:
        """Whether the difference is within the limit; NaN is not."""
        return bool(self.difference <= self.limit)

    def as_json(self) -> dict[str, Any]:
        """Return the fields as a JSON object."""
        return asdict(self)

    def __str__(self) -> str:
        shown = "image" if self.name == IMAGE_CHECK else self.name
        return f"{shown}: {self.difference:.2g} {self.unit} (at most {self.limit:g})"


def check_tokenizers(pipeline: Any, folder: Path) -> Check:
    """Compare the written tokenizers with the pipeline's, on texts with added tokens.

    Raises ExportRefusal for a tokenizer that the service would refuse.
    """
    wrong = 0
    for encoder in _text_encoders(pipeline):
        theirs = getattr(pipeline, encoder.tokenizer, None)
        if theirs is None:
            continue
        try:
            ours = encoder.tokenizer_kind.read(
                folder / encoder.tokenizer, encoder.max_tokens, fast=theirs.is_fast, expands=encoder.expands
            )
        except ModelFileError as error:
            raise ExportRefusal(str(error)) from None
        converted = getattr(pipeline, "maybe_convert_prompt", lambda text, _: text)
        for text in _test_texts(theirs, encoder):
            expected = theirs(converted(text, theirs), add_special_tokens=False, verbose=False).input_ids
            wrong += list(ours.ids(text)) != expected
    return Check("tokenizers", wrong, 0, "texts with other token ids")


def _text_encoders(pipeline: Any) -> tuple[TextEncoderSpec, ...]:
    absent = [name for name, part in pipeline.components.items() if part is None]
    family = by_pipeline(type(pipeline).__name__, absent)
    return family.text_encoders if family else ()


def _test_texts(tokenizer: Any, encoder: TextEncoderSpec) -> Iterator[str]:
    yield PROMPT
    for token in _added_tokens(tokenizer, encoder):
        yield f"{PROMPT} {token}"
        yield f"a{token}{token}, {token}!"


def _added_tokens(tokenizer: Any, encoder: TextEncoderSpec) -> dict[str, tuple[bool, ...]]:
    """Return a tokenizer's added tokens with their flags, without control tokens."""
    control = {str(tokenizer.special_tokens_map.get(role)) for role in ROLES}
    flags = ("lstrip", "rstrip", "single_word", "normalized", "special")
    tokens = (token for _, token in sorted(tokenizer.added_tokens_decoder.items()))
    return {
        token.content: tuple(bool(getattr(token, flag)) for flag in flags)
        for token in tokens
        if token.content.strip()
        and token.content not in control
        and not (token.special and encoder.tokenizer_kind.plain_special)
    }


def prompt_with_added_tokens(pipeline: Any) -> str:
    """Return a prompt with an added token of each kind of each tokenizer.

    A kind is a combination of flags, and whether the token stands for several vectors.
    """
    found: dict[str, None] = {}
    for encoder in _text_encoders(pipeline):
        tokenizer = getattr(pipeline, encoder.tokenizer, None)
        tokens = {} if tokenizer is None else _added_tokens(tokenizer, encoder)
        kinds = {(flags, f"{token}_1" in tokens): token for token, flags in tokens.items()}
        found |= dict.fromkeys(kinds.values())
    return " ".join((PROMPT, *found))


def check_component(component: Component, path: Path, limit: float) -> Check:
    """Compare the graph at `path` with its module on random inputs; the check has the largest difference."""
    graph = GraphSession(path)
    with quiet():
        sizes = enumerate(_sizes(component))
        difference = max(_largest_difference(component, graph, size, seed) for seed, size in sizes)
    return Check(component.folder, difference, limit, "of the largest value")


def _sizes(component: Component) -> list[ExampleSize]:
    """Return the sizes of the examples; if the text limit is longer than theirs, one more has that length."""
    full = replace(SIZES[1], tokens=component.max_tokens)
    return [*SIZES, full] if component.max_tokens > SIZES[0].tokens else [*SIZES]


def _largest_difference(component: Component, graph: GraphSession, size: ExampleSize, seed: int) -> float:
    inputs = component.example_inputs(size, seed)
    ours = graph(**{name: value.numpy() for name, value in inputs.items()})
    theirs = component(inputs)
    return max(_relative_difference(ours[name], value.numpy()) for name, value in theirs.items())


def can_compare_images(pipeline: str) -> bool:
    """Whether the service can generate images with the family of diffusers' class `pipeline`."""
    return by_pipeline(pipeline) is not None


def check_image(
    read: Callable[[], Any], pipeline_class: type, family: Family, folder: Path, limit: float, prompt: str = PROMPT
) -> Check:
    """Generate one image with the service and with diffusers, and compare all values; `limit` is in levels of 255.

    `read` returns diffusers' pipeline, of the class `pipeline_class`. It is called after the engine's weights are
    released.
    """
    with LocalService([folder]) as service:
        spec = service.spec
        job = _comparison_job(spec, prompt, mask="mask_image" in signature(pipeline_class.__call__).parameters)
        ours = service.generate(job)
    pipeline = read()
    complete(pipeline)
    call = family.call_for(spec.defaults.width, spec.defaults.height, GUIDANCE_SCALE)
    theirs = diffusers_images(pipeline, job, **call, max_sequence_length=spec.max_tokens)
    return Check(IMAGE_CHECK, float(np.abs(ours - theirs).max() * 255), limit, "levels of 255")


def _comparison_job(spec: ModelSpec, prompt: str, *, mask: bool) -> Job:
    """Return a job from text if the model supports it, otherwise an edit, or from an image, with a mask if `mask`."""
    width, height = spec.defaults.width, spec.defaults.height
    job = Job(prompt=prompt, steps=STEPS, seed=0, guidance_scale=GUIDANCE_SCALE, width=width, height=height)
    edits = bool(spec.references and spec.references.required)
    if TEXT_TO_IMAGE in spec.capabilities and not edits:
        return job
    spots = np.random.default_rng(0).integers(0, 256, (6, 6, 3), np.uint8)
    image = Image.fromarray(spots).resize((width, height), Image.Resampling.BICUBIC)
    if edits:
        return replace(job, references=(_png(image),))
    half = Image.new("L", (width, height))
    half.paste(255, (width // 4, 0, width, height // 2))
    return replace(job, image=_png(image), mask=_png(half) if mask else b"", strength=STRENGTH)


def _png(image: Image.Image) -> bytes:
    data = BytesIO()
    image.save(data, "PNG")
    return data.getvalue()


def _relative_difference(ours: Any, expected: Any) -> float:
    """Return the largest difference relative to the largest value; infinite for other shapes and NaN."""
    if ours.shape != expected.shape or not np.isfinite(ours).all():
        return float("inf")
    return float(np.abs(ours - expected).max() / np.abs(expected).max())
