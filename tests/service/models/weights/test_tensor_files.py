"""Sets of safetensors files are checked before any number is read, and read in blocks."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.models.small_template import draw, encode, write_stored
from tintype.service.models.files import ModelFileError
from tintype.service.models.safetensors import MAX_TENSORS, TensorFile
from tintype.service.models.weights import tensor_files
from tintype.service.models.weights.number_formats import convert
from tintype.service.models.weights.pieces import Piece
from tintype.service.models.weights.tensor_files import TensorFiles

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

MATRIX = np.arange(24, dtype=np.float32).reshape(6, 4)


def write_header(path: Path, header: str, data: bytes = b"") -> Path:
    """Write a file with a header that may be wrong."""
    text = header.encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + data)
    return path


def read(files: TensorFiles, pieces: Sequence[Piece], **options: Any) -> NDArray[Any]:
    """Return the numbers of a parameter, in order."""
    with files.reader() as reader:
        blocks = list(reader.blocks(pieces, options.pop("dtype", np.float32), **options))
    assert all(block.flags.c_contiguous for block in blocks)
    return np.concatenate([block.reshape(-1) for block in blocks])


@pytest.fixture
def matrix(tmp_path: Path) -> TensorFiles:
    """A file with MATRIX."""
    return TensorFiles([write_stored(tmp_path / "a.safetensors", {"w": ("F32", MATRIX)})])


def test_shards_are_one_set(tmp_path: Path) -> None:
    """The tensors of all files are found by name, each where it lies."""
    paths = [tmp_path / "1.safetensors", tmp_path / "2.safetensors"]
    for path, name in zip(paths, "ab", strict=True):
        write_stored(path, {name: ("F32", MATRIX + ord(name))})
    files = TensorFiles(paths)
    assert files.tensors.keys() == {"a", "b"}
    assert [read(files, [Piece(name)]).tolist() for name in "ab"] == [
        (MATRIX + ord(name)).reshape(-1).tolist() for name in "ab"
    ]
    with paths[1].open("rb") as file:
        file.seek(files.tensors["b"].offset)
        assert file.read() == (MATRIX + ord("b")).tobytes()


@pytest.mark.parametrize("dtype", ["F32", "F16", "BF16", "F8_E4M3", "F8_E5M2"])
@pytest.mark.parametrize("transposed", [False, True])
def test_formats_are_converted_in_blocks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dtype: str, *, transposed: bool
) -> None:
    """Any format becomes float32 and float16, in order or transposed, however small the blocks are."""
    stored = draw(dtype)["mid.weight"]
    files = TensorFiles([write_stored(tmp_path / "a.safetensors", {"w": (dtype, stored)})])
    wanted = convert(stored, dtype).T if transposed else convert(stored, dtype)
    for block in (1, 20, 10_000):
        monkeypatch.setattr(tensor_files, "BLOCK", block)
        monkeypatch.setattr(tensor_files, "RELEASE", 64)
        for target in (np.float32, np.float16):
            got = read(files, [Piece("w")], dtype=target, transposed=transposed)
            assert got.dtype == target
            np.testing.assert_array_equal(got, wanted.astype(target).reshape(-1))


def test_pieces_are_joined(matrix: TensorFiles) -> None:
    """Rows in another order, and stored transposes, follow each other along axis 0."""
    swapped = [Piece("w", 3, 6), Piece("w", 0, 3)]
    np.testing.assert_array_equal(read(matrix, swapped), np.concatenate([MATRIX[3:], MATRIX[:3]]).reshape(-1))
    turned = read(matrix, swapped, transposed=True)
    np.testing.assert_array_equal(turned, np.concatenate([MATRIX[3:], MATRIX[:3]]).T.reshape(-1))
    np.testing.assert_array_equal(read(matrix, [Piece("w", transposed=True)]), MATRIX.T.reshape(-1))
    np.testing.assert_array_equal(read(matrix, [Piece("w", 1, 3, transposed=True)]), MATRIX.T[1:3].reshape(-1))
    with matrix.reader() as reader:
        np.testing.assert_array_equal(reader.matrix(swapped), np.concatenate([MATRIX[3:], MATRIX[:3]]))


def test_rounding_keeps_float32(tmp_path: Path) -> None:
    """Numbers that are rounded to float16 may stay float32."""
    numbers = np.array([1 / 3, 1e-9, -7.77], np.float32)
    files = TensorFiles([write_stored(tmp_path / "a.safetensors", {"w": ("F32", numbers)})])
    got = read(files, [Piece("w")], rounded=True)
    assert got.dtype == np.float32
    np.testing.assert_array_equal(got, numbers.astype(np.float16).astype(np.float32))


@pytest.mark.parametrize("options", [{"dtype": np.float16}, {"rounded": True}])
def test_numbers_beyond_float16_are_refused(tmp_path: Path, options: dict[str, Any]) -> None:
    """Such a weight would be infinite; the message names it and the way out."""
    files = TensorFiles([write_stored(tmp_path / "a.safetensors", {"big": ("F32", np.array([1, 7e4], np.float32))})])
    with pytest.raises(ModelFileError, match="big has numbers that float16 cannot hold; set precision to fp32"):
        read(files, [Piece("big")], **options)


@pytest.mark.parametrize(
    ("ending", "scale", "factors"),
    [
        (".scale_weight", np.array(0.5, np.float32), 0.5),
        (".weight_scale", np.array([3], np.float32), 3),
        (".weight_scale", np.array([1, 2, 3, 4, 5, 6], np.float32), np.arange(1, 7)[:, None]),
        (".weight_scale", np.array([[1], [2], [3], [4], [5], [6]], np.float32), np.arange(1, 7)[:, None]),
    ],
)
def test_scaled_float8(tmp_path: Path, ending: str, scale: NDArray[np.float32], factors: Any) -> None:
    """An 8-bit weight is multiplied by its scale: one number, or one for each row."""
    stored = encode(MATRIX / 8, "F8_E4M3")
    tensors = {"l.weight": ("F8_E4M3", stored), f"l{ending}": ("F32", np.asarray(scale))}
    files = TensorFiles([write_stored(tmp_path / "a.safetensors", tensors)])
    wanted = convert(stored, "F8_E4M3") * factors
    np.testing.assert_array_equal(read(files, [Piece("l.weight")]), wanted.reshape(-1))
    np.testing.assert_array_equal(read(files, [Piece("l.weight", 2, 4)]), wanted[2:4].reshape(-1))
    np.testing.assert_array_equal(read(files, [Piece("l.weight")], transposed=True), wanted.T.reshape(-1))
    np.testing.assert_array_equal(read(files, [Piece("l.weight", transposed=True)]), wanted.T.reshape(-1))


def test_scales_of_blocks_are_refused(tmp_path: Path) -> None:
    """A scale for each block is another format."""
    tensors = {
        "l.weight": ("F8_E4M3", encode(MATRIX, "F8_E4M3")),
        "l.weight_scale": ("F32", np.ones((3, 2), np.float32)),
    }
    files = TensorFiles([write_stored(tmp_path / "a.safetensors", tensors)])
    with pytest.raises(ModelFileError, match=r"l\.weight_scale must have one number, or one for each row of l\.weight"):
        files.scale_of("l.weight")


def test_a_tensor_in_two_files_is_refused(tmp_path: Path) -> None:
    """Nothing says which of the two is meant."""
    paths = [write_stored(tmp_path / f"{n}.safetensors", {"w": ("F32", MATRIX)}) for n in (1, 2)]
    with pytest.raises(ModelFileError, match=r"2\.safetensors has w, which another file of the model has too"):
        TensorFiles(paths)
    with pytest.raises(ModelFileError, match="is listed twice"):
        TensorFiles([paths[0], paths[0]])


def test_a_tensor_twice_in_a_header_is_refused(tmp_path: Path) -> None:
    """Readers of JSON keep the last of two fields of one name."""
    entry = '{"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}'
    path = write_header(tmp_path / "a.safetensors", f'{{"w": {entry}, "w": {entry}}}', bytes(4))
    with pytest.raises(ModelFileError, match=r"a\.safetensors is not a safetensors file: its header has 'w' twice"):
        TensorFiles([path])


def test_too_many_tensors_are_refused(tmp_path: Path) -> None:
    """The number of tensors is limited before they take memory."""
    header = "{" + ",".join(f'"{n}":{{"dtype":"F32","shape":[0],"data_offsets":[0,0]}}' for n in range(200_000)) + "}"
    path = write_header(tmp_path / "a.safetensors", header)
    with pytest.raises(ModelFileError, match=rf"must have at most {MAX_TENSORS} tensors|is not a safetensors file"):
        TensorFiles([path])
    path = write_header(tmp_path / "b.safetensors", header[: header.index(f'"{MAX_TENSORS + 1}"') - 1] + "}")
    with pytest.raises(ModelFileError, match=rf"must have at most {MAX_TENSORS} tensors"):
        TensorFiles([path])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda data: data[:-1], "is cut off or damaged"),
        (lambda data: data[:20], "is not a safetensors file, or is cut off"),
        (lambda data: data + b"\0", "is cut off or damaged"),
        (lambda data: (2**40).to_bytes(8, "little") + data[8:], "is not a safetensors file, or is cut off"),
        (lambda data: data.replace(b"[0, 96]", b"[4, 96]"), "does not fit its shape"),
        (lambda data: data.replace(b"F32", b"F64"), "does not fit its shape"),
        (lambda data: data.replace(b"F32", b"Q16"), "has the dtype Q16; supported are"),
        (lambda data: data[:0], "is not a safetensors file, or is cut off"),
    ],
)
def test_damaged_files_are_refused(tmp_path: Path, change: Any, message: str) -> None:
    """A header that does not fit the file is found before any number is read."""
    path = write_stored(tmp_path / "a.safetensors", {"w": ("F32", MATRIX)})
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(ModelFileError, match=message):
        TensorFiles([path])


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    """So is a link to nothing, as a hub's cache has after its blobs were deleted."""
    (tmp_path / "a.safetensors").symlink_to("../blobs/0123")
    for name in ("a.safetensors", "b.safetensors"):
        with pytest.raises(ModelFileError, match=f"{name} is missing"):
            TensorFiles([tmp_path / name])


