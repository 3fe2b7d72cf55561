"""Changes of the served models while requests run: by the settings, and by what appears in a folder of models.

    change on disk                        effect
    a model is added                      it is served
    a model has changed                   new requests load it anew; those that were admitted finish with the old one
    the checker of the settings changes   the same as for each model that has changed
    only its tintype.json has changed     its defaults and presets apply to new requests, unless it must be loaded anew
    a model is removed                    it is not served any more; requests that were admitted finish
    a model is incomplete, or broken      it is not served; one that was served stays as it was

What is found in the folder never fails: the log says once why a model there is not served.
"""

from __future__ import annotations

import logging
import threading
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING

from ...errors import TintypeError
from .catalogue import BUILTIN
from .model_files import models_in

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence
    from contextlib import AbstractContextManager

    from .catalogue import Catalogue, FoundModel
    from .component_memory import ComponentMemory
    from .model_files import ModelStamp
    from .slot import Slot

log = logging.getLogger(__name__)

COPIED = "it is being copied"
SCAN_INTERVAL = 5.0  # seconds between two scans of the folder that requests cause


class ModelUpdates:
    """Keeps the models of `catalogue` as the settings and the folder of models say.

    `paths` are the models of the settings. `locked` holds the repository's lock; under it, `start` loads a model and
    `unload` releases one.
    """

    def __init__(
        self,
        catalogue: Catalogue,
        components: ComponentMemory,
        paths: Sequence[Path],
        locked: Callable[[], AbstractContextManager[None]],
        start: Callable[[Slot], None],
        unload: Callable[[Slot], None],
    ) -> None:
        self._catalogue, self._components, self._paths = catalogue, components, tuple(map(Path, paths))
        self._locked, self._start, self._unload = locked, start, unload
        self._folder: Path | None = None
        self._scan = threading.Lock()
        self._next_scan = 0.0  # time of `monotonic`
        self._noted: dict[Path, str] = {}  # why a model in the folder is not served
        self._broken: dict[Path, tuple[ModelStamp, FoundModel]] = {}  # of those in the folder that were never served
        self._wanted: set[str] = set()  # slots of live tasks

    def replace(self, paths: Sequence[Path], folder: Path | None = None) -> None:
        """Serve the models at `paths`, then those in `folder`, and read all of them again. Blocks.

        The first one is the default; the built-in model is served if there is no other.

        Raises:
            ModelBroken: a model of `paths` that is not served yet is broken; nothing is changed then.
            ValueError: two of them have one name; nothing is changed then.
        """
        with self._scan:
            self._update([self._catalogue.read(Path(path)) for path in paths], folder, waits=False)
            self._paths, self._folder = tuple(map(Path, paths)), folder

    def rescan(self) -> None:
        """Look for changes in the folder, at most every SCAN_INTERVAL seconds. Blocks."""
        if not self.is_scan_due:
            return
        with self._scan:
            if self.is_scan_due:
                self._update([self._catalogue.read(path) for path in self._paths], self._folder, waits=True)

    @property
    def is_scan_due(self) -> bool:
        """Whether `rescan` would look at the folder."""
        return self._folder is not None and monotonic() >= self._next_scan

    def release_retired(self, wanted: Collection[str] | None = None) -> None:
        """Unload retired models that no task needs; `wanted` are the slots of live tasks. The lock is held.

        A task whose model is not in memory loads the one that is served now.
        """
        self._wanted = self._wanted if wanted is None else set(wanted)
        for slot in self._catalogue.retired:
            is_loading = slot.state.uses_memory and not slot.state.is_resident
            if not (slot.holds or is_loading or (slot.state.is_resident and slot.name in self._wanted)):
                self._unload(slot)
                self._components.forget(slot.name)
                self._catalogue.forget(slot)

    def _update(self, named: list[FoundModel], folder: Path | None, *, waits: bool) -> None:
        """Serve these models and those of the folder; with `waits`, none that is still being copied."""
        for each in named:
            if each.error and not (each.slot and each.slot.manifest):
                raise each.error
            if each.error:
                self._note(each.path, str(each.error))
        found = [*named, *self._in_folder(folder, {each.name for each in named}, waits=waits)]
        if not named:
            default = self._catalogue.default
            found.sort(key=lambda each: each.slot is None or each.name != default)
        found = found or [self._catalogue.read(BUILTIN)]
        with self._locked():
            before = self._catalogue.served
            self._catalogue.replace(found)
            after = self._catalogue.served
            self._log_changes(before, after)
            self._reload(before, after)
            self.release_retired()
        self._next_scan = monotonic() + SCAN_INTERVAL

    def _in_folder(self, folder: Path | None, names: set[str], *, waits: bool) -> list[FoundModel]:
        """Return the models of a folder that can be served now, without those that have one of `names`."""
        found: list[FoundModel] = []
        try:
            paths = models_in(folder) if folder else []
        except OSError as error:
            self._note(folder or Path(), f"the models folder {folder} cannot be read: {error.strerror or error}")
            return self._catalogue.served_in(folder)
        self._broken = {path: self._broken[path] for path in paths if path in self._broken}
        for path in paths:
            each, problem = self._look(path, waits=waits)
            if each and each.name in names:
                problem = f"another model is called {each.name!r}; rename one of them"
            state = "served as it was" if each and each.slot else "not served"
            self._note(path, f"{path} is {state}: {problem}" if problem else "")
            if each and each.name not in names:
                names.add(each.name)
                found.append(each)
        return found

    def _look(self, path: Path, *, waits: bool) -> tuple[FoundModel | None, str]:
        """Return a model of the folder, or None if it can't be served; and what is wrong with it now."""
        stamp = self._catalogue.stamp_of(path)
        each = self._read(path, stamp, again=not waits)
        problem = str(each.error or "")
        if not problem and waits and not each.is_unchanged and not stamp.is_settled:
            problem = COPIED
        if not problem:
            return each, ""
        return (self._catalogue.as_served(each.slot) if each.slot and each.slot.manifest else None), problem

    def _read(self, path: Path, stamp: ModelStamp, *, again: bool) -> FoundModel:
        """Read a model of the folder; a broken one only if a file of it has changed, or `again`."""
        before = self._broken.pop(path, None)
        is_known = before and before[0].files == stamp.files and not again
        found = before[1] if before and is_known else self._catalogue.read(path, stamp)
        if found.error and not found.slot:
            self._broken[path] = stamp, found
        return found

    def _note(self, path: Path, problem: str) -> None:
        """Log a problem once."""
        if problem and self._noted.get(path) != problem:
            log.log(logging.INFO if problem.endswith(COPIED) else logging.WARNING, "%s", problem)
        self._noted[path] = problem

    def _log_changes(self, before: dict[str, Slot], after: dict[str, Slot]) -> None:
        for name in after.keys() - before.keys():
            log.info("model %s is served from now on", name)
        for name in before.keys() - after.keys():
            log.info("model %s is not served any more", name)
        for name in after.keys() & before.keys():
            if after[name] is not before[name]:
                log.info("model %s has changed; new requests use it as it is now", name)

    def _reload(self, before: dict[str, Slot], after: dict[str, Slot]) -> None:
        """Load the default model if it is another one, and each changed model that was in memory. The lock is held."""
        for name, slot in after.items():
            old = before.get(name)
            is_new_default = name == self._catalogue.default and old is None
            was_used = old is not None and old is not slot and (old.state.is_resident or old.state.is_loading)
            if is_new_default or was_used:
                try:
                    self._start(slot)
                except TintypeError as error:  # each request for it gets the error
                    log.warning("model %s is not loaded: %s", name, error)
