"""Images as sixels, the format of DEC's VT340: bands of six rows, each in up to 256 colours.

https://vt100.net/docs/vt3xx-gp/chapter14.html
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

    from PIL import Image

    Array = np.ndarray[tuple[int, ...], Any]

COLORS = 256
BEGIN, END = '\x1bP0;1q"1;1;{width};{height}', "\x1b\\"  # pixels that no colour paints stay; square pixels
FIRST = 63  # the character of a column without pixels; each of the six pixels adds a power of two
REPEAT = 4  # equal columns from which a repetition is shorter
ROWS = 2 ** np.arange(6)[:, None]


def encode(image: Image.Image) -> str:
    """Return an image as one sixel sequence."""
    indexed = image.convert("RGB").quantize(COLORS)
    pixels, palette = np.asarray(indexed), np.asarray(indexed.getpalette() or [], np.int64).reshape(-1, 3)
    percent = (palette * 100 + 127) // 255  # colours are given in percent
    used = np.unique(pixels)
    colors = "".join(f"#{color};2;{';'.join(map(str, percent[color]))}" for color in used)
    height, width = pixels.shape
    bands = "-".join("$".join(_band(pixels[top : top + 6])) for top in range(0, height, 6))
    return BEGIN.format(width=width, height=height) + colors + bands + END


def _band(rows: Array) -> Iterator[str]:
    """Yield the columns of each colour of up to six rows [6, w]."""
    for color in np.unique(rows):
        columns = ((rows == color) * ROWS[: len(rows)]).sum(axis=0)
        yield f"#{color}{_runs(columns)}"


def _runs(columns: Array) -> str:
    """Return columns as characters, with repetitions; empty columns at the end are left out."""
    starts = np.flatnonzero(np.diff(columns, prepend=-1))
    counts = np.diff(starts, append=len(columns))
    pairs = list(zip(columns[starts], counts, strict=True))
    if not pairs[-1][0]:
        pairs.pop()
    return "".join(_run(chr(FIRST + int(value)), int(count)) for value, count in pairs)


def _run(character: str, count: int) -> str:
    return f"!{count}{character}" if count >= REPEAT else character * count
