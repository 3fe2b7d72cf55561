"""Listings of a commit's files."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tintype.service.models.hub.listing import ListedFile, check_listing, digest, dump_listing, load_listing, read_page

SHA1, SHA256 = "a" * 40, "b" * 64
SMALL: dict[str, Any] = {"type": "file", "path": "unet/config.json", "size": 5, "oid": SHA1}
LARGE: dict[str, Any] = SMALL | {
    "path": "w",
    "lfs": {"oid": SHA256, "size": 9, "pointerSize": 130},
    "xetHash": "c" * 64,
}


def test_pages() -> None:
    """Folders are left out; a large file has its SHA-256 and its own size."""
    found = read_page([SMALL, LARGE, {"type": "directory", "path": "unet", "oid": SHA1}])
    assert found == {"unet/config.json": ListedFile(5, SHA1), "w": ListedFile(9, SHA1, SHA256, "c" * 64)}
    assert [file.digest for file in found.values()] == [SHA1, SHA256]


@pytest.mark.parametrize(
    "page",
    [
        *({}, "x", None, [1], [None], [{"type": "file"}]),
        *([SMALL | change] for change in ({"path": "../x"}, {"path": 3}, {"size": -1}, {"size": "5"}, {"size": True})),
        *([SMALL | change] for change in ({"oid": "../../x"}, {"oid": None}, {"lfs": 3}, {"lfs": {"oid": "/etc/x"}})),
        [SMALL | {"size": 1 << 60}],
    ],
)
def test_invalid_pages(page: Any) -> None:
    """A page of another form, with a name that leads out or with a hash that is a path, is an error."""
    with pytest.raises(ValueError, match=r"must|unsafe"):
        read_page(page)


def test_conflicting_paths() -> None:
    """A path that is both file and folder could not be written."""
    file = ListedFile(1, SHA1)
    with pytest.raises(ValueError, match=r"'a/b' is listed as a file and as a folder"):
        check_listing({"a/b": file, "a/b/c": file})


def test_digests() -> None:
    """A small file is named by git's SHA-1, a large one by its SHA-256."""
    assert digest(ListedFile(6, SHA1), b"hello\n") == "ce013625030ba8dba906f756967f9e9ca394464a"
    assert digest(ListedFile(0, SHA1, SHA256), b"").startswith("e3b0c44298fc1c14")


def test_round_trip() -> None:
    """A listing that was written is read again; a damaged one, or one of another format, is None."""
    listing = read_page([SMALL, LARGE])
    text = dump_listing(listing)
    assert load_listing(text) == listing
    content = json.loads(text)
    assert content["files"]["w"] == {
        "size": 9,
        "blob_id": SHA1,
        "lfs_sha256": SHA256,
        "lfs_size": 9,
        "xet_hash": "c" * 64,
    }
    outside = {"format_version": 1, "files": {"../x": {"size": 1, "blob_id": SHA1}}}
    others = [json.dumps(content | {"format_version": 2}), json.dumps(outside), '{"format_version": 1}', "[]", "{", "["]
    assert [load_listing(other) for other in (*others, "[" * 10**5)] == [None] * 7
