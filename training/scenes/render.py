"""A picture from its content: the same content gives the same bytes, on every machine with the same Pillow."""

from __future__ import annotations

from PIL import Image

from .scene import draw_scene
from .shapes import draw_shapes
from .spec import ShapesSpec, Spec, spec


def render(content: Spec) -> Image.Image:
    """Draw a `ShapesSpec` or a `SceneSpec`: RGB, 256 by 256."""
    if isinstance(content, ShapesSpec):
        return draw_shapes(content)
    return draw_scene(content)


def sheet(first: int = 0, count: int = 48, columns: int = 8, side: int = 160) -> Image.Image:
    """A contact sheet of the pictures `first` and following, to look at the data."""
    whole = Image.new("RGB", (columns * side, -(-count // columns) * side))
    for place in range(count):
        small = render(spec(first + place)).resize((side, side), Image.Resampling.LANCZOS)
        whole.paste(small, (place % columns * side, place // columns * side))
    return whole
