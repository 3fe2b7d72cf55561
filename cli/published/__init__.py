"""Published models that are served from their weights, checked in November 2026.

To add one, look up on its page: licence, whether access is gated, the files, and the number format of each component.
Parameters are those of the configurations; sizes and memory are calculated from them.
"""

from .conditional import CONDITIONAL
from .model import FULL, HALF, PublishedModel
from .order import by_licence_and_size
from .permissive import PERMISSIVE

PUBLISHED = by_licence_and_size(PERMISSIVE, CONDITIONAL)
"""Apache-2.0 first, then other permissive licences, then those with conditions; in each by size of the download."""

__all__ = ["FULL", "HALF", "PUBLISHED", "PublishedModel"]
