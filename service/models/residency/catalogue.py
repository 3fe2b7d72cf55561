"""The catalogue: the slots of all models, read from their folders at start. It includes models with broken folders."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING

from ...errors import ModelBroken, ModelNotFound
from ...metrics.observer import IGNORE
from ..folder.reader import read_manifest
from ..loading_options import DEFAULTS
from ..templates.filled_template import is_outdated
from .shared_encoders import find_shared
from .slot import Changes, ModelState, Slot

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ...metrics.observer import Observer
    from ..folder.manifest import Manifest
    from ..loading_options import LoadingOptions

BUILTIN = Path(__file__).parents[1] / "builtin"


class Catalogue:
    """The slots of the models at `paths`, the first being the default; without paths, of the built-in one.

    Raises:
        ValueError: two models have one name.
    """

    def __init__(
        self, paths: Sequence[Path] = (), loading: LoadingOptions = DEFAULTS, observer: Observer = IGNORE
    ) -> None:
        self.changes = Changes(observer)
        self._slots: dict[str, Slot] = {}
        self._paths: dict[str, Path] = {}
        self._loading = replace(loading, stop=Event())
        for path in paths or [BUILTIN]:
            self._add(Path(path))
        find_shared(self)

    def __iter__(self) -> Iterator[Slot]:
        return iter(self._slots.values())

    @property
    def default(self) -> str:
        """The name of the model that requests without one use."""
        return next(iter(self._slots))

    def names(self) -> list[str]:
        """Return the names of all models, broken ones included: the default first, then by name."""
        return [self.default, *sorted(self._slots.keys() - {self.default})]

    def slot(self, name: str) -> Slot:
        """Return the slot of the model `name`; "" is the default. Raises ModelNotFound."""
        slot = self._slots.get(name or self.default)
        if slot is None:
            raise ModelNotFound(name, self.names())
        return slot

    def refreshed(self, slot: Slot) -> Manifest:
        """Return a slot's manifest, read again if files of weights have changed since.

        A model that is broken now keeps its manifest; loading it then fails, and names the file.
        """
        manifest = slot.require_manifest()
        if any(map(is_outdated, manifest.sources)):
            with suppress(ModelBroken):
                slot.manifest = manifest = read_manifest(self._paths[slot.name], self._loading)
                find_shared(self)
        return manifest

    def stop_converting(self) -> None:
        """Let loads fail as soon as they convert another weight."""
        self._loading.stop.set()

    def _add(self, path: Path) -> None:
        try:
            manifest = read_manifest(path, self._loading)
            slot = Slot(manifest.spec.name, manifest, changes=self.changes)
        except ModelBroken as error:
            slot = Slot(error.metadata["model"], None, error, ModelState.FAILED, changes=self.changes)
        if slot.name in self._slots:
            raise ValueError(f"two models are called {slot.name!r}, the second in {path}; rename one of them")
        self._slots[slot.name], self._paths[slot.name] = slot, path
