"""Settings of the hub client, from the variables that the hub's own tools read.

- `HF_ENDPOINT`: address of the hub
- `HF_TOKEN`, `HF_TOKEN_PATH`, `HF_HUB_DISABLE_IMPLICIT_TOKEN`: the token
- `HF_HOME`, `HF_HUB_CACHE`, `XDG_CACHE_HOME`: the cache
- `HF_HUB_OFFLINE`: send no requests
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote, urlsplit

from .errors import CacheFailure, HubError

if TYPE_CHECKING:
    from collections.abc import Mapping

ENDPOINT = "https://huggingface.co"
TRUE = {"1", "ON", "YES", "TRUE"}
LONGEST_TOKEN = 4096  # characters


@dataclass(frozen=True, slots=True)
class HubSettings:
    """Where the hub is, which token it gets, and where files are cached.

    `token_source` says in messages where the token comes from. With `offline` no request is sent.
    """

    cache: Path
    endpoint: str = ENDPOINT
    token: str = ""
    token_source: str = "HF_TOKEN"  # noqa: S105  # a name, not a token
    offline: bool = False

    def __post_init__(self) -> None:
        if not _is_web_address(self.endpoint):
            raise HubError(f"HF_ENDPOINT must be an http or https address; got {self.endpoint!r}")
        if not (self.token.isascii() and self.token.isprintable() and " " not in self.token):
            raise HubError(f"the token from {self.token_source} must be one word of ASCII characters")

    @classmethod
    def from_environment(cls, environ: Mapping[str, str]) -> HubSettings:
        """Return the settings that the environment describes. Raises HubError."""
        home = _expand(environ.get("HF_HOME") or f"{environ.get('XDG_CACHE_HOME') or '~/.cache'}/huggingface")
        cache = environ.get("HF_HUB_CACHE") or environ.get("HUGGINGFACE_HUB_CACHE")
        token, source = _read_token(environ, home)
        return cls(
            cache=_expand(cache) if cache else home / "hub",
            endpoint=(environ.get("HF_ENDPOINT") or ENDPOINT).rstrip("/"),
            token=token,
            token_source=source,
            offline=_is_true(environ.get("HF_HUB_OFFLINE")),
        )

    def page(self, repository: str) -> str:
        """Return the address of a repository's page."""
        return f"{self.endpoint}/{repository}"

    def content(self, repository: str, commit: str, path: str) -> str:
        """Return the address of a file's content."""
        return f"{self.endpoint}/{repository}/resolve/{commit}/{quote(path)}"

    def is_hub(self, url: str) -> bool:
        """Whether an address is on the hub's own host; only that host gets the token."""
        ours, other = urlsplit(self.endpoint), urlsplit(url)
        return (ours.scheme, ours.netloc.lower()) == (other.scheme, other.netloc.lower())


def _read_token(environ: Mapping[str, str], home: Path) -> tuple[str, str]:
    """Return the token, empty for none, and its source."""
    if _is_true(environ.get("HF_HUB_DISABLE_IMPLICIT_TOKEN")):
        return "", "HF_TOKEN"
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"):
        if token := environ.get(name, "").strip():
            return token, name
    path = _expand(environ["HF_TOKEN_PATH"]) if environ.get("HF_TOKEN_PATH") else home / "token"
    try:
        with path.open(encoding="utf-8") as file:
            return file.read(LONGEST_TOKEN).strip(), str(path)
    except (FileNotFoundError, NotADirectoryError):
        return "", "HF_TOKEN"
    except (OSError, UnicodeDecodeError) as error:
        raise HubError(f"cannot read the token in {path}: {getattr(error, 'strerror', None) or error}") from error


def _is_true(text: str | None) -> bool:
    return (text or "").upper() in TRUE


def _expand(text: str) -> Path:
    try:
        return Path(os.path.expandvars(text)).expanduser()
    except RuntimeError as error:  # a user without an entry in the password database
        raise CacheFailure("this user has no home directory for the cache: set HF_HUB_CACHE to a folder") from error


def _is_web_address(text: str) -> bool:
    try:
        parts = urlsplit(text)
        return bool(
            parts.scheme in {"http", "https"} and parts.hostname and "@" not in parts.netloc and parts.port != 0
        )
    except ValueError:
        return False
