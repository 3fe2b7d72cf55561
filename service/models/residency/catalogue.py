"""The catalogue: the slots of all models that are served. It includes models with broken folders.

Models are named by the settings, or found in a folder of models. `read` looks at them on disk, `replace` serves what it
has found. A model that has changed on disk gets a new slot. Its old slot is retired: it stays, under its key, for the
tasks that were admitted with it.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING

from ...errors import ModelBroken, ModelNotFound, Unavailable
from ...metrics.observer import IGNORE
from ..folder.reader import read_manifest
from ..loading_options import DEFAULTS
from ..templates.filled_template import is_outdated
from .model_files import ModelStamp, stamp_of
from .shared_encoders import find_shared
from .slot import CHANGEABLE, KEY, Changes, ModelState, Slot

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from threading import Condition

    from ...metrics.observer import Observer
    from ..folder.manifest import Manifest
    from ..loading_options import LoadingOptions
    from ..model import Model
    from ..spec import ModelSpec
    from .slot import ModelStatus

BUILTIN = Path(__file__).parents[1] / "builtin"


@dataclass(frozen=True, slots=True)
class FoundModel:
    """A model on disk. `slot` serves this path now.

    `manifest` is None if the model is broken, with the `error`, or if its slot stays as it is.
    """

    path: Path
    stamp: ModelStamp
    manifest: Manifest | None = None
    error: ModelBroken | None = None
    slot: Slot | None = None
    is_unchanged: bool = False

    @property
    def name(self) -> str:
        """The model's name; a model that is broken now keeps its name."""
        if self.manifest:
            return self.manifest.spec.name
        return self.slot.served_name if self.slot else str(self.error and self.error.metadata["model"])


class Catalogue:
    """The slots of the models at `paths`, the first being the default; without paths, of the built-in one.

    Raises:
        ValueError: two models have one name.
    """

    def __init__(
        self, paths: Sequence[Path] = (), loading: LoadingOptions = DEFAULTS, observer: Observer = IGNORE
    ) -> None:
        self.changes = Changes(observer)
        self._slots: dict[str, Slot] = {}  # by the model's name, the default first
        self._retired: dict[str, Slot] = {}  # by key
        self._paths: dict[str, Path] = {}  # by the slot's name, as the stamps
        self._stamps: dict[str, ModelStamp] = {}
        self._numbers = count(1)
        self._former: dict[str, object] = {}  # what the tasks of former slots rely on, by key
        self._loading = replace(loading, stop=Event())
        self.replace([self.read(Path(path)) for path in paths or [BUILTIN]])

    def __iter__(self) -> Iterator[Slot]:
        """Yield all slots that may use memory."""
        return iter([*self._slots.values(), *self._retired.values()])

    @property
    def default(self) -> str:
        """The name of the model that requests without one use."""
        return next(iter(self._slots))

    @property
    def retired(self) -> list[Slot]:
        """The slots of models that were replaced or removed, as long as tasks need them."""
        return list(self._retired.values())

    @property
    def served(self) -> dict[str, Slot]:
        """The slots of the models that are served, by name."""
        return dict(self._slots)

    def served_in(self, folder: Path | None) -> list[FoundModel]:
        """Return the models of a folder as they are served."""
        slots = [slot for slot in self._slots.values() if self._paths[slot.name].parent == folder]
        return [self.as_served(slot) for slot in slots]

    def as_served(self, slot: Slot) -> FoundModel:
        """Return the model of a slot, which stays as it is."""
        return FoundModel(self._paths[slot.name], self._stamps[slot.name], slot=slot)

    def names(self) -> list[str]:
        """Return the names of all models, broken ones included: the default first, then by name."""
        return [self.default, *sorted(self._slots.keys() - {self.default})]

    def slot(self, name: str) -> Slot:
        """Return the slot of the model `name`, or with that key; "" is the default.

        Raises:
            ModelNotFound: no model has this name.
            Unavailable: the slot with that key was replaced by a model of another kind.
        """
        served, _, number = (name or self.default).partition(KEY)
        slot = (self._retired.get(name) if number else None) or self._slots.get(served)
        if slot is None:
            raise ModelNotFound(served, self.names())
        if number and slot.key != name and self._former.get(name) != _kind(slot):
            raise Unavailable(f"model {served!r} was replaced while the request waited", retry_after=0)
        return slot

    def slot_names(self, names: Iterable[str]) -> set[str]:
        """Return the names of slots, from names of models or keys; unknown ones are left out."""
        found = set()
        for name in names:
            with suppress(ModelNotFound, Unavailable):
                found.add(self.slot(name).name)
        return found

    def served_from(self, path: Path) -> Slot | None:
        """Return the slot that serves the model at a path."""
        return next((slot for slot in self._slots.values() if self._paths[slot.name] == path), None)

    def refreshed(self, slot: Slot) -> Manifest:
        """Return a slot's manifest, read again if files of weights have changed since.

        A model that is broken now keeps its manifest; loading it then fails, and names the file.
        """
        manifest = slot.require_manifest()
        if any(map(is_outdated, manifest.sources)):
            with suppress(ModelBroken):
                slot.manifest = manifest = _keyed(read_manifest(self._paths[slot.name], self._loading), slot.key)
                find_shared(self)
        return manifest

    def stamp_of(self, path: Path) -> ModelStamp:
        """Return the stamp of a model on disk, with the safety checker of the settings."""
        safety = self._loading.safety
        return stamp_of(path, safety.checker if safety else None)

    def read(self, path: Path, stamp: ModelStamp | None = None) -> FoundModel:
        """Read a model on disk, unless it is unchanged since its slot was made; the lock need not be held."""
        now, slot = stamp or self.stamp_of(path), self.served_from(path)
        if slot and slot.manifest and self._stamps[slot.name].files == now.files:
            return FoundModel(path, now, slot.manifest.relisted(), slot=slot, is_unchanged=True)
        try:
            return FoundModel(path, now, read_manifest(path, self._loading), slot=slot)
        except ModelBroken as error:
            return FoundModel(path, now, error=error, slot=slot)

    def replace(self, found: Sequence[FoundModel]) -> None:
        """Serve exactly these models, the first being the default. Slots of others are retired.

        Raises:
            ValueError: two models have one name; nothing is changed then.
        """
        names: dict[str, FoundModel] = {}
        for each in found:
            if each.name in names:
                raise ValueError(f"two models are called {each.name!r}, the second in {each.path}; rename one of them")
            names[each.name] = each
        before, self._slots = (
            self._slots,
            {name: self._kept(each) or self._new_slot(each) for name, each in names.items()},
        )
        for slot in before.values():
            if slot is not self._slots.get(slot.served_name):
                self._retired[slot.key] = slot
        self.changes.count += 1
        find_shared(self)

    def forget(self, slot: Slot) -> None:
        """Forget a retired slot."""
        self._former[slot.key] = _kind(slot)
        del self._retired[slot.key], self._paths[slot.name], self._stamps[slot.name]

    def stop_converting(self) -> None:
        """Let loads fail as soon as they convert another weight."""
        self._loading.stop.set()

    def _kept(self, found: FoundModel) -> Slot | None:
        """Return the slot of a model that need not be loaded again, with what was read of it."""
        slot = found.slot
        if slot is None or slot.manifest is None or found.manifest is None:
            return slot if slot and found.manifest is None else None
        before = self._stamps[slot.name]
        is_same = found.stamp.files == before.files or (
            found.stamp.differs_only_in_settings(before) and _is_same_model(slot.manifest, found.manifest)
        )
        if not is_same:
            return None
        slot.manifest = _keyed(found.manifest, slot.key)
        self._stamps[slot.name] = found.stamp
        return slot

    def _new_slot(self, found: FoundModel) -> Slot:
        number = next(self._numbers)
        key = f"{found.name}{KEY}{number}"
        name = found.name if found.name not in self._paths else f"{found.name}#{number}"
        manifest = found.manifest and _keyed(found.manifest, key)
        state = ModelState.UNLOADED if manifest else ModelState.FAILED
        slot = Slot(name, manifest, found.error, state, changes=self.changes, key=key)
        self._paths[name], self._stamps[name] = found.path, found.stamp
        return slot


