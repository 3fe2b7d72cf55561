r"""The models that this server can serve: found at start, loaded in the background, dropped when memory is short.

    UNLOADED --load--> LOADING --> LOADED --unload, eviction--> UNLOADED
                          \-----> FAILED --load--> LOADING

All methods may be called from any thread and none but `wait` blocks.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Self

from ..errors import ModelBroken, ModelNotFound, OutOfMemory, TintypeError, Unavailable
from .diffusion_model import load
from .entry import Entry, State, Status, to_evict
from .manifest import read
from .providers import choose
from .session import Runtime
from .trim import trim

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .model import Model
    from .spec import ModelSpec

log = logging.getLogger(__name__)

BUILTIN = Path(__file__).parent / "builtin"


class Repository:
    """The models in `folders`, the first being the default; without folders, the built-in one.

    `providers` are short names in order of preference (empty: cuda where it works, else cpu); `threads` of one call on
    a CPU (0: one per core); `memory` in bytes bounds the weights of loaded models together (0: no limit). A model that
    waits for memory that others hold is LOADING.

    Raises:
        ValueError: no provider of that name, or none works here, or two models have one name.
    """

    def __init__(
        self, folders: Sequence[Path] = (), *, providers: Sequence[str] = (), threads: int = 0, memory: int = 0
    ) -> None:
        if providers:
            choose(tuple(providers))  # fails now, not with the first request
        self._providers, self._threads, self._memory = tuple(providers), threads, memory
        self._entries: dict[str, Entry] = {}
        for folder in folders or [BUILTIN]:
            self._add(Path(folder))
        self._lock = threading.Condition()
        self._waiting: deque[Entry] = deque()  # for memory, first come first served
        self._loader = ThreadPoolExecutor(1, thread_name_prefix="tintype-load")
        self._clock = count(1)
        self._closed = False

    def _add(self, folder: Path) -> None:
        try:
            manifest = read(folder)
            entry = Entry(manifest.spec.name, manifest)
        except ModelBroken as error:
            log.warning("%s", error)
            entry = Entry(error.metadata["model"], None, error, State.FAILED)
        if entry.name in self._entries:
            raise ValueError(f"two models are called {entry.name!r}, the second in {folder}; give one another name")
        self._entries[entry.name] = entry

    @property
    def default(self) -> str:
        """The name of the model that requests without one use."""
        return next(iter(self._entries))

    def names(self) -> list[str]:
        """Return the names of all models, broken ones too: the default first, then by name."""
        return [self.default, *sorted(self._entries.keys() - {self.default})]

    def specs(self) -> list[ModelSpec]:
        """Return the models whose folders can be served, in the order of `names`."""
        return [self.spec(name) for name in self.names() if self._entries[name].manifest]

    def spec(self, name: str = "") -> ModelSpec:
        """Return a model's spec; "" is the default model.

        Raises:
            ModelNotFound: no model of that name.
            ModelBroken: its folder can't be served; each fault is named.
        """
        with self._lock:
            return self._entry(name).spec

    def status(self, name: str = "") -> Status:
        """Return where a model is on its way into memory. Raises ModelNotFound."""
        with self._lock:
            return self._entry(name).status()

    def load(self, name: str = "") -> None:
        """Start loading in the background and return at once; harmless while loading or loaded.

        Raises:
            ModelNotFound: no model of that name.
            ModelBroken: its folder can't be served.
            OutOfMemory: it is larger than the whole budget.
            Unavailable: the repository is closed.
        """
        with self._lock:
            self._start(self._entry(name))

    def get(self, name: str = "") -> Model | None:
        """Return the model; or None while it is not there, and start loading it. Counts as a use.

        Raises what `load` raises; and what loading has failed with, until `load` tries again.
        """
        entry = self._entry(name)
        with self._lock:
            entry.last_use = next(self._clock)
            entry.check()
            if entry.model is None:
                self._start(entry)
            return entry.model

    def wait(self, name: str = "", timeout: float | None = None) -> Model:
        """Load the model if need be, and return it when it is there; `timeout` in seconds. Blocks.

        Raises what `get` raises, and TimeoutError.
        """
        entry = self._entry(name)
        with self._lock:
            self._start(entry)
            if not self._lock.wait_for(lambda: entry.state is not State.LOADING or self._closed, timeout):
                raise TimeoutError(f"model {entry.name!r} was not loaded within {timeout:g} seconds")
            entry.check()
            if entry.model is None:
                raise Unavailable(f"model {entry.name!r} was unloaded while somebody waited for it", retry_after=0)
            return entry.model

    def hold(self, name: str = "") -> None:
        """Keep a model in memory until `release`: as often as held, so often released. Raises ModelNotFound."""
        entry = self._entry(name)
        with self._lock:
            entry.holds += 1
            entry.last_use = next(self._clock)

    def release(self, name: str = "") -> None:
        """Undo one `hold`; whoever waits for memory gets it now."""
        entry = self._entry(name)
        with self._lock:
            entry.holds -= 1
            if entry.leaving and not entry.holds and entry.state is State.LOADED:
                entry.drop()
            self._changed()

    def unload(self, name: str = "") -> None:
        """Drop a model, at once or when the last who holds it releases it. Raises ModelNotFound."""
        entry = self._entry(name)
        with self._lock:
            if entry in self._waiting:
                self._waiting.remove(entry)
            elif entry.state is State.LOADING or entry.holds:
                entry.leaving = True
                return
            if entry.manifest:
                entry.drop()
            self._changed()

    def close(self) -> None:
        """Stop loading and drop all models."""
        with self._lock:
            self._closed = True
            self._waiting.clear()
            for entry in self._entries.values():
                if entry.model:
                    entry.drop()
            self._lock.notify_all()
        self._loader.shutdown(cancel_futures=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _entry(self, name: str) -> Entry:
        entry = self._entries.get(name or self.default)
        if entry is None:
            raise ModelNotFound(name, self.names())
        return entry

    def _start(self, entry: Entry) -> None:
        """Put a model in line for loading, unless it is there or on its way."""
        entry.servable()
        entry.leaving = False
        if entry.state in (State.LOADING, State.LOADED):
            return
        if self._closed:
            raise Unavailable("no model is loaded any more: the server is ending")
        if 0 < self._memory < entry.weight:
            problem = f"has {entry.weight} bytes of weights, above the {self._memory} that all models may have"
            raise OutOfMemory(f"model {entry.name!r} {problem}")
        entry.state, entry.error, entry.fraction = State.LOADING, None, 0.0
        self._waiting.append(entry)
        self._admit()

    def _admit(self) -> None:
        """Let those in line load, as far as the budget goes."""
        while self._waiting and not self._closed and self._make_room(self._waiting[0]):
            entry = self._waiting.popleft()
            entry.admitted = True
            self._loader.submit(self._load, entry)

    def _make_room(self, entry: Entry) -> bool:
        """Drop what has to go for `entry`; False while too much is in use."""
        leaving = to_evict(self._entries.values(), entry, self._memory) if self._memory else []
        for other in leaving or ():
            log.info("model %s makes room for %s", other.name, entry.name)
            other.drop()
        return leaving is not None

    def _load(self, entry: Entry) -> None:
        """Load one model; runs in the loader's thread."""
        model, error = None, None
        try:
            runtime = Runtime.choose(self._providers, self._threads)
            model = load(entry.servable(), runtime, lambda fraction: self._progress(entry, fraction))
            trim()
            log.info("model %s is loaded, on %s", entry.name, model.spec.provider)
        except TintypeError as failure:
            error = failure
        except Exception as failure:
            log.exception("model %s", entry.name)
            error = ModelBroken(entry.name, [f"{type(failure).__name__}: {failure}"])
        with self._lock:
            self._settle(entry, model, error)

    def _settle(self, entry: Entry, model: Model | None, error: TintypeError | None) -> None:
        if self._closed or (entry.leaving and not entry.holds):
            entry.drop()
        else:
            entry.model, entry.error = model, error
            entry.state, entry.admitted = (State.FAILED, False) if error else (State.LOADED, True)
        self._changed()

    def _changed(self) -> None:
        """Tell those who wait for a model, and those who wait for memory."""
        self._lock.notify_all()
        self._admit()

    def _progress(self, entry: Entry, fraction: float) -> None:
        with self._lock:
            entry.fraction = fraction
