"""Checks of the service's settings before anything is downloaded or started."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from tintype.service.config import ServiceConfig

from ..errors import UserError

if TYPE_CHECKING:
    from .sources import Sources


def local_service(sources: Sources) -> ServiceConfig:
    """Return the checked configuration of the service, without models, and without those of the hub.

    Raises:
        UserError: a value is invalid, or a path does not exist.
    """
    found = sources.find_all(ServiceConfig)
    paths = {name: _path(found[name].value) for name in ("text_encoders", "vae")}
    config = sources.config(ServiceConfig, models=(), **paths)
    try:
        config.check()
    except ValueError as error:
        raise UserError(str(error)) from error
    return config


def _path(value: object) -> Path | None:
    return value if isinstance(value, Path) else None
