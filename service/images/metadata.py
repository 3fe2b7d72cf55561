"""How a picture was made, written into its file.

The text is the one that AUTOMATIC1111's web UI introduced and that picture viewers and prompt readers know::

    a lighthouse at dusk
    Negative prompt: blurry
    Steps: 20, Sampler: DPM++ 2M, Schedule type: Karras, CFG scale: 7, Seed: 7, Size: 512x512, Model: sd15

PNG holds it in the text chunk `parameters`, JPEG and WebP in the EXIF field UserComment (EXIF 2.32, section 4.6.5).
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace

from PIL import Image, PngImagePlugin

PNG_KEY = "parameters"
EXIF_IFD = 0x8769
USER_COMMENT = 0x9286
UNICODE = b"UNICODE\0"  # the character code that EXIF wants in front of the comment

# Our names to the ones that readers of this text look for; a name that is not here is written as it is.
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameters:
    """What made one picture; `width` and `height` are what the model made, in pixels. What is empty is left out."""

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

    def __str__(self) -> str:
        """Return the text that goes into the file."""
        negative = [f"Negative prompt: {self.negative_prompt}"] if self.negative_prompt else []
        settings = ", ".join(f"{label}: {_quoted(value)}" for label, value in self._settings().items() if value)
        prompt = [self.prompt] if self.prompt else []
        return "\n".join([*prompt, *negative, settings])

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
            "Version": "tintype",
        }


def png_text(parameters: Parameters) -> PngImagePlugin.PngInfo:
    """Return the PNG chunks for `parameters`: tEXt where Latin-1 holds them, else iTXt."""
    info = PngImagePlugin.PngInfo()
    info.add_text(PNG_KEY, str(parameters))
    return info


def exif(parameters: Parameters, limit: int | None = None) -> bytes:
    """Return an EXIF block with `parameters` as its UserComment; prompts are cut until it fits in `limit` bytes."""
    block = _exif_block(str(parameters))
    while limit and len(block) > limit:
        half = max(len(parameters.prompt), len(parameters.negative_prompt)) // 2
        parameters = replace(
            parameters, prompt=parameters.prompt[:half], negative_prompt=parameters.negative_prompt[:half]
        )
        block = _exif_block(str(parameters))
    return block


def _exif_block(comment: str) -> bytes:
    block = Image.Exif()
    # Readers disagree on the byte order of the comment; all take it right where the whole block is big-endian.
    block.endian = ">"
    block.get_ifd(EXIF_IFD)[USER_COMMENT] = UNICODE + comment.encode("utf-16-be", errors="replace")
    return block.tobytes()


def _quoted(value: str) -> str:
    """Return `value` as it may stand between commas: quoted as JSON where it holds what separates settings."""
    return json.dumps(value, ensure_ascii=False) if set(value) & set(',:\n"') else value
