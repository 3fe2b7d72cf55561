"""The files of a commit: their sizes and hashes, as the hub lists them and as `trees/COMMIT.json` keeps them.

A small file is named by git's SHA-1 of its blob, a large one (LFS, xet) by the SHA-256 of its content. The format of
`trees/` is that of the hub's own tools since 2026: an offline reader can tell whether a snapshot is complete.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .identifiers import is_safe_path

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

FORMAT = 1
MOST_FILES = 100_000
LARGEST = 1 << 50  # bytes
_SHA1, _SHA256 = re.compile(r"[0-9a-f]{40}"), re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class ListedFile:
    """A file of a commit: bytes, git's SHA-1, and for large files the SHA-256 and the hash of xet."""

    size: int
    blob_id: str
    sha256: str = ""
    xet_hash: str = ""

    def __post_init__(self) -> None:
        if type(self.size) is not int or not 0 <= self.size <= LARGEST:
            raise ValueError(f"size must be a number of bytes; got {self.size!r}")
        if not _SHA1.fullmatch(self.blob_id):
            raise ValueError(f"oid must be a SHA-1; got {self.blob_id!r}")
        if self.sha256 and not _SHA256.fullmatch(self.sha256):
            raise ValueError(f"lfs.oid must be a SHA-256; got {self.sha256!r}")

    @property
    def digest(self) -> str:
        """The hash that names the file in the cache, in hexadecimal."""
        return self.sha256 or self.blob_id

    def new_hash(self) -> hashlib._Hash:
        """Return the hash object that the whole content must be fed to."""
        if self.sha256:
            return hashlib.sha256()
        return hashlib.sha1(f"blob {self.size}\0".encode())  # noqa: S324  # git's choice


Listing = dict[str, ListedFile]


def digest(file: ListedFile, content: bytes) -> str:
    """Return the hash of a content, of the kind that names `file`."""
    found = file.new_hash()
    found.update(content)
    return found.hexdigest()


def read_page(page: Any) -> Listing:
    """Return the files on a page of the hub's `tree` endpoint. Raises ValueError."""
    if not isinstance(page, list):
        raise ValueError("a page must be a list")  # noqa: TRY004  # a wrong answer, not a wrong call
    return dict(_read_entry(entry) for entry in page if not isinstance(entry, dict) or entry.get("type") == "file")


def _read_entry(entry: Any) -> tuple[str, ListedFile]:
    try:
        lfs = entry.get("lfs") or {}
        size, sha256 = lfs.get("size", entry["size"]), lfs.get("oid", "").removeprefix("sha256:")
        return _checked(entry["path"]), ListedFile(size, entry["oid"], sha256, _xet_hash(entry.get("xetHash")))
    except (AttributeError, KeyError, TypeError) as error:
        raise ValueError(f"an entry must have path, size and oid; got {str(entry)[:200]}") from error


def _checked(path: str) -> str:
    if not is_safe_path(path):
        raise ValueError(f"unsafe file name {path[:200]!r}")
    return path


def _xet_hash(value: Any) -> str:
    """Return xet's hash, empty for an invalid one: the hub's own tools ignore a listing that has one."""
    return value if isinstance(value, str) and _SHA256.fullmatch(value.lower()) else ""


def check_listing(files: Listing) -> Listing:
    """Return a listing unless it has too many files, or one path is both file and folder. Raises ValueError."""
    if len(files) > MOST_FILES:
        raise ValueError(f"more than {MOST_FILES:,} files")
    folders = {folder for path in files for folder in _parents(path)}
    if both := folders & files.keys():
        raise ValueError(f"{min(both)!r} is listed as a file and as a folder")
    return files


def _parents(path: str) -> Iterable[str]:
    folder = path.rpartition("/")[0]
    while folder:
        yield folder
        folder = folder.rpartition("/")[0]


def dump_listing(files: Mapping[str, ListedFile]) -> str:
    """Return the text of `trees/COMMIT.json`."""
    return json.dumps(
        {"format_version": FORMAT, "files": {path: _dump(files[path]) for path in sorted(files)}}, indent=1
    )


def _dump(file: ListedFile) -> dict[str, object]:
    large = {"lfs_sha256": file.sha256, "lfs_size": file.size} if file.sha256 else {}
    return {"size": file.size, "blob_id": file.blob_id} | large | ({"xet_hash": file.xet_hash} if file.xet_hash else {})


def load_listing(text: str) -> Listing | None:
    """Return the listing in a text of `trees/COMMIT.json`; None if it is damaged or of another format."""
    try:
        content = json.loads(text)
        if content["format_version"] != FORMAT:
            return None
        return check_listing({_checked(path): _load(info) for path, info in content["files"].items()})
    except (AttributeError, KeyError, TypeError, ValueError, RecursionError):
        return None


def _load(info: Mapping[str, Any]) -> ListedFile:
    sha256 = info.get("lfs_sha256") or ""
    size = info["lfs_size"] if sha256 else info["size"]
    return ListedFile(size, info["blob_id"], sha256, _xet_hash(info.get("xet_hash")))