NAMES = st.text(max_size=8)
NUMBERS = st.integers(-(2**65), 2**65) | st.sampled_from([0, 4, 8, 16])
ENTRIES = st.fixed_dictionaries(
    {},
    optional={
        "dtype": st.sampled_from(["F32", "F16", "U8", "F4", "", 3, None]),
        "shape": st.lists(NUMBERS, max_size=3) | st.text(max_size=2),
        "data_offsets": st.lists(NUMBERS, max_size=3) | st.none(),
    },
)


@given(st.dictionaries(NAMES, ENTRIES | st.none() | NUMBERS, max_size=3), st.binary(max_size=24))
def test_any_header_is_read_or_refused(tmp_path_factory: pytest.TempPathFactory, header: Any, data: bytes) -> None:
    """A header either describes the file's bytes exactly or is refused with the file's name."""
    path = write_header(tmp_path_factory.getbasetemp() / "any.safetensors", json.dumps(header), data)
    try:
        files = TensorFiles([path])
    except ModelFileError as error:
        assert "any.safetensors" in str(error)  # noqa: PT017
        assert "\n" not in str(error)  # noqa: PT017
        return
    assert sum(entry.end - entry.begin for entry in TensorFile(path).entries.values()) == len(data)
    assert all(tensor.offset <= path.stat().st_size for tensor in files.tensors.values())


