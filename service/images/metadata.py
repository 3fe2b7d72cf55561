"""Generation parameters in the metadata of image files.

The text has the format that AUTOMATIC1111's web UI introduced and that image viewers and prompt readers parse::

    a lighthouse at dusk
    Negative prompt: blurry
    Steps: 20, Sampler: DPM++ 2M, Schedule type: Karras, CFG scale: 7, Seed: 7, Size: 512x512, Model: sd15

PNG holds it in the text chunk `parameters`, JPEG and WebP in the EXIF field UserComment (EXIF 2.32, section 4.6.5).
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

from PIL import Image, PngImagePlugin

from tintype.v1.image_texts import KEY

if TYPE_CHECKING:
    from collections.abc import Sequence

EXIF_IFD = 0x8769
USER_COMMENT = 0x9286
UNICODE = b"UNICODE\0"  # the character code that EXIF requires before the comment

# Names of samplers that readers of this text expect; other names are written unchanged.
SAMPLER_LABELS = {
    "ddim": "DDIM",
    "deis": "DEIS",
    "ddpm": "DDPM",
    "dpm2": "DPM2",
    "dpm2_ancestral": "DPM2 a",
    "dpmpp_1s": "DPM++ 1S",
    "dpmpp_2s": "DPM++ 2S",
    "dpmpp_2s_ancestral": "DPM++ 2S a",
    "dpmpp_3s": "DPM++ 3S",
    "dpmpp_2m": "DPM++ 2M",
    "dpmpp_sde": "DPM++ SDE",
    "dpmpp_2m_sde": "DPM++ 2M SDE",
    "dpmpp_3m": "DPM++ 3M",
    "dpmpp_3m_sde": "DPM++ 3M SDE",
    "euler": "Euler",
    "euler_ancestral": "Euler a",
    "heun": "Heun",
    "lcm": "LCM",
    "lms": "LMS",
    "plms": "PLMS",
    "tcd": "TCD",
    "unipc": "UniPC",
}


class Recorded(Protocol):
    """How an image was made, as the text that `str` returns."""

    def shortened(self) -> Recorded:
        """Return it with about half of its longest part."""


@dataclass(frozen=True, slots=True)
class RecordedText:
    """The text that an image file has already."""

    text: str

    def __str__(self) -> str:
        return self.text

    def shortened(self) -> RecordedText:
        """Return the first half."""
        return RecordedText(self.text[: len(self.text) // 2])


class NamedImage(Protocol):
    """An image with the name of an IP-Adapter, and its weight."""

    @property
    def name(self) -> str:
        """The name of the IP-Adapter."""

    @property
    def weight(self) -> float:
        """The factor of its influence."""


class NamedControl(NamedImage, Protocol):
    """A ControlNet, its weight, and the shares of the steps between which it applies."""

    @property
    def start(self) -> float:
        """The share of the steps after which it begins."""

    @property
    def end(self) -> float:
        """The share of the steps after which it ends."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameters:
    """The parameters of one image; `width` and `height` are its native size in pixels. Empty ones are omitted.

    `clip_skip` is the number of CLIP's last layers that are left out beyond those before `clip_layer`, which the model
    uses itself; both count from the end, layers from 1. `references` are images that were edited.
    """

    prompt: str
    negative_prompt: str = ""
    steps: int
    sampler: str = ""
    schedule: str = ""
    guidance_scale: float
    guidance_rescale: float = 0.0
    seed: int
    width: int
    height: int
    model: str = ""
    strength: float | None = None
    clip_skip: int = 0
    clip_layer: int = 1
    references: Sequence[object] = ()
    controls: Sequence[NamedControl] = ()
    image_prompts: Sequence[NamedImage] = ()
    loras: Sequence[tuple[str, float]] = ()

    def __str__(self) -> str:
        """Return the text of the file's metadata; LoRAs are part of the prompt, as in the web UI."""
        negative = [f"Negative prompt: {self.negative_prompt}"] if self.negative_prompt else []
        settings = ", ".join(f"{label}: {_quoted(value)}" for label, value in self._settings().items() if value)
        loras = [f"<lora:{name}:{weight:g}>" for name, weight in self.loras]
        prompt = " ".join([*([self.prompt] if self.prompt else []), *loras])
        return "\n".join([*([prompt] if prompt else []), *negative, settings])

    def shortened(self) -> Parameters:
        """Return them with at most half of the longer prompt."""
        half = max(len(self.prompt), len(self.negative_prompt)) // 2
        return replace(self, prompt=self.prompt[:half], negative_prompt=self.negative_prompt[:half])

    def _settings(self) -> dict[str, str]:
        return {
            "Steps": str(self.steps),
            "Sampler": SAMPLER_LABELS.get(self.sampler, self.sampler),
            "Schedule type": self.schedule.replace("_", " ").title(),
            "CFG scale": f"{self.guidance_scale:g}",
            "CFG Rescale": f"{self.guidance_rescale:g}" if self.guidance_rescale else "",
            "Seed": str(self.seed),
            "Size": f"{self.width}x{self.height}",
            "Model": self.model,
            "Denoising strength": "" if self.strength is None else f"{self.strength:g}",
            "Clip skip": str(self.clip_layer + self.clip_skip) if self.clip_skip else "",
            "References": str(len(self.references) or ""),
            **self._units(),
            "Version": "tintype",
        }

    def _units(self) -> dict[str, str]:
        """Return controls and image prompts as the web UI's ControlNet extension writes them."""
        controls = [
            f"Module: none, Model: {one.name}, Weight: {one.weight:g}, Guidance Start: {one.start:g}, "
            f"Guidance End: {one.end:g}"
            for one in self.controls
        ]
        prompts = [f"Module: ip-adapter-auto, Model: {one.name}, Weight: {one.weight:g}" for one in self.image_prompts]
        return {f"ControlNet {index}": text for index, text in enumerate([*controls, *prompts])}


def png_text(recorded: Recorded) -> PngImagePlugin.PngInfo:
    """Return the PNG chunks of a text: tEXt if Latin-1 can encode it, otherwise iTXt."""
    info = PngImagePlugin.PngInfo()
    info.add_text(KEY, str(recorded))
    return info


def exif(recorded: Recorded, limit: int | None = None) -> bytes:
    """Return an EXIF block with a text as UserComment, shortened until it fits into `limit` bytes."""
    block = _exif_block(str(recorded))
    while limit and len(block) > limit:
        recorded = recorded.shortened()
        block = _exif_block(str(recorded))
    return block


def _exif_block(comment: str) -> bytes:
    block = Image.Exif()
    # Readers disagree on the byte order of the comment; all read it correctly if the whole block is big-endian.
    block.endian = ">"
    block.get_ifd(EXIF_IFD)[USER_COMMENT] = UNICODE + comment.encode("utf-16-be", errors="replace")
    return block.tobytes()


def _quoted(value: str) -> str:
    """Return `value`, quoted as JSON if it contains a separator of settings."""
    return json.dumps(value, ensure_ascii=False) if set(value) & set(',:\n"') else value
