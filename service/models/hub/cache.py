"""The cache of one repository, in the layout of the hub's own tools, which share it.

    CACHE/models--OWNER--NAME/blobs/HASH                     contents; HASH.incomplete is one that has partly arrived
                              snapshots/COMMIT/unet/…        links to the blobs
                              refs/main                      the commit of a branch or tag
                              trees/COMMIT.json              the listing of a commit
    CACHE/.locks/models--OWNER--NAME/HASH.lock               locked while a process downloads the blob

Nothing is written outside of these folders: names are checked before they become paths, files are written under
another name and renamed.
"""

from __future__ import annotations

import asyncio
import errno
import os
import secrets
import shutil
import stat
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from .errors import CacheFailure, HubError
from .identifiers import is_commit, is_repository, is_revision, is_safe_path
from .listing import dump_listing, load_listing

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping

    from .listing import ListedFile, Listing

POLL_INTERVAL = 0.2  # seconds between two attempts to lock
LARGEST_LISTING = 64 << 20  # bytes
NO_LINKS = {errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS}
CONTENTION = {errno.EAGAIN, errno.EACCES, errno.EWOULDBLOCK}
PART = ".incomplete"


class CachedRepository:
    """Files of a repository on disk."""

    def __init__(self, cache: Path, repository: str) -> None:
        assert is_repository(repository)  # noqa: S101  # checked by HubId
        self.cache, self.repository = cache, repository
        self.name = "models--" + repository.replace("/", "--")
        self.folder = cache / self.name

    def commit(self, revision: str) -> str:
        """Return the commit of a revision, empty if it is unknown here."""
        if is_commit(revision) or not is_revision(revision):
            return revision if is_commit(revision) else ""
        text = _read(self.folder / "refs" / revision, 100).strip()
        return text if is_commit(text) else ""

    def keep_commit(self, revision: str, commit: str) -> None:
        """Remember the commit of a branch or tag."""
        assert is_revision(revision)  # noqa: S101  # checked by HubId
        if self.commit(revision) != commit:
            _replace(self.folder / "refs" / revision, commit)

    def listing(self, commit: str) -> Listing | None:
        """Return the listing of a commit; None if it is not here, or damaged."""
        return load_listing(_read(self._tree(commit), LARGEST_LISTING))

    def keep_listing(self, commit: str, listing: Mapping[str, ListedFile]) -> None:
        """Write the listing of a commit, unless it is here."""
        if self.listing(commit) is None:
            _replace(self._tree(commit), dump_listing(listing))

    def snapshot(self, commit: str) -> Path:
        """Return the folder with the files of a commit, whether or not it exists."""
        assert is_commit(commit)  # noqa: S101  # checked by the client
        return self.folder / "snapshots" / commit

    def sizes(self, commit: str) -> dict[str, int]:
        """Return the bytes of each file of a snapshot, by path."""
        folder = self.snapshot(commit)
        found = (Path(place, name) for place, _, names in os.walk(folder) for name in names)
        return {path.relative_to(folder).as_posix(): path.stat().st_size for path in found if path.is_file()}

    def pointer(self, commit: str, path: str) -> Path:
        """Return the place of a file in a snapshot. Raises HubError for a path that leads out of it."""
        if not is_safe_path(path) or (os.name == "nt" and ":" in path):
            raise HubError(f"{self.repository}: unsafe file name {path!r}")
        return self.snapshot(commit) / path

    def has(self, commit: str, path: str, size: int) -> bool:
        """Whether a snapshot has a file of that size."""
        return _size(self.pointer(commit, path)) == size

    def blob(self, file: ListedFile) -> Path:
        """Return the place of a content."""
        return self.folder / "blobs" / file.digest

    def part(self, file: ListedFile) -> Path:
        """Return the place of a content that has partly arrived. The hub's older tools use the same name."""
        return self.blob(file).with_name(file.digest + PART)

    def is_complete(self, file: ListedFile) -> bool:
        """Whether a content is here as a whole."""
        return _size(self.blob(file)) == file.size

    def bytes_here(self, file: ListedFile) -> int:
        """Return how many bytes of a content need no download."""
        return file.size if self.is_complete(file) else min(_size(self.part(file)) or 0, file.size)

    def link(self, commit: str, path: str, file: ListedFile) -> None:
        """Make a content a file of a snapshot; where there are no links, by moving it."""
        pointer = self.pointer(commit, path)
        pointer.parent.mkdir(parents=True, exist_ok=True)
        up = "../" * (2 + path.count("/"))
        temporary = pointer.with_name(f".{secrets.token_hex(8)}.link")
        try:
            temporary.symlink_to(f"{up}blobs/{file.digest}")
        except OSError as error:
            if os.name != "nt" and error.errno not in NO_LINKS:
                raise
            temporary = self.blob(file)
        temporary.replace(pointer)

    def check_space(self, needed: int) -> None:
        """Raise CacheFailure unless the cache's disk has `needed` free bytes."""
        blobs = (self.folder / "blobs").absolute()
        place = next(place for place in (blobs, *blobs.parents) if place.exists())
        free = shutil.disk_usage(place).free
        if free < needed:
            raise CacheFailure(
                f"{self.repository}: {needed:,} bytes are needed in {self.cache}, and {free:,} are free; "
                "--cache or HF_HUB_CACHE chooses another folder"
            )

    @asynccontextmanager
    async def lock(self, file: ListedFile, waiting: Callable[[], object]) -> AsyncIterator[None]:
        """Lock a content while it is downloaded, also against the hub's own tools.

        `waiting` is called regularly while another process has the lock. Without locks on this system or this disk,
        two processes may download the same bytes.
        """
        path = self.cache / ".locks" / self.name / f"{file.digest}.lock"
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o664)
        try:
            while not _try_lock(handle):
                waiting()
                await asyncio.sleep(POLL_INTERVAL)
            yield
        finally:
            os.close(handle)

    def _tree(self, commit: str) -> Path:
        assert is_commit(commit)  # noqa: S101  # checked by the client
        return self.folder / "trees" / f"{commit}.json"


def _try_lock(handle: int) -> bool:
    """Lock an open file, and return whether it is ours; True where there are no locks."""
    try:
        import fcntl  # noqa: PLC0415  # Windows has none
    except ImportError:
        return True
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return error.errno not in CONTENTION
    return True


def _read(path: Path, limit: int) -> str:
    """Return the text of a file; empty if it is missing, unreadable or too large."""
    try:
        if path.stat().st_size > limit:
            return ""
        return path.read_text("utf-8")
    except (OSError, UnicodeDecodeError):
        return ""


def _size(path: Path) -> int | None:
    """Return the bytes of a regular file, otherwise None."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_size if stat.S_ISREG(status.st_mode) else None


def _replace(path: Path, text: str) -> None:
    """Write a text file atomically."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{secrets.token_hex(8)}.tmp")
    try:
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
