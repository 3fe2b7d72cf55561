"""Sixels, decoded by libsixel."""

from __future__ import annotations

import io
import os
import re
import subprocess
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image

from tests.support.tools import tool
from tintype.cli.images.sixel import encode

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Array = np.ndarray[tuple[int, ...], Any]
    Decode = Callable[[str], Image.Image]


@pytest.fixture(scope="module")
def decode() -> Decode:
    """A function that decodes sixels with libsixel."""
    program = tool("sixel2png", "libsixel-bin", "libsixel1")
    libraries = ":".join(map(str, {path.parent for path in program.parents[2].rglob("libsixel.so*")}))

    def run(text: str) -> Image.Image:
        environ = os.environ | {"LD_LIBRARY_PATH": libraries}
        done = subprocess.run([program], input=text.encode("ascii"), capture_output=True, env=environ, check=True)
        return Image.open(io.BytesIO(done.stdout)).convert("RGB")

    return run


def colors(height: int, width: int) -> Array:
    """Return random pixels of 256 colours that sixels can express: multiples of 20 percent."""
    return np.random.default_rng(1).integers(0, 6, (height, width, 3)).astype(np.uint8) * 51


@pytest.mark.slow
@pytest.mark.parametrize("size", [(6, 7), (1, 1), (13, 40), (64, 3)])
def test_pixels_return(decode: Decode, size: tuple[int, int]) -> None:
    """Up to 256 colours return as they were, in any size, also the last band of fewer than six rows."""
    pixels = colors(*size)
    assert np.array_equal(np.asarray(decode(encode(Image.fromarray(pixels)))), pixels)


@pytest.mark.slow
def test_photograph(decode: Decode) -> None:
    """An image of more colours returns in its size, nearly as it was."""
    rows, columns = np.mgrid[0:100, 0:160]
    pixels = np.stack([rows * 2, columns, (rows + columns) % 256], axis=-1).astype(np.uint8)
    returned = np.asarray(decode(encode(Image.fromarray(pixels))))
    assert returned.shape == pixels.shape
    assert np.abs(returned.astype(float) - pixels).mean() < 8


def test_runs_are_short() -> None:
    """A plain image is a few characters for each band, and nothing outside of ASCII."""
    text = encode(Image.new("RGB", (500, 600), "red"))
    assert len(text) < 100 + 100 * 10
    assert re.fullmatch(r"\x1bP[\x20-\x7e]*\x1b\\", text)


def test_a_file_is_not_needed(tmp_path: Path) -> None:
    """Images with transparency and with palettes are shown too."""
    Image.new("P", (5, 5)).save(tmp_path / "p.png")
    for image in (Image.new("RGBA", (5, 5)), Image.open(tmp_path / "p.png"), Image.new("L", (5, 5))):
        assert encode(image).startswith('\x1bP0;1q"1;1;5;5#')