class ServedModels:
    """The models of a catalogue as callers see them: names, specs and states. `lock` guards the slots."""

    def __init__(self, catalogue: Catalogue, lock: Condition) -> None:
        self._catalogue, self._lock = catalogue, lock

    @property
    def default(self) -> str:
        """The name of the model that requests without one use."""
        return self._catalogue.default

    @property
    def version(self) -> object:
        """Differs from an earlier value if any model's state, or how far it is loaded, has changed since."""
        return self._catalogue.changes.count

    def names(self) -> list[str]:
        """Return the names of all models, broken ones included: the default first, then by name."""
        return self._catalogue.names()

    def specs(self) -> list[ModelSpec]:
        """Return the specs of models whose folders can be served, in the order of `names`."""
        with self._lock:
            return [slot.spec for slot in map(self._catalogue.slot, self.names()) if slot.manifest]

    def spec(self, name: str = "") -> ModelSpec:
        """Return a model's spec; "" is the default model.

        Raises:
            ModelNotFound: no model has this name.
            ModelBroken: its folder cannot be served; each fault is named.
        """
        with self._lock:
            return self._catalogue.slot(name).spec

    def status(self, name: str = "") -> ModelStatus:
        """Return the state of a model and how far it is loaded. Raises ModelNotFound."""
        with self._lock:
            return self._catalogue.slot(name).status()

    def resident(self, name: str = "") -> Model | None:
        """Return the model if it is in memory; this does not count as a use. Raises ModelNotFound."""
        return self._catalogue.slot(name).model


def _kind(slot: Slot) -> object:
    """Return what the plans of a model's tasks rely on."""
    spec = slot.manifest and slot.manifest.spec
    return spec and (spec.family, spec.latent_channels, spec.downscale, spec.inpaints, spec.diffusion.prediction)


def _keyed(manifest: Manifest, key: str) -> Manifest:
    return replace(manifest, spec=replace(manifest.spec, slot=key))


def _is_same_model(one: Manifest, other: Manifest) -> bool:
    """Return whether two manifests of the same files differ only in values that do not need another load."""
    changed = {name: getattr(other.spec, name) for name in CHANGEABLE}
    alike = replace(one.spec, **changed, diffusion=other.spec.diffusion), one.config, one.family
    before, after = one.spec.diffusion, other.spec.diffusion  # of the same scheduler_config.json
    is_same_process = (before.prediction, before.shift) == (after.prediction, after.shift)
    return is_same_process and alike == (other.spec, other.config, other.family) and not (one.second or other.second)
