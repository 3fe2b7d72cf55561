"""Which stored tensors make up a parameter of a component."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

if TYPE_CHECKING:
    from pathlib import Path


class Piece(NamedTuple):
    """A stored tensor, or rows `first` to `last` of it along axis 0; `transposed` if it is stored as the transpose."""

    name: str
    first: int | None = None
    last: int | None = None
    transposed: bool = False


Naming: TypeAlias = Callable[[str], tuple[Piece, ...]]
"""Maps the name of a parameter in diffusers or transformers to its pieces, which follow each other along axis 0.

Raises ModelFileError for a parameter that the scheme does not know."""


def as_published(name: str) -> tuple[Piece, ...]:
    """Name parameters as diffusers and transformers store them."""
    return (Piece(name),)


@dataclass(frozen=True, slots=True)
class ComponentWeights:
    """The stored weights of one component.

    `files` are safetensors files, all shards of a component or one file of several components. `scope` is the prefix of
    the component's tensors in them. Tensors below it that no parameter uses are refused, unless `ignored` matches them.
    """

    files: tuple[Path, ...]
    naming: Naming = as_published
    scope: str = ""
    ignored: Callable[[str], bool] = lambda _: False
