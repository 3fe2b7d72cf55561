"""Disk space, ports, keys and settings in force."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING

from tintype.v1 import keyfile

from ..errors import UserError
from ..servers.plan import claim_port
from ..settings.definitions import SECTIONS, is_secret, settings_of
from ..settings.printing import toml_value
from ..settings.sources import DEFAULT, unknown_variables
from ..settings.values import format_size
from .findings import Finding

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from tintype.v1.settings import Common

    from ..settings.sources import Found, Sources


def disks(folders: Mapping[str, Path]) -> list[Finding]:
    """Return the free space where each folder is or will be."""
    return [_disk(name, folder) for name, folder in folders.items()]


def _disk(name: str, folder: Path) -> Finding:
    folder = folder.expanduser()
    existing = next((path for path in (folder, *folder.parents) if path.exists()), None)
    try:
        free = shutil.disk_usage(existing or folder).free
    except OSError as error:
        return Finding(name, None, f"{folder}: {error.strerror}")
    return Finding(name, {"folder": str(folder), "free": free}, f"{folder}, {format_size(free)} free")


def ports(addresses: Mapping[str, str]) -> list[Finding]:
    """Return whether each address is free."""
    return [_port(name, address) for name, address in addresses.items()]


def _port(name: str, address: str) -> Finding:
    try:
        claim_port(address, f"--{name}")
    except UserError as error:
        return Finding(name, {"address": address, "free": False}, address, note=str(error))
    return Finding(name, {"address": address, "free": True}, f"{address}, free")


def access(config: Common) -> list[Finding]:
    """Return how many keys there are, and whether requests need one."""
    path = config.key_file
    try:
        count = len(keyfile.read(path)) if path.exists() else 0
        config.check_access()
    except Exception as error:  # noqa: BLE001 - any fault of the file is reported
        return [Finding("keys", None, str(path), problem=" ".join(str(error).split()))]
    required = "required" if config.needs_key else "not required"
    return [Finding("keys", {"file": str(path), "keys": count}, f"{count} in {path}; a key is {required}")]


def settings(sources: Sources) -> list[Finding]:
    """Return the settings that are not defaults, with their sources, and variables that look misspelled."""
    seen: dict[str, Finding] = {}
    for section in SECTIONS:
        for name, finding in _settings(sources, section):
            seen.setdefault(f"{name} {finding.value}", finding)
    warnings = [Finding("variable", line) for line in unknown_variables(os.environ)]
    if not seen and not warnings:
        return [Finding("settings", None, "all are defaults; `tintype up --print-config` lists them")]
    return [*seen.values(), *warnings]


def _settings(sources: Sources, section: str) -> Iterator[tuple[str, Finding]]:
    settings = settings_of(SECTIONS[section])
    for name, found in sources.find_all(SECTIONS[section]).items():
        if found.problem:
            yield name, Finding(name, None, problem=found.problem)
        elif found.source != DEFAULT:
            text = "set" if is_secret(name, found.value) else toml_value(settings[name], found.value)
            yield name, Finding(name, _described(found, text), f"{text}  ({found.source})")


def _described(found: Found, text: str) -> dict[str, str]:
    return {"value": text, "source": found.source}
