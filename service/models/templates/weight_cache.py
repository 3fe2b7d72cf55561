"""The folder for converted weights: files for one session, and entries that are kept for the next ones.

A file for one session is deleted as soon as the session has mapped it. It is in a folder of its own, which is locked
meanwhile: a folder without a lock is a leftover of a process that crashed, and the next process removes it.

An entry is kept under the key of its contents. It is made in such a folder and renamed when it is complete. An entry
whose source files have changed is never used again, so it is removed when the next one is made. If the disk is too
full for another one, the least recently used entries are removed.
"""

from __future__ import annotations

import atexit
import errno
import json
import logging
import math
import os
import shutil
import sys
import tempfile
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..weights.tensor_files import FileIdentity

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

if sys.platform != "win32":
    import fcntl

log = logging.getLogger(__name__)

PARTIAL = ".tintype-partial-"  # begins the names of folders in use
CARD = "card.json"  # describes an entry; it is the last file that is written, and its time that of the last use
KIND = "converted weights"  # marks the cards of entries, since users may choose a folder with other contents
MEBIBYTE = 2**20
MARGIN = 2**26  # bytes that must stay free


@dataclass(frozen=True, slots=True)
class WeightCache:
    """The folder `root`, which is made when it is needed."""

    root: Path

    @contextmanager
    def temporary(self, size: int, what: str) -> Iterator[Path]:
        """Yield a folder for about `size` bytes, which is deleted afterwards.

        Raises:
            OSError: the folder can't be made, or the disk does not have so much space for `what`.
        """
        self._prepare(size, what)
        folder, lock = _locked_folder(self.root)
        try:
            yield folder
        except OSError as error:
            raise _readable(error, self.root, what) from error
        finally:
            _remove(folder)
            _unlock(lock)

    def make(self, key: str, size: int, what: str, write: Callable[[Path], Mapping[str, Any]]) -> None:
        """Make the entry `key`; `write` writes its files into a folder, and returns its card, with `sources`.

        Raises:
            OSError: as `temporary`.
        """
        with self.temporary(size, what) as folder:
            card = {"tintype": KIND, **write(folder)}
            (folder / CARD).write_text(json.dumps(card, indent=1) + "\n", "utf-8")
            try:
                folder.rename(self.root / key)
            except OSError:
                if self.card(key) is None:  # damaged; otherwise another process was faster, and may be using its entry
                    _remove(self.root / key)
                    folder.rename(self.root / key)

    def use(self, key: str) -> Path:
        """Return the folder of an entry, and record its use."""
        with suppress(OSError):  # on a disk that is read-only by now
            os.utime(self.root / key / CARD)
        return self.root / key

    def remove(self, key: str) -> None:
        """Remove an entry."""
        _remove(self.root / key)

    def card(self, key: str) -> dict[str, Any] | None:
        """Return the card of an entry, None if there is no such entry."""
        return _read(self.root / key / CARD)

    def _prepare(self, size: int, what: str) -> None:
        """Make the folder, remove what is not used any more, and check the space on the disk."""
        try:
            self.root.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            reason = error.strerror or error
            raise OSError(f"--weights-cache {self.root} cannot be used as a folder: {reason}") from error
        _remove_leftovers(self.root)
        for folder in _entries(self.root):
            if _is_outdated(folder):
                _remove(folder)
        self._make_space(size + MARGIN)
        free = shutil.disk_usage(self.root).free
        if free < size + MARGIN:
            raise OSError(
                f"{what} needs {math.ceil((size + MARGIN) / MEBIBYTE):,} MiB in {self.root}, "
                f"where {free // MEBIBYTE:,} MiB are free: "
                f"free some space, or choose a folder on another disk with --weights-cache"
            )

    def _make_space(self, size: int) -> None:
        """Remove the least recently used entries, if that gives `size` bytes of free space."""
        entries = {folder: sum(file.stat().st_size for file in folder.iterdir()) for folder in _entries(self.root)}
        if shutil.disk_usage(self.root).free + sum(entries.values()) < size:
            return
        for folder in entries:
            if shutil.disk_usage(self.root).free < size:
                log.info("removing %s: the disk is nearly full", folder)
                _remove(folder)


def _entries(root: Path) -> list[Path]:
    """Return the folders of entries, the least recently used one first; other folders are left alone."""
    with suppress(OSError):  # another process may be removing the same ones
        cards = sorted(root.glob(f"*/{CARD}"), key=lambda card: card.stat().st_mtime_ns)
        folders = [card.parent for card in cards if not card.parent.name.startswith(PARTIAL)]
        return [folder for folder in folders if _sources(folder) is not None]
    return []


def _is_outdated(folder: Path) -> bool:
    """Return whether a file that an entry was made from has changed, or is missing."""
    sources = _sources(folder) or {}
    try:
        return any(FileIdentity(*identity) != FileIdentity.of(Path(path)) for path, identity in sources.items())
    except (OSError, TypeError):
        return True


def _sources(folder: Path) -> dict[str, Any] | None:
    """Return the files that an entry was made from, with their identities; None if the folder is not an entry."""
    card = _read(folder / CARD) or {}
    return card["sources"] if card.get("tintype") == KIND and isinstance(card.get("sources"), dict) else None


def _read(path: Path) -> dict[str, Any] | None:
    try:
        card = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return None
    return card if isinstance(card, dict) else None


def _locked_folder(root: Path) -> tuple[Path, int | None]:
    """Return a new folder below `root`, and the descriptor that holds its lock."""
    while True:
        folder = Path(tempfile.mkdtemp(prefix=PARTIAL, dir=root))
        with suppress(
            BlockingIOError, FileNotFoundError
        ):  # another process took it for a leftover before it was locked
            lock = _lock(folder)
            if folder.exists():
                return folder, lock
            _unlock(lock)


def _lock(folder: Path) -> int | None:
    """Return the descriptor of a folder, locked. Raises BlockingIOError if another process holds the lock."""
    if sys.platform == "win32":  # files in use can't be deleted there, which serves as a lock
        return None
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def _unlock(descriptor: int | None) -> None:
    if descriptor is not None:
        os.close(descriptor)


def _remove_leftovers(root: Path) -> None:
    """Remove the folders of processes that crashed."""
    for folder in root.glob(f"{PARTIAL}*"):
        with suppress(OSError):  # it is in use, or another process is removing it
            lock = _lock(folder)
            _remove(folder)
            _unlock(lock)


def _remove(folder: Path) -> None:
    """Remove a folder; one with files that are still mapped, which Windows keeps, at the end of the process."""
    shutil.rmtree(folder, ignore_errors=True)
    if folder.exists():
        atexit.register(shutil.rmtree, folder, ignore_errors=True)


def _readable(error: OSError, root: Path, what: str) -> OSError:
    """Return the error of a full disk with the folder and the way out; any other error as it is."""
    if error.errno not in (errno.ENOSPC, errno.EDQUOT):
        return error
    return OSError(f"{what}: the disk of {root} is full; free some space, or choose another one with --weights-cache")
