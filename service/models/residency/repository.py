"""The models that this server can serve, and which of them are in memory, decided by the modules.

    `slot`              the states of a model, their transitions, and the count of its holds
    `load_queue`        which model loads next
    `eviction`          what is evicted to make room
    `load_grace`        how long a freshly loaded model is protected from eviction
    `component_memory`  which components are in memory, so that weights never exceed the budget
    `leases`            which task waits for its model, may use it, or holds it
    `updating`          which models are served; a lease names a slot's key: the model as it was at its admission

All methods may be called from any thread. `wait`, `unload`, `evict_idle` and `close` block and must not be called on an
event loop. `load` may read the model's folder. All others take microseconds: `freeing` frees released weights.

Locks are taken in this order: DeviceThread's, Engine's, Repository's, ComponentMemory's. None of them is held while
memory is freed. `cuda_graphs.DEVICE_ACCESS`, which waits for the device, is taken without any of them.
"""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from itertools import count
from typing import TYPE_CHECKING, Self

from ...errors import TintypeError, Unavailable
from ...metrics.observer import IGNORE, Observer
from .. import loading_options
from ..runtime import provider_options
from ..runtime.providers import choose
from ..runtime.runtime import Runtime
from ..safety_checker import SafetyCheckers
from .catalogue import Catalogue, ServedModels
from .component_memory import ComponentMemory
from .eviction import idle_models
from .freeing import WeightFreer
from .load_grace import FirstUse
from .load_queue import LoadQueue
from .loading import try_load
from .slot import ModelState, Slot
from .updating import ModelUpdates

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from pathlib import Path

    from ..loading_options import LoadingOptions
    from ..model import Model
    from ..runtime.provider_options import ProviderOptions


