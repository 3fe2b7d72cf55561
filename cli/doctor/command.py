"""`tintype doctor`: what was found on this machine, the settings in force, and what models need.

The exit code is 0 only if every model that was asked about, or that the settings name, can be served.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from tintype.gateway.config import GatewayConfig
from tintype.service.assembly import loading_options
from tintype.service.config import ServiceConfig
from tintype.service.models.hub.cache import CachedRepository
from tintype.service.models.hub.identifiers import HubId
from tintype.service.models.hub.settings import HubSettings
from tintype.service.models.residency.catalogue import BUILTIN
from tintype.service.models.residency.model_files import models_in

from ..errors import UserError
from ..settings.file import resolve_paths
from ..settings.sources import Sources
from ..settings.values import HubModel, parse_model
from . import machine, places
from .findings import Finding, Section, format_json, format_text
from .models import cached_models, describe_model, not_cached

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Iterator, Mapping, Sequence

    from ..settings.sources import Found

LONGEST = 200  # characters of a problem in the last line; the report has all of it


def run(arguments: Namespace) -> int:
    """Print all findings, as text or as JSON. Raises UserError if a model can't be served."""
    sections = list(_sections(Sources.gather(vars(arguments)), arguments.models_asked))
    print(format_json(sections) if arguments.json else format_text(sections))
    problems = [problem for section in sections for problem in section.problems]
    if problems:
        raise UserError(_summary(problems))
    return 0


def _summary(problems: Sequence[str]) -> str:
    """Return the first problem, shortened if it is long, and how many there are."""
    first = problems[0] if len(problems[0]) <= LONGEST else f"{problems[0][:LONGEST]}…"
    return first + (f"; and {len(problems) - 1} more, see above" if len(problems) > 1 else "")


def _sections(sources: Sources, models: Sequence[str]) -> Iterator[Section]:
    found = sources.find_all(ServiceConfig)
    local = {name: snapshot(found[name].value) for name in ("text_encoders", "vae")}
    config = sources.config(ServiceConfig, models=(), **local)
    gateway, options = sources.config(GatewayConfig), loading_options(config)
    folders = {"data": config.data, "converted weights": options.cache, "hub cache": hub_cache()}
    yield Section("software", "software", machine.software())
    yield Section("machine", "machine", [*machine.processors(), *machine.memory(), *machine.gpu()])
    devices = machine.devices(config.devices, config.providers)
    in_use = machine.execution_providers(config.providers)
    yield Section("providers", "execution providers", [*devices, *in_use])
    yield Section("disk", "disk space", places.disks(folders))
    yield Section("ports", "ports", places.ports({"rest": gateway.rest, "grpc": config.grpc}))
    yield Section("access", "access", places.access(config))
    missing = [found[name].value for name, path in local.items() if found[name].value and path is None]
    absent = [Finding("missing", str(model), problem=not_cached(model)) for model in missing]
    yield Section("settings", "settings in force", [*places.settings(sources), *absent])
    yield Section("hub", "models in the hub's cache", cached_models(hub_cache()))
    for model in [resolve_paths(parse_model(text), Path()) for text in models] or _configured(found):
        title = "built in" if model == BUILTIN else model
        yield describe_model(title, options, snapshot(model), str(in_use[-1].value or "cpu"))


def _configured(found: Mapping[str, Found]) -> Sequence[object]:
    """Return the models that the settings name, those of the folder of models, or the built-in one."""
    named, folder = found["models"].value, found["models_folder"].value
    models = [*named] if isinstance(named, tuple) else []
    if isinstance(folder, Path):
        with suppress(OSError):  # the servers refuse it
            models += models_in(folder)
    return models or (BUILTIN,)


def hub_cache() -> Path:
    """Return the folder of the hub's cache."""
    return HubSettings.from_environment(os.environ).cache


def snapshot(model: object) -> Path | None:
    """Return the path of a model, in the hub's cache for a hub id; None if it is not there."""
    if not isinstance(model, HubModel):
        return model if isinstance(model, Path) else None
    id_ = HubId.parse(model.text)
    repository = CachedRepository(hub_cache(), id_.repository)
    commit = repository.commit(id_.revision)
    path = repository.snapshot(commit) / id_.file if commit else None
    return path if path and path.exists() else None
