"""Archives of templates: what is read of them, and how damage is found."""

from __future__ import annotations

import lzma
from typing import TYPE_CHECKING

import pytest

from tintype.service.models.files import ModelFileError
from tintype.service.models.templates.archive import LENGTH, StoredVariant, Variant, pack, stored, unpack

if TYPE_CHECKING:
    from pathlib import Path

CONTENTS = [bytes([number]) * (70_000 + number) for number in range(4)]
VARIANTS = [stored(Variant(half=n > 1, adapters=n % 2 == 1), content) for n, content in enumerate(CONTENTS)]


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    path = tmp_path / "data" / "some.xz"
    path.parent.mkdir()
    path.write_bytes(pack(CONTENTS))
    return path


@pytest.mark.parametrize("position", range(4))
def test_every_variant(archive: Path, position: int) -> None:
    """Each variant is read back."""
    assert unpack(archive, VARIANTS, position) == CONTENTS[position]


def test_what_follows_is_not_read(tmp_path: Path) -> None:
    """Reading stops after the wanted variant: damage behind it is not noticed."""
    noise = [bytes(range(256)) * 2000, *(bytes((n * n * 7919 + n) >> 5 & 255 for n in range(300_000)) for _ in "ab")]
    variants = [stored(Variant(), content) for content in noise]
    path = tmp_path / "some.xz"
    packed = pack(noise)
    path.write_bytes(packed[: len(packed) // 2])
    assert unpack(path, variants, 0) == noise[0]
    with pytest.raises(ModelFileError, match=r"some\.xz is damaged"):
        unpack(path, variants, 2)


@pytest.mark.parametrize("cut", [0, 1, 40, 80])
def test_truncated(archive: Path, cut: int) -> None:
    """A file that is cut off is refused with its name."""
    archive.write_bytes(archive.read_bytes()[:cut])
    with pytest.raises(ModelFileError, match=r"^data/some\.xz is damaged"):
        unpack(archive, VARIANTS, 3)


def test_other_bytes(archive: Path) -> None:
    """A flipped bit, or a file of another format, is refused."""
    content = bytearray(archive.read_bytes())
    content[len(content) // 2] ^= 1
    archive.write_bytes(content)
    with pytest.raises(ModelFileError, match=r"^data/some\.xz is damaged"):
        unpack(archive, VARIANTS, 3)
    archive.write_bytes(b"PK\3\4" + bytes(100))
    with pytest.raises(ModelFileError, match=r"^data/some\.xz is damaged"):
        unpack(archive, VARIANTS, 0)


def test_lying_length(archive: Path) -> None:
    """A length that differs from the index is refused before anything of that size is read."""
    huge = (2**62).to_bytes(LENGTH, "little") + CONTENTS[0]
    archive.write_bytes(lzma.compress(huge))
    with pytest.raises(ModelFileError, match="a variant has 4611686018427387904 bytes; the index says 70000"):
        unpack(archive, VARIANTS, 0)


def test_wrong_sha256(archive: Path) -> None:
    """Content of the right length that the index does not name is refused."""
    archive.write_bytes(pack([CONTENTS[0][:-1] + b"x"]))
    with pytest.raises(ModelFileError, match=r"^data/some\.xz is damaged: variant 0 does not have the index's SHA-256"):
        unpack(archive, VARIANTS, 0)


def test_bomb(archive: Path) -> None:
    """A file that decompresses to far more than the index says is not decompressed."""
    archive.write_bytes(lzma.compress(bytes(10**8)))
    with pytest.raises(ModelFileError, match="a variant has 0 bytes"):
        unpack(archive, VARIANTS, 0)


def test_missing(tmp_path: Path) -> None:
    """A missing archive is named."""
    with pytest.raises(ModelFileError, match=r"some.xz cannot be read: No such file"):
        unpack(tmp_path / "some.xz", VARIANTS, 0)


def test_index_entry() -> None:
    """The index states what identifies a variant."""
    entry = StoredVariant(Variant(half=True), 3, "0" * 64)
    assert entry.as_json() == {"half": True, "adapters": False, "bytes": 3, "sha256": "0" * 64}
