"""Checks that several groups of settings use."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from tintype.v1.settings import flag, mask_credentials

from ..errors import StartError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tintype.v1.settings import Common


def require_positive(settings: Common, names: Sequence[str]) -> None:
    """Raise StartError if one of these settings is 0 or less."""
    for name in names:
        if not getattr(settings, name) > 0:
            raise StartError(f"{flag(name)} must be above 0; got {getattr(settings, name)}")


def require_non_negative(settings: Common, names: Sequence[str]) -> None:
    """Raise StartError if one of these settings is negative."""
    for name in names:
        if not getattr(settings, name) >= 0:
            raise StartError(f"{flag(name)} must be 0 or more; got {getattr(settings, name)}")


def require_choice(settings: Common, name: str, choices: Sequence[str]) -> None:
    """Raise StartError if a setting is not one of `choices`."""
    if getattr(settings, name) not in choices:
        raise StartError(f"{flag(name)} must be one of {', '.join(choices)}; got {getattr(settings, name)!r}")


def require_url(settings: Common, name: str) -> None:
    """Raise StartError if a setting is neither empty nor an http or https URL with a host."""
    url: str = getattr(settings, name)
    if url and not url.startswith(("http://", "https://")):
        raise StartError(f"{flag(name)} must begin with http:// or https://; got {mask_credentials(url)!r}")
    if url and not host_of(url):
        raise StartError(
            f"{flag(name)} must name a host, for example https://images.example; got {mask_credentials(url)!r}"
        )


def host_of(url: str) -> str:
    """Return the host of a URL; empty if it has none."""
    with suppress(ValueError):
        parts = urlsplit(url)
        return (parts.port != 0 and parts.hostname) or ""
    return ""
