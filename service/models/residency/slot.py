"""Where a model is on its way into memory."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import TYPE_CHECKING

from ...errors import ModelBroken, OutOfMemory, TintypeError
from ..runtime.stop_flag import StopFlag

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from ..folder.manifest import Manifest
    from ..model import Model
    from ..spec import ModelSpec


class State(StrEnum):
    """Where a model is on its way into memory."""

    UNLOADED = "unloaded"
    LOADING = "loading"
    LOADED = "loaded"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Status:
    """A model's state; `fraction` 0 to 1 is loaded; `error` tells why it failed; `provider` runs it once loaded.

    `options` are what its provider was told. One that is `waiting` can't begin to load, because requests hold models
    that are in its place.
    """

    state: State
    fraction: float = 0.0
    error: str = ""
    provider: str = ""
    waiting: bool = False
    options: Mapping[str, str] = field(default_factory=dict)


@dataclass(slots=True, eq=False)
class Slot:
    """One model of the repository, whose lock guards it. `manifest` is None where the folder is broken.

    `holds` counts who needs it to stay; one that is `leaving` goes when nobody does; `admitted` means that its bytes
    count, loaded or on their way; one that is `fresh` was loaded for somebody who has not come for it yet. `stop_flag`
    stops its graphs, which may stay in memory when the model goes, and are the next one's then. One that was `asked`
    for is there for more than the requests that wait for it.
    """

    name: str
    manifest: Manifest | None
    error: TintypeError | None = None
    state: State = State.UNLOADED
    fraction: float = 0.0
    model: Model | None = None
    holds: int = 0
    leaving: bool = False
    admitted: bool = False
    fresh: bool = False
    asked: bool = False
    last_use: int = 0
    stop_flag: StopFlag = field(default_factory=StopFlag)

    @property
    def weight(self) -> int:
        """Bytes of all its components in memory."""
        return self.manifest.spec.weights_bytes * self.widening if self.manifest else 0

    @property
    def widening(self) -> int:
        """How many times as large as on disk it is in memory."""
        return 2 if self.manifest and self.manifest.widened else 1

    @property
    def largest(self) -> int:
        """Bytes of its largest component: with less it can't run at all."""
        stages = [stage for stage in (self.manifest, self.manifest.second) if stage] if self.manifest else []
        parts = (stage.weight(part) for stage in stages for part in stage.components)
        return max(parts, default=0) * self.widening

    @property
    def spec(self) -> ModelSpec:
        """What it is: with its provider, once it is loaded, and the adapters last listed. Raises ModelBroken."""
        read = self.servable().spec
        loaded = self.model.spec if self.model else read
        if (loaded.loras, loaded.embeddings, loaded.pickled) == (read.loras, read.embeddings, read.pickled):
            return loaded
        return replace(loaded, loras=read.loras, embeddings=read.embeddings, pickled=read.pickled)

    def servable(self) -> Manifest:
        """Return the manifest of a folder that can be served. Raises ModelBroken."""
        if self.manifest is None:
            self.check()
            raise ModelBroken(self.name, ["its folder could not be read"])
        return self.manifest

    def relisted(self) -> Manifest | None:
        """Return the manifest with the adapters that the folder holds by now."""
        return self.manifest and self.manifest.relisted()

    def check(self) -> None:
        """Raise what loading has failed with, if it has."""
        if self.error:
            raise self.error.with_traceback(None)  # else its traceback would grow with each request

    def check_size(self, budget: int) -> None:
        """Raise OutOfMemory if its largest component is larger than all of `budget` bytes; 0: no limit."""
        if 0 < budget < self.largest:
            problem = f"needs {self.largest} bytes for its largest component, and all models may have {budget}"
            raise OutOfMemory(f"model {self.name!r} {problem}: give the service more, by --memory")

    def status(self) -> Status:
        """Return what others may know."""
        provider = self.model.spec.provider if self.model else ""
        options = self.model.spec.provider_options if self.model else {}
        waiting = self.state is State.LOADING and not self.admitted
        return Status(self.state, self.fraction, str(self.error or ""), provider, waiting, options)

    def drop(self) -> Model | None:
        """Take the model out, and return it.

        Its memory is freed when the last reference goes.
        """
        model, self.model, self.error = self.model, None, None
        self.leaving = self.admitted = self.fresh = self.asked = False
        self.state, self.fraction = State.UNLOADED, 0.0
        return model


def to_evict(slots: Iterable[Slot], coming: Slot, budget: int) -> list[Slot] | None:
    """Choose what goes so that `coming` fits into `budget` bytes: what nobody holds, used longest ago first.

    A model that is larger takes all of it. Returns None where `coming` can't fit as long as others are in use. A model
    that waits in line takes nothing yet; one that is fresh stays, else two models in turns would never be used.
    """
    there = [slot for slot in slots if slot.admitted and slot is not coming]
    excess = sum(min(slot.weight, budget) for slot in there) + min(coming.weight, budget) - budget
    gone: list[Slot] = []
    for slot in sorted(there, key=lambda e: e.last_use):
        if excess > 0 and slot.model and not slot.holds and not slot.fresh:
            gone.append(slot)
            excess -= min(slot.weight, budget)
    return gone if excess <= 0 else None
