"""Files of deploy/, and the settings that they name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import yaml

from tests.support.source import ROOT
from tintype.cli.settings.definitions import SECTIONS, settings_of

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

DEPLOY = ROOT / "deploy"
SECTION = {"serve": ("service",), "gateway": ("gateway",), "up": ("service", "gateway")}
OWN = {"TINTYPE_CONFIG"}  # variables that are not settings


def documents(path: Path) -> list[dict[str, Any]]:
    """Return the documents of a YAML file."""
    return [document for document in yaml.safe_load_all(path.read_text("utf-8")) if document]


def unknown_settings(command: str, variables: Iterable[str]) -> set[str]:
    """Return the variables TINTYPE_... that are no setting of a command."""
    known = {each.env for section in SECTION[command] for each in settings_of(SECTIONS[section]).values()}
    return {name for name in variables if name.startswith("TINTYPE_")} - known - OWN
