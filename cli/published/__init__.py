"""Published models that are served from their weights, checked in November 2026.

To add one, look up on its page: licence, whether access is gated, the files, and the number format of each component.
Parameters are those of the configurations; sizes and memory are calculated from them.
"""

from .conditional import CONDITIONAL
from .model import FULL, HALF, PublishedModel
from .permissive import PERMISSIVE

PUBLISHED = (*PERMISSIVE, *CONDITIONAL)
"""Licences with the fewest conditions first, then by size."""

__all__ = ["FULL", "HALF", "PUBLISHED", "PublishedModel"]
