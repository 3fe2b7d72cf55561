"""Errors of the hub client. Each message is one line for the user.

::

    HubError
    ├── HubUnavailable   no connection, HTTP 5xx, 408 or 429, or offline; cached files may suffice
    ├── HubRefused       HTTP 401 or 403: private, gated, or a wrong token
    ├── NotOnHub         HTTP 404: no such repository, revision or file
    ├── NotServable      the repository has no files that tintype can serve
    ├── DamagedFile      the received content differs from the listing
    └── CacheFailure     the cache cannot be written: disk full, no permission
"""

from __future__ import annotations


class HubError(Exception):
    """Base class of the client's errors."""


class HubUnavailable(HubError):
    """The hub does not answer, or the client is offline."""


class HubRefused(HubError):
    """The hub denies access to a repository."""


class NotOnHub(HubError):
    """The hub has no such repository, revision or file."""


class NotServable(HubError):
    """A repository holds no files that tintype can serve."""


class DamagedFile(HubError):
    """The hub sent other content than it lists."""


class CacheFailure(HubError):
    """The cache cannot be written."""


def printable(text: str, longest: int = 300) -> str:
    """Return a text of the hub for a message: cut, and without control characters."""
    return "".join(character for character in text[:longest] if character.isprintable())
