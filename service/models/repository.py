r"""The models that this server can serve: found at start, loaded in the background, dropped when memory is short.

    UNLOADED --load--> LOADING --> LOADED --unload, eviction--> UNLOADED
                          \-----> FAILED --load--> LOADING

All methods may be called from any thread and none but `wait` blocks.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from .model import Model
    from .spec import ModelSpec


class State(StrEnum):
    """Where a model is on its way into memory."""

    UNLOADED = "unloaded"
    LOADING = "loading"
    LOADED = "loaded"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Status:
    """A model's state; `fraction` 0 to 1 is loaded; `error` tells why it failed; `provider` runs it once loaded."""

    state: State
    fraction: float = 0.0
    error: str = ""
    provider: str = ""


class Repository:
    """The models in `folders`, the first being the default; without folders, the built-in one.

    `providers` are short names in order of preference (empty: cuda where it works, else cpu); `threads` of one call on
    a CPU (0: one per core); `memory` in bytes bounds the weights of loaded models together (0: no limit).

    Raises:
        ValueError: an unknown provider, or two models of one name.
    """

    def __init__(
        self, folders: Sequence[Path] = (), *, providers: Sequence[str] = (), threads: int = 0, memory: int = 0
    ) -> None: ...

    @property
    def default(self) -> str:
        """The name of the model that requests without one use."""

    def specs(self) -> list[ModelSpec]:
        """Return the models that can be served, the default first, then by name; broken ones are left out."""

    def names(self) -> list[str]:
        """Return the names of all models, broken ones too, in the order of `specs`."""

    def spec(self, name: str = "") -> ModelSpec:
        """Return a model's spec; "" is the default model.

        Raises:
            ModelNotFound: no model of that name.
            ModelBroken: its folder can't be served; each fault is named.
        """

    def status(self, name: str = "") -> Status:
        """Return where a model is on its way into memory. Raises ModelNotFound."""

    def load(self, name: str = "") -> None:
        """Start loading in the background and return at once; harmless while loading or loaded.

        Raises:
            ModelNotFound: no model of that name.
            ModelBroken: its folder can't be served.
            OutOfMemory: it is larger than the whole budget.
        """

    def get(self, name: str = "") -> Model | None:
        """Return the model, or None while it is not loaded; counts as a use.

        Raises what `load` raises, and ModelBroken or OutOfMemory when loading has failed.
        """

    def wait(self, name: str = "", timeout: float | None = None) -> Model:
        """Load the model if need be, and return it when it is there. Raises as `get`, and TimeoutError."""

    def hold(self, name: str) -> None:
        """Keep a model from eviction until `release`: as often as held, so often released."""

    def release(self, name: str) -> None:
        """Undo one `hold`."""

    def unload(self, name: str) -> None:
        """Drop a model; its memory is free when the last user has let go of it. Raises ModelNotFound."""

    def close(self) -> None:
        """Stop loading and drop all models."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
