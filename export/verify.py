"""Compare an export with its source in torch and diffusers.

Compared are tokenizers, each component, and one whole image. Tokenizers are compared on texts that hold each of their
added tokens. Components are compared on random inputs of two sizes: one row, and three of another shape at different
timesteps. The image is made twice from one prompt and seed, by the service's own engine and by diffusers. The prompt
holds an added token of each kind.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from inspect import signature
from io import BytesIO
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from tintype.service.job import Job
from tintype.service.models.files import Fault
from tintype.service.models.folder.families import by_pipeline
from tintype.service.models.spec import TEXT_TO_IMAGE
from tintype.service.models.text.added_tokens import ROLES

from .components.values import Size
from .errors import Refused
from .graph.session import Graph
from .image_comparison import Studio, by_diffusers
from .quiet import quiet

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tintype.service.models import ModelSpec

    from .components.component import Component
    from .families import Family

SIZES = (Size(rows=3, height=16, width=16, tokens=77), Size(rows=1, height=8, width=24, tokens=64))
PROMPT = "A serene mountain lake at sunset"
STEPS = 4
GUIDANCE_SCALE = 5.0
STRENGTH = 0.75


@dataclass(frozen=True, slots=True)
class Check:
    """What was compared, how large the difference was, how large it may be, and in which unit."""

    name: str
    difference: float
    limit: float
    unit: str

    @property
    def passed(self) -> bool:
        """A difference that is not a number is none that may be."""
        return bool(self.difference <= self.limit)

    def as_json(self) -> dict[str, Any]:
        """Return the fields by name."""
        return asdict(self)

    def __str__(self) -> str:
        return f"{self.name}: {self.difference:.2g} {self.unit} (at most {self.limit:g})"


def check_tokenizers(pipeline: Any, folder: Path) -> Check:
    """Compare written tokenizers with the pipeline's, on texts with added tokens.

    Raises Refused where the service would refuse one.
    """
    absent = [name for name, part in pipeline.components.items() if part is None]
    family = by_pipeline(type(pipeline).__name__, absent)
    wrong = 0
    for part in family.text if family else ():
        theirs = getattr(pipeline, part.tokenizer, None)
        if theirs is None:
            continue
        try:
            ours = part.kind.read(folder / part.tokenizer, part.max_tokens, fast=theirs.is_fast, expands=part.expands)
        except Fault as fault:
            raise Refused(str(fault)) from None
        converted = getattr(pipeline, "maybe_convert_prompt", lambda text, _: text)
        for text in _texts(theirs):
            expected = theirs(converted(text, theirs), add_special_tokens=False, verbose=False).input_ids
            wrong += list(ours.ids(text)) != expected
    return Check("tokenizers", wrong, 0, "texts read otherwise")


def _texts(tokenizer: Any) -> Iterator[str]:
    yield PROMPT
    for token in _added(tokenizer):
        yield f"{PROMPT} {token}"
        yield f"a{token}{token}, {token}!"


def _added(tokenizer: Any) -> dict[str, tuple[bool, ...]]:
    """Return a tokenizer's added tokens with their flags, without control tokens."""
    control = {str(tokenizer.special_tokens_map.get(role)) for role in ROLES}
    flags = ("lstrip", "rstrip", "single_word", "normalized", "special")
    tokens = (token for _, token in sorted(tokenizer.added_tokens_decoder.items()))
    return {
        token.content: tuple(bool(getattr(token, flag)) for flag in flags)
        for token in tokens
        if token.content.strip() and token.content not in control
    }


def prompt_for(pipeline: Any) -> str:
    """Return a prompt with added tokens of each kind, of all tokenizers.

    One of them has several vectors.
    """
    found: dict[str, None] = {}
    for name in ("tokenizer", "tokenizer_2", "tokenizer_3"):
        tokens = _added(tokenizer) if (tokenizer := getattr(pipeline, name, None)) is not None else {}
        kinds = {(flags, f"{token}_1" in tokens): token for token, flags in tokens.items()}
        found |= dict.fromkeys(kinds.values())
    return " ".join((PROMPT, *found))


def check_component(component: Component, path: Path, limit: float) -> Check:
    """Compare the graph at `path` with its module on random inputs; the largest difference of all outputs counts."""
    graph = Graph(path)
    with quiet():
        apart = max(_compare(component, graph, size, seed) for seed, size in enumerate(_sizes(component)))
    return Check(component.folder, apart, limit, "of the largest value")


def _sizes(component: Component) -> list[Size]:
    """Return the sizes of the examples; one is the longest readable."""
    full = replace(SIZES[1], tokens=component.longest)
    return [*SIZES, full] if component.longest > SIZES[0].tokens else [*SIZES]


def _compare(component: Component, graph: Graph, size: Size, seed: int) -> float:
    inputs = component.example(size, seed)
    ours = graph(**{name: value.numpy() for name, value in inputs.items()})
    theirs = component(inputs)
    return max(_apart(ours[name], value.numpy()) for name, value in theirs.items())


def can_draw(pipeline: str) -> bool:
    """Whether the service knows diffusers' class `pipeline`, and so can draw a picture with what is exported."""
    return by_pipeline(pipeline) is not None


def check_picture(
    read: Callable[[], Any], kind: type, family: Family, folder: Path, levels: float, prompt: str = PROMPT
) -> Check:
    """Draw one image with service and diffusers; compare all values.

    `read` gives diffusers' pipeline, which is of the class `kind`: it is called when the engine's weights are gone.
    """
    with Studio([folder]) as studio:
        spec = studio.spec
        job = _job(spec, prompt, mask="mask_image" in signature(kind.__call__).parameters)
        ours = studio.draw(job)
    pipeline = read()
    theirs = by_diffusers(pipeline, job, **family.call, max_sequence_length=spec.max_tokens)
    return Check("picture", float(np.abs(ours - theirs).max() * 255), levels, "levels of 255")


def _job(spec: ModelSpec, prompt: str, *, mask: bool) -> Job:
    """Return what to draw: from the prompt alone, where the model can, else from a picture, and below a mask."""
    width, height = spec.defaults.width, spec.defaults.height
    job = Job(prompt=prompt, steps=STEPS, seed=0, guidance_scale=GUIDANCE_SCALE, width=width, height=height)
    if TEXT_TO_IMAGE in spec.capabilities:
        return job
    spots = np.random.default_rng(0).integers(0, 256, (6, 6, 3), np.uint8)
    picture = Image.fromarray(spots).resize((width, height), Image.Resampling.BICUBIC)
    half = Image.new("L", (width, height))
    half.paste(255, (width // 4, 0, width, height // 2))
    return replace(job, image=_file(picture), mask=_file(half) if mask else b"", strength=STRENGTH)


def _file(image: Image.Image) -> bytes:
    data = BytesIO()
    image.save(data, "PNG")
    return data.getvalue()


def _apart(ours: Any, expected: Any) -> float:
    """Return the largest difference, relative to the largest value; infinite where shapes differ or it is no number."""
    if ours.shape != expected.shape or not np.isfinite(ours).all():
        return float("inf")
    return float(np.abs(ours - expected).max() / np.abs(expected).max())