class Repository(ServedModels):
    """The models at `paths`, folders or files, the first being the default; without paths, the built-in one.

    `providers` are short names in order of preference (empty: cuda where it works, otherwise cpu); `threads` of one
    call on a CPU (0: one per core); `memory` is the budget in bytes for all weights in memory (0: no limit); `options`
    are the providers' options, `loading` those for published weights. A model that is larger than the budget is served
    as well if its largest component fits: its components then take turns. `components` is the memory of all weights,
    `safety` has the safety checkers of all models, `updates` changes which models are served. `observer` learns of
    loads and evictions.

    Raises:
        ValueError: a provider is unknown or does not work here, or two models have one name.
    """

    def __init__(
        self,
        paths: Sequence[Path] = (),
        *,
        providers: Sequence[str] = (),
        threads: int = 0,
        memory: int = 0,
        options: ProviderOptions = provider_options.DEFAULTS,
        loading: LoadingOptions = loading_options.DEFAULTS,
        observer: Observer = IGNORE,
    ) -> None:
        if providers or memory:
            loading = replace(loading, provider=choose(tuple(providers)))  # fails now; the budget counts its sizes
        self._runtime, self._budget = partial(Runtime.choose, tuple(providers), threads, options), memory
        super().__init__(Catalogue(paths, loading, observer), threading.Condition())
        self.components = ComponentMemory(memory)
        self.safety = SafetyCheckers(self.components, tuple(providers), threads)
        self._clock, self._closed = count(1), False
        self._loader, self._freer = ThreadPoolExecutor(1, thread_name_prefix="tintype-load"), WeightFreer(self._lock)
        self._grace = FirstUse(self._freer.locked, self._changed)
        self._queue = LoadQueue(
            self._catalogue, memory, self._grace, load=lambda s: self._loader.submit(self._load, s), evict=self._evict
        )
        self.updates = ModelUpdates(
            self._catalogue, self.components, paths, self._freer.locked, start=self._start, unload=self._unload
        )

    def load(self, name: str = "", *, pinned: bool = True) -> None:
        """Start loading a model in the background, unless it is resident or loading; retries after a failure.

        A `pinned` load continues even if no live request wants the model, and reads its adapters' folders again. A load
        that is not pinned does not wait for the disk.

        Raises:
            ModelNotFound: no model has this name.
            ModelBroken: its folder cannot be served.
            OutOfMemory: its largest component is larger than the whole budget.
            Unavailable: the repository is closed.
        """
        slot = self._catalogue.slot(name)
        relisted = slot.relisted() if pinned else None  # the disk may be slow, and others need the lock
        with self._freer.locked():
            slot.manifest = relisted or slot.manifest
            self._start(slot, pinned=pinned)

    def get(self, name: str = "") -> Model | None:
        """Return the model; if it is not in memory, start loading it and return None. Counts as a use.

        Raises the errors of `load`; and after a failed load its error, until `load` is called again.
        """
        slot = self._catalogue.slot(name)
        with self._freer.locked():
            slot.last_use = next(self._clock)
            slot.raise_error()
            if slot.model is None:
                self._start(slot, pinned=False)
            return slot.model

    def wait(self, name: str = "", timeout: float | None = None) -> Model:
        """Load the model if necessary, and return it once it is in memory; `timeout` is seconds. Blocks.

        Raises the errors of `get`, and TimeoutError.
        """
        self.load(name)
        slot = self._catalogue.slot(name)
        with self._lock:
            if not self._lock.wait_for(lambda: not slot.state.is_loading or self._closed, timeout):
                raise TimeoutError(f"model {slot.name!r} was not loaded within {timeout:g} seconds")
            slot.raise_error()
            if slot.model is None:
                raise Unavailable(f"model {slot.name!r} was unloaded while it was waited for", retry_after=0)
            return slot.model

    def hold(self, name: str = "") -> None:
        """Keep a model in memory until `release` has been called as often as `hold`. Raises ModelNotFound."""
        slot = self._catalogue.slot(name)
        with self._lock:
            slot.holds += 1
            slot.last_use = next(self._clock)
            self._grace.end(slot)
            self.components.protect(slot.name, protected=True)

    def release(self, name: str = "") -> None:
        """Release one hold. After the last one a requested unload happens, and waiting models get the memory."""
        slot = self._catalogue.slot(name)
        with self._freer.locked():
            slot.holds -= 1
            self.components.protect(slot.name, protected=slot.holds > 0)
            if slot.state is ModelState.UNLOADING and not slot.holds:
                self._unload(slot)
            self._changed()

    def set_demand(self, wanted: Collection[str], urgent: Collection[str]) -> None:
        """Free the memory kept for requests that have ended or are less urgent than those that wait for memory.

        `wanted` are the models of all live requests: queued loads of other models are cancelled, unless pinned.
        `urgent` are the models of requests that may start now: the first-use grace of other models ends.
        """
        with self._freer.locked():
            self._grace.end_except(self._catalogue.slot_names(urgent))
            for slot in self._queue.unwanted(names := self._catalogue.slot_names(wanted)):
                self._evict(slot)
            self.updates.release_retired(names)
            self._queue.advance()

    def unload(self, name: str = "") -> None:
        """Unload a model now, or when its last hold is released or its loading ends. Blocks. Raises ModelNotFound."""
        slot = self._catalogue.slot(name)
        with self._freer.locked():
            if not self._queue.remove(slot) and (slot.holds or slot.state.is_loading):
                slot.request_unload()
                return
            if slot.manifest:
                self._unload(slot)
            self._changed()
        self._freer.wait()

    def evict_idle(self, keep: str = "") -> bool:
        """Evict all models without holds except `keep`, because the device is out of memory.

        Return whether a model or a component was evicted. Blocks until the memory is free.
        """
        with self._freer.locked():
            slot = self._catalogue.slot(keep)
            for other in (idle := idle_models(self._catalogue, slot)):
                self._evict(other)
            if free := self.components.evict_idle(slot.name):
                self._freer.release(None, free)
        if free or idle:
            self._freer.wait()
        return bool(free or idle)

    def close(self) -> None:
        """Stop loading and unload all models; blocks until they are freed."""
        self._catalogue.stop_converting()
        with self._freer.locked():
            self._closed = True
            self._queue.close()
            for slot in self._catalogue:
                if slot.state.is_resident:
                    self._unload(slot)
            self._lock.notify_all()
        self._loader.shutdown(cancel_futures=True)
        self._freer.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # The lock is held, except by `_load` and `_progress`.

    def _start(self, slot: Slot, *, pinned: bool = True) -> None:
        """Put a model into the load queue, unless it is resident or loading."""
        slot.require_manifest()
        slot.cancel_unload()
        if slot.state in {ModelState.UNLOADED, ModelState.FAILED}:
            if self._closed:
                raise Unavailable("models are no longer loaded: the server is shutting down")
            slot.check_size(self._budget)
            self._queue.add(slot)
        if pinned:
            self._queue.pin(slot)

    def _load(self, slot: Slot) -> None:
        """Load one model, on the loader's thread."""
        self._freer.wait()
        slot.stop_flag.resume()  # the task that stopped the model has released it since
        manifest = self._catalogue.refreshed(slot)
        runtime = self._runtime().within(self.components.of_model(slot.name, slot.shared), slot.stop_flag)
        progress, evict_idle = partial(self._progress, slot), partial(self.evict_idle, slot.key)
        outcome = try_load(manifest, runtime, self.safety, progress, evict_idle)
        with self._freer.locked():
            self._finish_load(slot, outcome)

    def _progress(self, slot: Slot, fraction: float) -> None:
        with self._lock:
            slot.progress(fraction)

    def _finish_load(self, slot: Slot, outcome: Model | TintypeError) -> None:
        """Apply the outcome of a load."""
        if self._closed or (slot.state is ModelState.CANCELLED and not slot.holds):
            self._unload(slot)
        elif isinstance(outcome, TintypeError):
            slot.fail(outcome)
            self._freer.release(None, self.components.drop(slot.name))
        else:
            slot.finish_loading(outcome)
            if self._queue:
                self._grace.begin(slot)
        self._changed()

    def _evict(self, slot: Slot) -> None:
        """Release a model. Its components stay in memory until their bytes are needed."""
        self._queue.remove(slot)
        self._grace.end(slot)
        self._freer.release(slot.clear())

    def _unload(self, slot: Slot) -> None:
        """Release a model with all its components."""
        self._evict(slot)
        self._freer.release(None, self.components.drop(slot.name))
        self.safety.forget(slot.served_name)

    def _changed(self) -> None:
        """Wake the callers of `wait`, and load waiting models while there is room."""
        self._lock.notify_all()
        self.updates.release_retired()
        self._queue.advance()
