r"""The models that this server can serve: found at start, loaded in the background, dropped when memory is short.

    UNLOADED --load--> LOADING --> LOADED --unload, eviction--> UNLOADED
                          \-----> FAILED --load--> LOADING

All methods may be called from any thread. `wait`, `unload`, `relieve` and `close` block until the work is done, and
are not for an event loop; the others take microseconds, since whatever they let go is freed on a thread of its own.

Locks are taken in this order: DeviceThread's, Engine's, Repository's, ComponentMemory's. None of them is held while
memory is freed. `cuda_graphs.DEVICE_ACCESS`, which waits for the device, is taken without any of them.
"""

from __future__ import annotations

import logging
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import partial
from itertools import count
from typing import TYPE_CHECKING, Self

from ...errors import TintypeError, Unavailable
from ..runtime.provider_options import DEFAULTS
from ..runtime.providers import choose
from ..runtime.runtime import Runtime
from .catalogue import Catalogue
from .component_memory import ComponentMemory
from .load_queue import LoadQueue
from .loading import attempt
from .slot import Slot, State, Status

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Sequence
    from pathlib import Path

    from ..model import Model
    from ..runtime.provider_options import ProviderOptions
    from ..spec import ModelSpec

log = logging.getLogger(__name__)


class Repository:
    """The models in `folders`, the first being the default; without folders, the built-in one.

    `providers` are short names in order of preference (empty: cuda where it works, else cpu); `threads` of one call on
    a CPU (0: one per core); `memory` in bytes bounds the weights in memory together (0: no limit); `options` is what
    providers are told. A model that waits for memory that others hold is LOADING; the components of one that is larger
    than all of it take turns.

    Raises:
        ValueError: no provider of that name, or none works here, or two models have one name.
    """

    def __init__(
        self,
        folders: Sequence[Path] = (),
        *,
        providers: Sequence[str] = (),
        threads: int = 0,
        memory: int = 0,
        options: ProviderOptions = DEFAULTS,
    ) -> None:
        if providers:
            choose(tuple(providers))  # fails now, not with the first request
        self._runtime, self._memory = partial(Runtime.choose, tuple(providers), threads, options), memory
        self._catalogue = Catalogue(folders)
        self._components = ComponentMemory(memory)
        self._lock = threading.Condition()
        self._loader = ThreadPoolExecutor(1, thread_name_prefix="tintype-load")
        self._freer = ThreadPoolExecutor(1, thread_name_prefix="tintype-free")
        self._gone: list[tuple[Model | None, Callable[[], None]]] = []  # what is freed when the lock is free
        self._queue = LoadQueue(
            self._catalogue,
            memory,
            locked=self._locked,
            load=lambda slot: self._loader.submit(self._load, slot),
            drop=self._evict,
        )
        self._clock = count(1)
        self._closed = False

    @property
    def default(self) -> str:
        """The name of the model that requests without one use."""
        return self._catalogue.default

    def names(self) -> list[str]:
        """Return the names of all models, broken ones too: the default first, then by name."""
        return self._catalogue.names()

    def specs(self) -> list[ModelSpec]:
        """Return the models whose folders can be served, in the order of `names`."""
        return [self.spec(name) for name in self.names() if self._catalogue.slot(name).manifest]

    def spec(self, name: str = "") -> ModelSpec:
        """Return a model's spec; "" is the default model.

        Raises:
            ModelNotFound: no model of that name.
            ModelBroken: its folder can't be served; each fault is named.
        """
        with self._lock:
            return self._catalogue.slot(name).spec

    def status(self, name: str = "") -> Status:
        """Return where a model is on its way into memory. Raises ModelNotFound."""
        with self._lock:
            return self._catalogue.slot(name).status()

    def load(self, name: str = "", *, lasting: bool = True) -> None:
        """List its adapters anew and start loading in the background, unless it is there or on its way.

        Without `lasting` it is for a request, which may leave (see `forgo`), and waits for no disk: nothing is listed.

        Raises:
            ModelNotFound: no model of that name.
            ModelBroken: its folder can't be served.
            OutOfMemory: it is larger than the whole budget.
            Unavailable: the repository is closed.
        """
        slot = self._catalogue.slot(name)
        relisted = slot.relisted() if lasting else None  # the disk may be slow, and others need the lock
        with self._locked():
            slot.manifest = relisted or slot.manifest
            self._start(slot)
            slot.asked = slot.asked or lasting

    def get(self, name: str = "") -> Model | None:
        """Return the model; or None while it is not there, and start loading it. Counts as a use.

        Raises what `load` raises; and what loading has failed with, until `load` tries again.
        """
        slot = self._catalogue.slot(name)
        with self._locked():
            slot.last_use = next(self._clock)
            slot.check()
            if slot.model is None:
                self._start(slot)
            return slot.model

    def wait(self, name: str = "", timeout: float | None = None) -> Model:
        """Load the model if need be, and return it when it is there; `timeout` in seconds. Blocks.

        Raises what `get` raises, and TimeoutError.
        """
        slot = self._catalogue.slot(name)
        with self._locked():
            self._start(slot)
            slot.asked = True
        with self._lock:
            if not self._lock.wait_for(lambda: slot.state is not State.LOADING or self._closed, timeout):
                raise TimeoutError(f"model {slot.name!r} was not loaded within {timeout:g} seconds")
            slot.check()
            if slot.model is None:
                raise Unavailable(f"model {slot.name!r} was unloaded while somebody waited for it", retry_after=0)
            return slot.model

    def hold(self, name: str = "") -> None:
        """Keep a model in memory until `release`: as often as held, so often released. Raises ModelNotFound."""
        slot = self._catalogue.slot(name)
        with self._lock:
            slot.holds, slot.fresh = slot.holds + 1, False
            slot.last_use = next(self._clock)
            self._components.hold(slot.name, held=True)

    def release(self, name: str = "") -> None:
        """Undo one `hold`; a model that waits for memory gets it now."""
        slot = self._catalogue.slot(name)
        with self._locked():
            slot.holds -= 1
            self._components.hold(slot.name, held=slot.holds > 0)
            if slot.leaving and not slot.holds and slot.state is State.LOADED:
                self._drop(slot)
            self._changed()

    def forgo(self, wanted: Collection[str], urgent: Collection[str]) -> None:
        """Keep no memory from others for requests that have left, or are less urgent.

        `wanted` are the models of those that are living, `urgent` of those among them that may begin now.
        """
        with self._locked():
            self._queue.forgo(wanted, urgent)

    def unload(self, name: str = "") -> None:
        """Drop a model now, or when its last holder releases it.

        The call blocks. Raises ModelNotFound.
        """
        slot = self._catalogue.slot(name)
        with self._locked():
            if not self._queue.leave(slot) and (slot.state is State.LOADING or slot.holds):
                slot.leaving = True
                return
            if slot.manifest:
                self._drop(slot)
            self._changed()
        self._wait_until_free()

    def relieve(self, name: str = "") -> bool:
        """Evict all other models without holders; the device lacks memory.

        Return True if any was evicted. Blocks until the memory is free.
        """
        with self._locked():
            slot = self._catalogue.slot(name)
            idle = [other for other in self._catalogue if other is not slot and other.model and not other.holds]
            for other in idle:
                self._evict(other)
            free = self._components.relieve(slot.name)
            if free:
                self._gone.append((None, free))
        if free or idle:
            self._wait_until_free()
        return bool(free or idle)

    def close(self) -> None:
        """Stop loading and drop all models; blocks until they are gone."""
        with self._locked():
            self._closed = True
            self._queue.close()
            for slot in self._catalogue:
                if slot.model:
                    self._drop(slot)
            self._lock.notify_all()
        self._loader.shutdown(cancel_futures=True)
        self._freer.shutdown()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _start(self, slot: Slot) -> None:
        """Put a model in line for loading, unless it is there or on its way."""
        slot.servable()
        slot.leaving = False
        if slot.state in (State.LOADING, State.LOADED):
            return
        if self._closed:
            raise Unavailable("no model is loaded any more: the server is ending")
        slot.check_size(self._memory)
        slot.state, slot.error, slot.fraction = State.LOADING, None, 0.0
        self._queue.join(slot)

    def _load(self, slot: Slot) -> None:
        """Load one model; runs in the loader's thread."""
        self._wait_until_free()
        slot.stop_flag.resume()  # whoever stopped the model has let it go since
        runtime = self._runtime().within(self._components.of_model(slot.name, slot.widening), slot.stop_flag)
        found = attempt(slot.servable(), runtime, partial(self._progress, slot), partial(self.relieve, slot.name))
        with self._locked():
            self._settle(slot, found)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Hold the lock; free what was released inside afterwards.

        Freeing runs in a thread of its own.
        """
        with self._lock:
            try:
                yield
            finally:
                gone, self._gone = self._gone, []
        if gone:
            try:
                self._freer.submit(_free, gone)
            except RuntimeError:  # the repository is closed
                _free(gone)

    def _wait_until_free(self) -> None:
        """Return when all that was released so far is freed.

        The caller holds no lock.
        """
        with suppress(RuntimeError):  # the repository is closed
            self._freer.submit(int).result()

    def _evict(self, slot: Slot) -> None:
        """Release a model.

        Its components stay in memory until their place is needed.
        """
        self._gone.append((slot.drop(), _nothing))

    def _drop(self, slot: Slot) -> None:
        """Let a model go with all that it has in memory."""
        self._gone.append((slot.drop(), self._components.drop(slot.name)))

    def _settle(self, slot: Slot, found: Model | TintypeError) -> None:
        if self._closed or (slot.leaving and not slot.holds):
            self._drop(slot)
        elif isinstance(found, TintypeError):
            self._drop(slot)
            slot.state, slot.error = State.FAILED, found
        else:
            slot.model, slot.state = found, State.LOADED
            self._queue.keep_fresh(slot)
        self._changed()

    def _changed(self) -> None:
        """Tell those who wait for a model, and those who wait for memory."""
        self._lock.notify_all()
        self._queue.move()

    def _progress(self, slot: Slot, fraction: float) -> None:
        with self._lock:
            slot.fraction = fraction


def _free(gone: list[tuple[Model | None, Callable[[], None]]]) -> None:
    """Free models and what they have in memory."""
    while gone:
        model, free = gone.pop()
        try:
            free()
        except Exception:
            log.exception("memory could not be freed")
        del model, free


def _nothing() -> None:
    """Free nothing more."""
