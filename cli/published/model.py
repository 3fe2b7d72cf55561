"""What is known of one published model: its licence, its components, and the bytes that these take."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from .parameters import PARAMETERS

if TYPE_CHECKING:
    from collections.abc import Iterable

HALF, FULL = 2, 4  # bytes of a parameter in float16 or bfloat16, and in float32
# Working memory per pixel of the image, float32: four arrays of 256 channels in the VAE's decoder. Measured with
# onnxruntime 1.31.1 on a CPU: 1,045 MiB for 512 x 512 pixels, 4,213 MiB for 1024 x 1024.
WORKING_BYTES = 4 * 256 * FULL

# Templates of autoencoders.
KL, KL_16, KL_FLUX2, QWEN_VAE, DC = (
    tuple(f"{vae}-{half}" for half in ("encoder", "decoder"))
    for vae in ("kl", "kl-16", "kl-flux2", "qwen-vae", "dc-f32c32")
)


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedModel:
    """One repository on the hub.

    `templates` are those of its components. `full` are those of which only float32 is published; the others are
    published in two bytes a parameter as well. `steps` and `side` are what it was made for, `side` in pixels.
    `replaces_vae` says that the model is a VAE for others, for --vae.
    """

    id: str
    license: str
    purpose: str
    templates: tuple[str, ...]
    full: tuple[str, ...] = ()
    steps: int = 0
    side: int = 0
    gated: bool = False
    note: str = ""
    replaces_vae: str = ""

    @property
    def name(self) -> str:
        """The name without its owner."""
        return self.id.partition("/")[2]

    @property
    def download_bytes(self) -> int:
        """Bytes of the weights that are downloaded."""
        return int(HALF * _count(self.templates) + (FULL - HALF) * _count(self.full))

    def memory_bytes(self, bytes_each: int, side: int) -> int:
        """Return the bytes of all weights, and of the values of an image of `side` x `side` pixels."""
        return int(_count(self.templates) * bytes_each) + WORKING_BYTES * bytes_each // FULL * side**2


def _count(templates: Iterable[str]) -> float:
    """Return the number of parameters of some templates."""
    return sum(PARAMETERS[name] for name in templates) * 1e6
