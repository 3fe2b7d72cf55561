"""Names on the hub: OWNER/NAME[/FILE.safetensors][@REVISION], and the paths of a repository's files."""

from __future__ import annotations

import re
from dataclasses import dataclass

# The hub's own rules for OWNER and NAME, in ASCII.
_NAME = re.compile(r"\w([\w.-]*\w)?", re.ASCII)
_LONGEST_REPOSITORY, _LONGEST_REVISION, _LONGEST_PATH, _LONGEST_PART = 96, 200, 1000, 255
_REVISION_PART = re.compile(r"\w[\w.+=@#-]*", re.ASCII)
_COMMIT = re.compile(r"[0-9a-f]{40}")
_UNSAFE = re.compile(r"[\x00-\x1f\x7f\\]")
WEIGHTS = ".safetensors"
MAIN = "main"


@dataclass(frozen=True, slots=True)
class HubId:
    """A repository of the hub, a revision of it, and optionally one of its .safetensors files."""

    repository: str
    revision: str = MAIN
    file: str = ""

    def __post_init__(self) -> None:
        if not is_repository(self.repository):
            raise ValueError(f"a model of the hub is OWNER/NAME; got {self.repository!r}")
        if not is_revision(self.revision):
            raise ValueError(f"a revision is a branch, a tag or a commit; got {self.revision!r}")
        if self.file and not (is_safe_path(self.file) and self.file.endswith(WEIGHTS)):
            raise ValueError(f"a file of {self.repository} must be a path that ends in {WEIGHTS}; got {self.file!r}")

    @classmethod
    def parse(cls, text: str) -> HubId:
        """Return the parts of `OWNER/NAME[/FILE.safetensors][@REVISION]`. Raises ValueError."""
        path, at, revision = text.partition("@")
        owner, slash, rest = path.partition("/")
        name, within, file = rest.partition("/")
        if within and not file:
            raise ValueError(f"a model of the hub is OWNER/NAME, without a slash at its end; got {text!r}")
        return cls(f"{owner}{slash}{name}", revision if at else MAIN, file)

    @property
    def is_commit(self) -> bool:
        """Whether the revision is a whole commit hash, which never changes its content."""
        return bool(_COMMIT.fullmatch(self.revision))

    def __str__(self) -> str:
        file = f"/{self.file}" if self.file else ""
        return f"{self.repository}{file}" + (f"@{self.revision}" if self.revision != MAIN else "")


def is_commit(text: object) -> bool:
    """Return whether a value is a whole commit hash."""
    return isinstance(text, str) and bool(_COMMIT.fullmatch(text))


def is_repository(text: str) -> bool:
    """Return whether a text is OWNER/NAME as the hub allows it."""
    parts = text.split("/") if len(text) <= _LONGEST_REPOSITORY else []
    allowed = len(parts) == 2 and all(_NAME.fullmatch(part) for part in parts)
    return allowed and ".." not in text and "--" not in text and not text.endswith(".git")


def is_revision(text: str) -> bool:
    """Return whether a text can be a branch, a tag or a commit, and names no file outside of a folder."""
    parts = text.split("/") if len(text) <= _LONGEST_REVISION else []
    return bool(parts) and ".." not in text and all(_REVISION_PART.fullmatch(part) for part in parts)


def is_safe_path(path: str) -> bool:
    """Return whether a path with `/` stays inside of the folder that it is relative to.

    On Windows a colon in it leads out as well, see `CachedRepository.pointer`.
    """
    parts = path.split("/") if len(path) <= _LONGEST_PATH and not _UNSAFE.search(path) else []
    return bool(parts) and all(part.strip(". ") and len(part.encode()) <= _LONGEST_PART for part in parts)
