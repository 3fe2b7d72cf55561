"""The check of prompts and images by an external service."""

from __future__ import annotations

from dataclasses import dataclass, field

from tintype.v1.settings import Common, flag

from ..errors import StartError
from .checks import require_positive, require_url


@dataclass(frozen=True, kw_only=True)
class ModerationSettings(Common):
    """The check of prompts and images by an external service. Without a URL nothing is checked."""

    moderation: str = field(
        default="",
        metadata={
            "help": "URL of a service with OpenAI's API of moderation, for example "
            "https://api.openai.com/v1/moderations; it checks the prompt of each request, and flagged ones get 400"
        },
    )
    moderation_key: str = field(
        default="", metadata={"help": "key for the moderation service; prefer the environment variable"}
    )
    moderation_model: str = field(
        default="", metadata={"help": "model that the moderation service uses (empty: its default)"}
    )
    moderate_images: bool = field(
        default=False,
        metadata={"help": "also check images: those of requests, and finished ones; streams then have no previews"},
    )
    moderation_timeout: float = field(
        default=10.0, metadata={"help": "maximum seconds for the check of a prompt or an image"}
    )
    moderation_optional: bool = field(
        default=False,
        metadata={"help": "serve requests unchecked while the moderation service fails; otherwise they get 503"},
    )

    def check_moderation(self) -> None:
        """Raise StartError for an invalid value."""
        require_url(self, "moderation")
        require_positive(self, ("moderation_timeout",))
        if not (self.moderation_key.isascii() and self.moderation_key.isprintable()):
            raise StartError("--moderation-key must be printable ASCII, because it is sent in a header")
        for name in ("moderate_images", "moderation_optional"):
            if getattr(self, name) and not self.moderation:
                raise StartError(f"{flag(name)} requires --moderation, the URL of the moderation service")
