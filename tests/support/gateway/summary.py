"""A summary of an image that a client received."""

from __future__ import annotations

ImageSummary = tuple[str, tuple[int, int], str]
"""Format, size in pixels (width, height) and mode, as Pillow names them."""
