"""One attempt to load a model, and its outcome."""

from __future__ import annotations

import logging
from functools import partial
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
    from ..safety_checker import SafetyCheckers

log = logging.getLogger(__name__)


def try_load(
    manifest: Manifest,
    runtime: Runtime,
    safety: SafetyCheckers,
    progress: Callable[[float], None],
    evict_idle: Callable[[], bool],
) -> Model | TintypeError:
    """Load a model and its safety checker; return the model, or the reason why it cannot be loaded.

    If the device is out of memory, loading is tried once more after `evict_idle`, unless that evicted nothing.
    """
    name = manifest.spec.name
    keep_large_apart()
    try:
        model = _load_with_retry(partial(_load, manifest, runtime, safety, progress), evict_idle)
    except TintypeError as error:
        return error
    except Exception as error:
        log.exception("model %s", name)
        return ModelBroken(name, [f"{type(error).__name__}: {error}"])
    log.info("model %s is loaded, on %s", name, model.spec.provider)
    return model


def _load_with_retry(load_once: Callable[[], Model], evict_idle: Callable[[], bool]) -> Model:
    try:
        return load_once()
    except OutOfMemory:
        if not evict_idle():
            raise
        return load_once()
    finally:
        trim()


def _load(manifest: Manifest, runtime: Runtime, safety: SafetyCheckers, progress: Callable[[float], None]) -> Model:
    """Load a model outside of any capture of a CUDA graph: loading also encodes a prompt on the device.

    Its safety checker is loaded first: a model whose images can't be checked is not served.
    """
    safety.load(manifest.spec)
    with DEVICE_ACCESS.shared():
        return load(manifest, runtime, progress)
