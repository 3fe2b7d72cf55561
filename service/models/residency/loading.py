"""One attempt to load a model, and what came of it."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from ...errors import ModelBroken, OutOfMemory, TintypeError
from ..pipeline.pipeline import load
from ..runtime.cuda_graphs import DEVICE_ACCESS
from .malloc import keep_large_apart, trim

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..folder.manifest import Manifest
    from ..model import Model
    from ..runtime.runtime import Runtime

log = logging.getLogger(__name__)


def attempt(
    manifest: Manifest, runtime: Runtime, progress: Callable[[float], None], relieve: Callable[[], bool]
) -> Model | TintypeError:
    """Load a model, or say why not; if the device is short of memory, once more after `relieve` has freed some."""
    name = manifest.spec.name
    keep_large_apart()
    try:
        model = _retried(manifest, runtime, progress, relieve)
    except TintypeError as error:
        return error
    except Exception as error:
        log.exception("model %s", name)
        return ModelBroken(name, [f"{type(error).__name__}: {error}"])
    log.info("model %s is loaded, on %s", name, model.spec.provider)
    return model


def _retried(
    manifest: Manifest, runtime: Runtime, progress: Callable[[float], None], relieve: Callable[[], bool]
) -> Model:
    try:
        return _loaded(manifest, runtime, progress)
    except OutOfMemory:
        if not relieve():
            raise
        return _loaded(manifest, runtime, progress)
    finally:
        trim()


def _loaded(manifest: Manifest, runtime: Runtime, progress: Callable[[float], None]) -> Model:
    """Load a model; it also encodes a prompt, which calls the device."""
    with DEVICE_ACCESS.shared():
        return load(manifest, runtime, progress)
