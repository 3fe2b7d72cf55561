"""The parts of a service, assembled from its settings: models, device, and the calls on them, without a transport.

`server` serves them over gRPC, and `tintype.cluster` as a replica of Ray Serve.
"""

from __future__ import annotations

import os
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from .api import ImageApi
from .engine.device_thread import DeviceThread
from .engine.engine import Engine
from .engine.queue import Limits
from .errors import TintypeError
from .metrics.observer import IGNORE
from .models import Repository
from .models.loading_options import LoadingOptions, Precision, SafetyOptions
from .models.residency.malloc import return_memory
from .models.runtime.provider_options import DEFAULTS, ProviderOptions, arena_limit
from .models.runtime.providers import choose
from .rpc.listen import ServeError

if TYPE_CHECKING:
    from collections.abc import Generator

    from .api import Device
    from .config import ServiceConfig
    from .metrics.observer import Observer
    from .models.safety_checker import SafetyCheckers


class Assembly(NamedTuple):
    """The parts of a service on one device."""

    repository: Repository
    device: Device
    api: ImageApi


@contextmanager
def assemble(
    config: ServiceConfig,
    *,
    repository: Repository | None = None,
    device: Device | None = None,
    observer: Observer = IGNORE,
) -> Generator[Assembly]:
    """Open the models and start the device; leaving the block fails running requests and frees all of it.

    No model is loaded yet. `repository` and `device` are created from `config` by default; `observer` learns of their
    work. Raises ServeError.
    """
    with (
        open_repository(config, repository, observer) as models,
        open_device(config, models, device, observer) as engine,
        closing(ImageApi(models, engine, marks=config.mark_images, safety=_checkers(config, models))) as api,
    ):
        yield Assembly(models, engine, api)


@contextmanager
def open_repository(
    config: ServiceConfig, existing: Repository | None = None, observer: Observer = IGNORE
) -> Generator[Repository]:
    """Open the models of a configuration, or yield `existing`. Raises ServeError."""
    if existing is not None:
        yield existing
        return
    try:
        config.check()
        options, memory = provider_options(config), config.memory
        opened = Repository(
            config.models,
            providers=config.providers,
            threads=config.threads,
            memory=options.weights_budget(memory, choose(config.providers)) if memory else 0,
            options=options,
            loading=loading_options(config),
            observer=observer,
        )
    except (TintypeError, ValueError) as error:
        raise ServeError(str(error)) from error
    with opened as repository:
        _check_models(repository)
        if config.models_folder:
            serve_models(repository, config)
        yield repository


def provider_options(config: ServiceConfig) -> ProviderOptions:
    """Return the options of execution providers that a configuration sets."""
    return ProviderOptions(
        config.cuda_graphs,
        config.engines or DEFAULTS.engines,
        arena_limit(config.arena, config.memory),
        config.mapped,
        config.exact,
        config.fixed_shapes,
        _weights_cache(config) if config.keep_graphs else None,
    )


def loading_options(config: ServiceConfig) -> LoadingOptions:
    """Return the options for published weights that a configuration sets, with absolute folders."""
    return LoadingOptions(
        precision=Precision(config.precision),
        mapped=config.mapped,
        exact=config.exact,
        text_encoders=config.text_encoders,
        vae=config.vae,
        cache=_weights_cache(config),
        templates=config.templates,
        additions=(config.additions or config.data / "models").absolute(),
        safety=safety_options(config),
    )


def safety_options(config: ServiceConfig) -> SafetyOptions | None:
    """Return how finished images are checked; None if they are not."""
    if not (config.safety_checks or config.safety_checker):
        return None
    folder = config.safety_checker.absolute() if config.safety_checker else None
    return SafetyOptions(folder, config.safety_labels, config.safety_threshold)


def _checkers(config: ServiceConfig, models: Repository) -> SafetyCheckers | None:
    return models.safety if safety_options(config) else None


def _weights_cache(config: ServiceConfig) -> Path:
    """Return the folder for converted weights and optimized graphs."""
    return (config.weights_cache or _cache_folder(config) / "weights").absolute()


def _cache_folder(config: ServiceConfig) -> Path:
    """Return `tintype` in the user's cache folder; for a user without a home directory, `cache` in the data folder."""
    try:
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tintype"
    except RuntimeError:
        return config.data / "cache"


def _check_models(repository: Repository) -> None:
    """Raise ServeError if the folder of any model can't be served: requests for it would fail."""
    served = {spec.name for spec in repository.specs()}
    broken = [repository.status(name).error for name in repository.names() if name not in served]
    if broken:
        raise ServeError("; ".join(broken))


def serve_models(repository: Repository, config: ServiceConfig) -> None:
    """Serve the models of a configuration, read again, and those of its folder. Raises ServeError."""
    try:
        repository.updates.replace(config.models, config.models_folder)
    except (TintypeError, ValueError) as error:
        raise ServeError(str(error)) from error


@contextmanager
def open_device(
    config: ServiceConfig, repository: Repository, existing: Device | None = None, observer: Observer = IGNORE
) -> Generator[Device]:
    """Start the thread of the device, or yield `existing`. Raises ServeError."""
    if existing is not None:
        yield existing
        return
    try:
        limits = Limits(queue=config.queue, max_batch=config.max_batch)
    except ValueError as error:
        raise ServeError(str(error)) from error
    engine = Engine(repository, limits=limits, observer=observer)
    with closing(DeviceThread(engine, rest=return_memory)) as thread:
        yield thread
