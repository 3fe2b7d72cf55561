"""The order in which published models are listed."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .model import PublishedModel

FIRST = "Apache-2.0"


def by_licence_and_size(
    permissive: Sequence[PublishedModel], conditional: Sequence[PublishedModel]
) -> tuple[PublishedModel, ...]:
    """Return all models: under Apache-2.0, other permissive licences, conditions; each by size of the download."""
    groups = (
        [model for model in permissive if model.license == FIRST],
        [model for model in permissive if model.license != FIRST],
        conditional,
    )
    return tuple(model for group in groups for model in sorted(group, key=lambda model: model.download_bytes))
