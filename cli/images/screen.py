"""Images in a terminal: kitty's graphics protocol, iTerm2's inline images, sixels, and half blocks in 24-bit colours.

https://sw.kovidgoyal.net/kitty/graphics-protocol/ and https://iterm2.com/documentation-images.html
"""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass
from math import ceil
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from . import sixel

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    Pixel = np.ndarray[tuple[int, ...], Any]

MAX_ROWS = 24  # of a terminal that an image takes
SPARE_ROWS = 3  # rows of a terminal that stay for text
CHUNK = 4096  # characters of one of kitty's sequences
BLOCK = "▀"  # its upper half is in the colour of the text, its lower half in that of the background


@dataclass(frozen=True, slots=True)
class Screen:
    """A terminal: how it shows images, its size in characters, and the pixels of a character."""

    way: str
    columns: int = 80
    rows: int = 24
    cell: tuple[int, int] = (8, 16)

    def show(self, data: bytes) -> str:
        """Return what shows an encoded image, scaled to the terminal, with the end of the last line."""
        with Image.open(io.BytesIO(data)) as image:
            return WAYS[self.way](_fit(image.convert("RGB"), self), self) + "\n"


def _fit(image: Image.Image, screen: Screen) -> Image.Image:
    """Return an image that is not larger than the terminal's share for it."""
    rows = max(1, min(MAX_ROWS, screen.rows - SPARE_ROWS))
    width, height = (1, 2) if screen.way == "blocks" else screen.cell
    image.thumbnail((screen.columns * width, rows * height))
    return image


def _png(image: Image.Image) -> str:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode()


def _kitty(image: Image.Image, screen: Screen) -> str:
    """Transmit and display a PNG, in chunks; q=2 keeps the terminal from answering."""
    text = _png(image)
    chunks = [text[start : start + CHUNK] for start in range(0, len(text), CHUNK)]
    more = [1] * (len(chunks) - 1) + [0]
    cells = f"c={ceil(image.width / screen.cell[0])},r={ceil(image.height / screen.cell[1])}"
    heads = [f"a=T,f=100,q=2,{cells},", *[""] * (len(chunks) - 1)]
    return "".join(
        f"\x1b_G{head}m={follows};{chunk}\x1b\\" for head, follows, chunk in zip(heads, more, chunks, strict=True)
    )


def _iterm2(image: Image.Image, _: Screen) -> str:
    text = _png(image)
    size = f"width={image.width}px;height={image.height}px"
    return f"\x1b]1337;File=inline=1;{size};preserveAspectRatio=1:{text}\x07"


def _blocks(image: Image.Image, _: Screen) -> str:
    """Show two rows of pixels in each row of characters."""
    rows = np.asarray(image.crop((0, 0, image.width, image.height + image.height % 2)))
    lines = ("".join(map(_block, upper, lower)) for upper, lower in zip(rows[::2], rows[1::2], strict=True))
    return "\n".join(line + "\x1b[0m" for line in lines)


def _block(upper: Pixel, lower: Pixel) -> str:
    return f"\x1b[38;2;{';'.join(map(str, upper))};48;2;{';'.join(map(str, lower))}m{BLOCK}"


WAYS: dict[str, Callable[[Image.Image, Screen], str]] = {
    "kitty": _kitty,
    "iterm2": _iterm2,
    "sixel": lambda image, _: sixel.encode(image),
    "blocks": _blocks,
}
