"""Bounds of requests, connections and rates."""

from __future__ import annotations

from dataclasses import dataclass, field

from tintype.v1.settings import Common

from ..errors import StartError
from .checks import require_non_negative, require_positive

COUNTS = (
    "keep_alive",
    "max_connections",
    "rate_limit",
    "image_limit",
    "max_images",
    "max_pixels",
    "max_steps",
    "max_prompt",
)


@dataclass(frozen=True, kw_only=True)
class LimitSettings(Common):
    """Bounds of requests, connections and rates. 0 means the default that the help names."""

    receive_timeout: float = field(
        default=30.0,
        metadata={"help": "seconds in which a request must arrive; a large one may take longer, at 16 KiB/s or more"},
    )
    keep_alive: float = field(
        default=75.0,
        metadata={"help": "seconds that an idle connection stays open; set it longer than a proxy in front does"},
    )
    max_connections: int = field(
        default=0,
        metadata={
            "help": "maximum number of connections; when full, idle ones are closed (0: 4096, or what open files allow)"
        },
    )
    timeout: float = field(default=600.0, metadata={"help": "maximum seconds per request"})
    max_body: int = field(
        default=64 * 2**20, metadata={"unit": "bytes", "help": "maximum size of a request body, for example 64MiB"}
    )
    body_memory: int = field(
        default=256 * 2**20,
        metadata={
            "unit": "bytes",
            "help": "maximum memory for uploads and results of all requests; beyond it requests get 503",
        },
    )
    rate_limit: int = field(
        default=0,
        metadata={"help": "requests for images per minute, for each key or address (0: no limit)"},
    )
    image_limit: int = field(default=0, metadata={"help": "images per minute, for each key or address (0: no limit)"})
    max_images: int = field(default=0, metadata={"help": "maximum number of images per request (0: 10)"})
    max_pixels: int = field(
        default=0,
        metadata={"help": "maximum pixels per image, for example 1048576 (0: 4096 x 4096)"},
    )
    max_steps: int = field(default=0, metadata={"help": "maximum number of denoising steps (0: 150)"})
    max_prompt: int = field(default=0, metadata={"help": "maximum characters per prompt (0: 32000)"})

    def check_limits(self) -> None:
        """Raise StartError for an invalid value."""
        require_positive(self, ("timeout", "receive_timeout"))
        require_non_negative(self, ("grace", "lame_duck", *COUNTS))
        if not self.body_memory >= self.max_body > 0:
            raise StartError(
                f"--max-body must be above 0 and at most --body-memory ({self.body_memory}); got {self.max_body}"
            )
