"""A job: one validated, immutable request, independent of the transport.

Construction checks everything that does not depend on the model; the rest is checked when the engine plans the job.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING

from tintype.v1.limits import LENGTHS, MIME_TYPES, RANGES

from .errors import InvalidField, check_choice, check_range
from .images.encode import Output

if TYPE_CHECKING:
    from .images.pixels import Levels
    from .images.upload import Source
    from .models.model import ImagePrompt, Reference
    from .models.text.prompt_editing import PromptParts


@dataclass(frozen=True, slots=True)
class Previews:
    """Which previews to send: `count` of them, spread evenly over the steps, or one after `every` steps."""

    count: int = 0
    every: int = 0
    mime_type: str = "image/jpeg"

    def __post_init__(self) -> None:
        check_range("previews.count", self.count, 0, 64)
        check_range("previews.every", self.every, 0, 150)
        check_choice("previews.mime_type", self.mime_type, MIME_TYPES)
        if self.count and self.every:
            raise InvalidField("previews", "takes count or every, not both")

    def due(self, step: int, steps: int) -> bool:
        """Return whether a preview follows step `step` of `steps`, counted from 1; none follows the last step."""
        if step >= steps:
            return False
        if self.every:
            return step % self.every == 0
        return step * (self.count + 1) // steps > (step - 1) * (self.count + 1) // steps


@dataclass(frozen=True, slots=True)
class Lora:
    """An adapter's name and its weight, -4 to 4."""

    name: str
    weight: float = 1.0

    def __post_init__(self) -> None:
        check_range("loras.weight", self.weight, -4, 4)


@dataclass(frozen=True, slots=True, kw_only=True)
class Control:
    """A ControlNet's name, the file of the image to follow, its weight, and the shares of the steps that it applies to.

    `mode` is the number of a kind of control, for a ControlNet that has several.
    """

    name: str
    image: bytes = field(repr=False)
    weight: float = 1.0
    start: float = 0.0
    end: float = 1.0
    mode: int = 0

    def __post_init__(self) -> None:
        check_range("controls.weight", self.weight, 0, 2)
        check_range("controls.start", self.start, 0, 1)
        check_range("controls.end", self.end, 0, 1)
        check_range("controls.mode", self.mode, 0, 63)
        if self.start >= self.end:
            raise InvalidField("controls.end", f"must be above start, {self.start:g}; got {self.end:g}")


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageFile:
    """An IP-Adapter's name, the file of the image that the result resembles, and its weight."""

    name: str
    image: bytes = field(repr=False)
    weight: float = 1.0

    def __post_init__(self) -> None:
        check_range("image_prompts.weight", self.weight, 0, 2)


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """The images to generate, and how. None is the model's default. Sizes are pixels.

    `deadline` is a time of `time.monotonic`, in seconds; `caller` is the unit of fair queueing. `image` and `mask` are
    files, like `references`. Without `progress` no progress events are made. `prepare` sets `source` from them,
    `edited` from `references`, `hints` from `controls`, `resembled` from `image_prompts`, and `prompts` from both
    prompts if they are weighted.

    Raises InvalidField with the contract's name of the field.
    """

    prompt: str
    negative_prompt: str = ""
    model: str = ""
    count: int = 1
    width: int | None = None
    height: int | None = None
    steps: int | None = None
    guidance_scale: float | None = None
    guidance_rescale: float | None = None
    sampler: str = ""
    schedule: str = ""
    eta: float | None = None
    seed: int | None = None
    image: bytes = field(default=b"", repr=False)
    mask: bytes = field(default=b"", repr=False)
    strength: float | None = None
    source: Source | None = field(default=None, repr=False)
    loras: tuple[Lora, ...] = ()
    embeddings: tuple[str, ...] = ()
    references: tuple[bytes, ...] = field(default=(), repr=False)
    edited: tuple[Reference, ...] = field(default=(), repr=False)
    controls: tuple[Control, ...] = ()
    hints: tuple[Levels, ...] = field(default=(), repr=False)
    image_prompts: tuple[ImageFile, ...] = ()
    resembled: tuple[ImagePrompt, ...] = ()
    clip_skip: int | None = None
    prompt_weighting: bool = False
    earlier_steps: int = 0
    prompts: tuple[PromptParts, PromptParts] | None = field(default=None, repr=False)
    allow_empty_prompt: bool = False
    quality: str = ""
    style: str = ""
    output: Output = field(default_factory=Output)
    previews: Previews = Previews()
    progress: bool = True
    priority: int = 0
    caller: str = ""
    deadline: float | None = None

    def __post_init__(self) -> None:
        for name, most in LENGTHS.items():
            if len(getattr(self, name)) > most:
                raise InvalidField(name, f"must be at most {most} characters, not {len(getattr(self, name))}")
        if not self.prompt.strip() and not self.allow_empty_prompt:
            raise InvalidField("prompt", "must not be empty")
        for f in fields(self):
            if f.name in RANGES and getattr(self, f.name) is not None:
                check_range(f.name, getattr(self, f.name), *RANGES[f.name])
        for name in ("mask", "strength"):
            if getattr(self, name) not in (None, b"") and not (self.image or self.source):
                raise InvalidField(name, f"requires image: send the image to start from, or omit {name}")

    @property
    def needs_preparation(self) -> bool:
        """Whether the job has files to decode, or a weighted prompt to parse."""
        files = self.image or self.references or self.controls or self.image_prompts
        return bool(files or self.prompt_weighting)
