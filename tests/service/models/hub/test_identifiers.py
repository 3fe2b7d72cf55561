"""Names on the hub."""

from __future__ import annotations

import pytest

from tintype.service.models.hub.identifiers import HubId, is_safe_path


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("stabilityai/sd-turbo", ("stabilityai/sd-turbo", "main", "")),
        ("a/b@v1.0", ("a/b", "v1.0", "")),
        ("a/b@refs/pr/1", ("a/b", "refs/pr/1", "")),
        ("a/b/c.safetensors", ("a/b", "main", "c.safetensors")),
        ("a/b/sub folder/c.safetensors@x", ("a/b", "x", "sub folder/c.safetensors")),
    ],
)
def test_parts_of_an_id(text: str, parts: tuple[str, str, str]) -> None:
    """An id has owner and name, and may have a file and a revision; it is written back as it was."""
    found = HubId.parse(text)
    assert (found.repository, found.revision, found.file) == parts
    assert str(found) == text


@pytest.mark.parametrize(
    "text",
    [
        *(
            "",
            "name",
            "/",
            "a/",
            "/b",
            "../b",
            "a/..",
            "./a",
            "~/a",
            "-a/b",
            "a/b-",
            "a/.b",
            "a--b/c",
            "a/b..c",
            "a/b.git",
        ),
        *(
            "a/b@",
            "a/b@..",
            "a/b@x/../y",
            "a/b@/x",
            "a/b@-x",
            "a/b@x y",
            "a/b/",
            "a/b/c",
            "a/b/../c.safetensors",
            "a/b/c.ckpt",
        ),
        *("a b/c", "ä/b", "a/b/c\n.safetensors", "a/" + "b" * 100, "file:///a/b", "https://hub/a/b"),
    ],
)
def test_other_texts_are_refused(text: str) -> None:
    """A text that is no id, or that could name a file elsewhere, is an error."""
    with pytest.raises(ValueError, match=r"must|is OWNER/NAME|a revision is"):
        HubId.parse(text)


def test_commits_are_recognised() -> None:
    """A whole commit hash is a commit; a branch or an abbreviated hash may change."""
    assert HubId.parse("a/b@" + "0af" * 13 + "1").is_commit
    assert not HubId.parse("a/b@0af1").is_commit
    assert not HubId.parse("a/b").is_commit


@pytest.mark.parametrize("path", ["a", "a/b.json", ".gitattributes", "ä/b c/…", "a" * 255])
def test_safe_paths(path: str) -> None:
    """Usual names of files are accepted."""
    assert is_safe_path(path)


@pytest.mark.parametrize(
    "path",
    ["", "/a", "a//b", "a/", "../a", "a/../b", "a/..", ".", "a/./b", "a\\..\\b", "a\0", "a\n", "a" * 256, "a/" * 600],
)
def test_paths_that_lead_out(path: str) -> None:
    """Names that could be a file elsewhere, or none, are refused."""
    assert not is_safe_path(path)
