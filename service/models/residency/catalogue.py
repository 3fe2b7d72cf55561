"""The catalogue: which models there are, read from their folders at start, whether or not they can be served."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ...errors import ModelBroken, ModelNotFound
from ..folder.manifest import read
from .slot import Entry, State

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

BUILTIN = Path(__file__).parents[1] / "builtin"


class Catalogue:
    """The models in `folders`, the first being the default; without folders, the built-in one.

    Raises:
        ValueError: two models have one name.
    """

    def __init__(self, folders: Sequence[Path] = ()) -> None:
        self._entries: dict[str, Entry] = {}
        for folder in folders or [BUILTIN]:
            self._add(Path(folder))

    def __iter__(self) -> Iterator[Entry]:
        return iter(self._entries.values())

    @property
    def default(self) -> str:
        """The name of the model that requests without one use."""
        return next(iter(self._entries))

    def names(self) -> list[str]:
        """Return the names of all models, broken ones too: the default first, then by name."""
        return [self.default, *sorted(self._entries.keys() - {self.default})]

    def entry(self, name: str) -> Entry:
        """Return the model of that name; "" is the default. Raises ModelNotFound."""
        entry = self._entries.get(name or self.default)
        if entry is None:
            raise ModelNotFound(name, self.names())
        return entry

    def _add(self, folder: Path) -> None:
        try:
            manifest = read(folder)
            entry = Entry(manifest.spec.name, manifest)
        except ModelBroken as error:
            entry = Entry(error.metadata["model"], None, error, State.FAILED)
        if entry.name in self._entries:
            raise ValueError(f"two models are called {entry.name!r}, the second in {folder}; give one another name")
        self._entries[entry.name] = entry
