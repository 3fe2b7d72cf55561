"""A loader for tests: loading a model ends when the test says so."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from tintype.service.models import ModelSpec
    from tintype.service.models.folder.manifest import Manifest


@dataclass
class Loaded:
    """A model made by the loader."""

    spec: ModelSpec


class Loader:
    """Reports half of the progress, then waits for `gate`. Raises each of `failures` once, `failure` always."""

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.gate.set()
        self.failure: Exception | None = None
        self.failures: list[Exception] = []
        self.names: list[str] = []

    def __call__(self, manifest: Manifest, _: Any, progress: Callable[[float], None]) -> Loaded:
        self.names.append(manifest.spec.name)
        progress(0.5)
        assert self.gate.wait(10)
        if self.failures:
            raise self.failures.pop()
        if self.failure:
            raise self.failure
        return Loaded(manifest.spec)


def until(condition: Callable[[], bool]) -> None:
    """Wait until `condition` is true, at most ten seconds."""
    end = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.002)