def test_changes_are_noticed(matrix: TensorFiles) -> None:
    """A file that was written to, replaced or removed is not the one whose header was read."""
    (path,) = matrix.paths
    matrix.check_unchanged()
    assert matrix.overwritten() == []
    os.utime(path, ns=(1, 1))
    assert matrix.overwritten() == [path]
    with pytest.raises(ModelFileError, match=r"a\.safetensors has changed since the model was read"):
        matrix.check_unchanged()
    path.rename(path.with_name("old"))
    with pytest.raises(ModelFileError, match=r"a\.safetensors is missing$"):
        matrix.check_unchanged()
    assert matrix.overwritten() == []  # mappings keep the old file
    write_stored(path, {"w": ("F32", MATRIX)})
    assert matrix.overwritten() == []
    with pytest.raises(ModelFileError, match="has changed"):
        matrix.check_unchanged()


def test_a_link_is_followed_once(tmp_path: Path) -> None:
    """The file behind a link counts, not the link: the hub's tools point links at other blobs."""
    blob = write_stored(tmp_path / "blobs" / "0123", {"w": ("F32", MATRIX)})
    link = tmp_path / "a.safetensors"
    link.symlink_to(blob)
    files = TensorFiles([link])
    assert files.tensors["w"].path == blob.resolve()
    link.unlink()
    files.check_unchanged()
