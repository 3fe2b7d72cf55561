"""A slot: one model of the repository, its state in memory, and how often it is held.

    state      in memory     next state, and what causes it
    UNLOADED   no            WAITING: a request, LoadModel or the server's start wants the model
    WAITING    no            LOADING: the load queue has made room
                             UNLOADED: UnloadModel, or no pending request wants it
    LOADING    being loaded  RESIDENT: loaded
                             FAILED: loading failed
                             CANCELLED: UnloadModel
                             UNLOADED: loading ended after the repository was closed
    CANCELLED  being loaded  LOADING: the model is wanted again
                             UNLOADED: loading ended, whether or not it failed
                             UNLOADING: loaded, but a task holds it
                             FAILED: loading failed, but a task holds it
    RESIDENT   yes           UNLOADED: evicted, UnloadModel, or the repository is closed
                             UNLOADING: UnloadModel while a task holds it
    UNLOADING  yes           RESIDENT: the model is wanted again
                             UNLOADED: the last hold is released, or the repository is closed
    FAILED     no            WAITING: LoadModel, or a new request
                             UNLOADED: UnloadModel

`TRANSITIONS` is the same table as data. A model whose folder cannot be read is FAILED from the start and stays so.

A hold protects a model from eviction. Holds are counted only here, by `hold` and `release` of the repository. A task
keeps its reference to a model that was unloaded between two units, so a hold may be taken in any state.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import StrEnum
from types import MappingProxyType
from typing import TYPE_CHECKING

from ...errors import ModelBroken, OutOfMemory, TintypeError
from ...metrics.observer import IGNORE
from ..runtime.stop_flag import StopFlag

if TYPE_CHECKING:
    from collections.abc import Hashable, Mapping

    from ...metrics.observer import Observer
    from ..folder.manifest import Manifest
    from ..graph_source import SharedFiles
    from ..model import Model
    from ..spec import ModelSpec


class ModelState(StrEnum):
    """The state of a model in memory; the table is at the head of this module."""

    UNLOADED = "unloaded"
    WAITING = "waiting"
    LOADING = "loading"
    CANCELLED = "cancelled"
    RESIDENT = "resident"
    UNLOADING = "unloading"
    FAILED = "failed"

    @property
    def is_loading(self) -> bool:
        """Whether the model is being loaded or waits for memory."""
        return self in {ModelState.WAITING, ModelState.LOADING, ModelState.CANCELLED}

    @property
    def is_resident(self) -> bool:
        """Whether the model is in memory."""
        return self in {ModelState.RESIDENT, ModelState.UNLOADING}

    @property
    def uses_memory(self) -> bool:
        """Whether its bytes count against the budget, resident or being loaded."""
        return self.is_resident or self in {ModelState.LOADING, ModelState.CANCELLED}


TRANSITIONS: Mapping[ModelState, frozenset[ModelState]] = MappingProxyType(
    {
        ModelState.UNLOADED: frozenset({ModelState.WAITING}),
        ModelState.WAITING: frozenset({ModelState.LOADING, ModelState.UNLOADED}),
        ModelState.LOADING: frozenset(
            {ModelState.RESIDENT, ModelState.FAILED, ModelState.CANCELLED, ModelState.UNLOADED}
        ),
        ModelState.CANCELLED: frozenset(
            {ModelState.LOADING, ModelState.UNLOADED, ModelState.UNLOADING, ModelState.FAILED}
        ),
        ModelState.RESIDENT: frozenset({ModelState.UNLOADED, ModelState.UNLOADING}),
        ModelState.UNLOADING: frozenset({ModelState.RESIDENT, ModelState.UNLOADED}),
        ModelState.FAILED: frozenset({ModelState.WAITING, ModelState.UNLOADED}),
    }
)


_LOADS = frozenset({ModelState.LOADING, ModelState.CANCELLED})
_OUTCOMES = {
    ModelState.RESIDENT: "loaded",
    ModelState.UNLOADING: "loaded",
    ModelState.FAILED: "failed",
    ModelState.UNLOADED: "cancelled",
}

KEY = "\0"  # between the model's name and the number in a slot's key; no model's name has it
# Fields of a model's spec that LoadModel reads again, and those that a changed tintype.json may change at run time.
LISTED = ("loras", "embeddings", "pickled", "controls", "control_modes", "image_adapters")
CHANGEABLE = (*LISTED, "defaults", "qualities", "styles", "license", "description")


@dataclass(frozen=True, slots=True)
class ModelStatus:
    """The public status of a slot.

    `fraction`, 0 to 1, is the loaded share; `error` says why loading failed; once the model is loaded, `provider` runs
    it with `options`. `memory_bytes` is the size of its weights in memory, as the budget counts it.
    """

    state: ModelState
    fraction: float = 0.0
    error: str = ""
    provider: str = ""
    options: Mapping[str, str] = field(default_factory=dict)
    memory_bytes: int = 0


class Changes:
    """Counts the changes of the slots of one repository: of their states, and of how far they are loaded.

    An observer learns of loads and evictions.
    """

    __slots__ = ("count", "observer")

    def __init__(self, observer: Observer = IGNORE) -> None:
        self.count = 0
        self.observer = observer

    def record(self, name: str, before: ModelState, after: ModelState) -> None:
        """Record that a slot has changed its state."""
        self.count += 1
        if before is ModelState.WAITING and after is ModelState.LOADING:
            self.observer.loading(name)
        elif before in _LOADS and after not in _LOADS:
            self.observer.loaded(name, _OUTCOMES[after])
        elif before.is_resident and not after.is_resident:
            self.observer.evicted(name)


@dataclass(slots=True, eq=False)
class Slot:
    """One model of the repository, whose lock guards it.

    `manifest` is None if the folder is broken. `last_use` orders slots by their latest use. `stop_flag` stops the
    model's graphs. Graphs of an evicted model may stay in memory; the model uses them again when it is loaded next.
    `shared` are the contents of files of text encoders that other models have as well. A slot that replaces another of
    the same model has another `key`, and another `name` for its components.
    """

    name: str
    manifest: Manifest | None
    error: TintypeError | None = None
    state: ModelState = ModelState.UNLOADED
    fraction: float = 0.0
    model: Model | None = None
    holds: int = 0
    last_use: int = 0
    stop_flag: StopFlag = field(default_factory=StopFlag)
    shared: SharedFiles = field(default_factory=dict)
    changes: Changes = field(default_factory=Changes)
    key: str = ""

    @property
    def served_name(self) -> str:
        """The name of the model for clients."""
        return self.key.partition(KEY)[0] or self.name

    @property
    def shared_bytes(self) -> dict[Hashable, int]:
        """Bytes of the text encoders that other models may share, by their content."""
        sources = self.manifest.sources if self.manifest and self.shared else ()
        shared = (source for source in sources if source.files in self.shared)
        return {(self.shared[source.files], source.choices): source.weights_bytes for source in shared}

    @property
    def weight(self) -> int:
        """Bytes of all its components in memory."""
        return self.manifest.memory_bytes if self.manifest else 0

    @property
    def largest(self) -> int:
        """Bytes of its largest component: the least memory that the model can run in."""
        stages = self.manifest.stages if self.manifest else ()
        weights = (stage.graphs[component].weights_bytes for stage in stages for component in stage.components)
        return max(weights, default=0)

    @property
    def spec(self) -> ModelSpec:
        """The model's spec: with its provider once loaded, and what was last read of the rest. Raises ModelBroken."""
        listed = self.require_manifest().spec
        loaded = self.model.spec if self.model else listed
        fields = {name: getattr(listed, name) for name in CHANGEABLE}
        if loaded.description.startswith(listed.description):  # what quantization did follows it
            del fields["description"]
        return (
            loaded if all(getattr(loaded, name) == own for name, own in fields.items()) else replace(loaded, **fields)
        )

    def require_manifest(self) -> Manifest:
        """Return the manifest. Raises ModelBroken if the folder cannot be served."""
        if self.manifest is None:
            self.raise_error()
            raise ModelBroken(self.name, ["its folder could not be read"])
        return self.manifest

    def relisted(self) -> Manifest | None:
        """Return the manifest with the adapters that are in the folder now."""
        return self.manifest and self.manifest.relisted()

    def raise_error(self) -> None:
        """Raise the error of a failed load, if any."""
        if self.error:
            raise self.error.with_traceback(None)  # otherwise its traceback would grow with each request

    def check_size(self, budget: int) -> None:
        """Raise OutOfMemory if its largest component is larger than all of `budget` bytes (0: no limit)."""
        if 0 < budget < self.largest:
            needed, given = (f"{size / 2**20:,.1f} MiB" for size in (self.largest, budget))
            problem = f"needs {needed} for its largest component, and the budget is {given}"
            raise OutOfMemory(f"model {self.name!r} {problem}: raise --memory")

    def status(self) -> ModelStatus:
        """Return the public status."""
        provider = self.model.spec.provider if self.model else ""
        options = self.model.spec.provider_options if self.model else {}
        return ModelStatus(self.state, self.fraction, str(self.error or ""), provider, options, self.weight)

    def enqueue(self) -> None:
        """Wait for memory; forget an earlier failure."""
        self._enter(ModelState.WAITING)
        self.error, self.fraction = None, 0.0

    def begin_loading(self) -> None:
        """Start loading: from now on its bytes count against the budget."""
        self._enter(ModelState.LOADING)

    def progress(self, fraction: float) -> None:
        """Store the loaded share, 0 to 1."""
        self.fraction = fraction
        self.changes.count += 1

    def request_unload(self) -> None:
        """Unload the model once it is loaded or its last hold is released."""
        if self.state is ModelState.LOADING:
            self._enter(ModelState.CANCELLED)
        elif self.state is ModelState.RESIDENT:
            self._enter(ModelState.UNLOADING)

    def cancel_unload(self) -> None:
        """Undo `request_unload`: the model is wanted again."""
        if self.state is ModelState.CANCELLED:
            self._enter(ModelState.LOADING)
        elif self.state is ModelState.UNLOADING:
            self._enter(ModelState.RESIDENT)

    def finish_loading(self, model: Model) -> None:
        """Store the loaded model."""
        self._enter(ModelState.UNLOADING if self.state is ModelState.CANCELLED else ModelState.RESIDENT)
        self.model = model

    def fail(self, error: TintypeError) -> None:
        """Store the reason why loading failed."""
        self._enter(ModelState.FAILED)
        self.error, self.fraction = error, 0.0

    def clear(self) -> Model | None:
        """Remove the model and return it; its memory is freed with the last reference."""
        if self.state is not ModelState.UNLOADED:
            self._enter(ModelState.UNLOADED)
        model, self.model, self.error, self.fraction = self.model, None, None, 0.0
        return model

    def _enter(self, state: ModelState) -> None:
        assert state in TRANSITIONS[self.state], f"{self.name}: {self.state} to {state}"  # noqa: S101
        before, self.state = self.state, state
        self.changes.record(self.served_name, before, state)
