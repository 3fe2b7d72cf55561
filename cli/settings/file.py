"""The settings file, `tintype.toml`: shared settings at the top, then the sections `[service]` and `[gateway]`.

Every command that reads the file checks all names in it; values are checked when they are needed. Relative paths are
relative to the file's folder.
"""

from __future__ import annotations

import os
import stat
import sys
import tomllib
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import UserError
from .definitions import SECRETS, SECTIONS, SHARED, settings_of
from .values import parse_path

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

NAME = "tintype.toml"


@dataclass(frozen=True, slots=True)
class SettingsFile:
    """A settings file: the shared settings and those of each section. Names are checked, values are not."""

    path: Path | None = None
    shared: Mapping[str, object] = field(default_factory=dict)
    sections: Mapping[str, Mapping[str, object]] = field(default_factory=dict)

    def find(self, section: str, name: str) -> tuple[str, object] | None:
        """Return where a setting is and its TOML value. The section takes precedence over the shared settings."""
        table = self.sections.get(section, {})
        if name in table:
            return f"{self.path}: [{section}] {name}", table[name]
        if name in SHARED and name in self.shared:
            return f"{self.path}: {name}", self.shared[name]
        return None

    def resolve(self, value: object) -> object:
        """Resolve relative paths against the file's folder."""
        folder = self.path.parent if self.path else Path()
        if isinstance(value, tuple):
            return tuple(self.resolve(item) for item in value)
        return folder / value if isinstance(value, Path) else value


def read_file(path: Path) -> SettingsFile:
    """Read a settings file and check its names.

    Raises:
        UserError: the file is unreadable, is not valid TOML, or has an unknown name.
    """
    try:
        shared: dict[str, object] = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"cannot read the settings file {path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is not valid TOML: {error}") from error
    _check_names(str(path), shared, [*SHARED, *SECTIONS])
    sections: dict[str, dict[str, object]] = {}
    for section, config in SECTIONS.items():
        table = shared.pop(section, {})
        if not isinstance(table, dict):
            raise UserError(f"{path}: {section} must be a section: write [{section}], and its settings below it")
        _check_names(f"{path}: [{section}]", table, list(settings_of(config)))
        sections[section] = table
    _warn_of_secrets(path, [shared, *sections.values()])
    return SettingsFile(path, shared, sections)


def _warn_of_secrets(path: Path, tables: Sequence[Mapping[str, object]]) -> None:
    """Warn if other users can read a file that holds a key."""
    found = [name for name in SECRETS if any(name in table for table in tables)]
    if found and os.name == "posix" and path.stat().st_mode & stat.S_IROTH:
        sys.stderr.write(f"tintype: other users can read {found[0]} in {path}: run `chmod 600 {path}`\n")


def _check_names(where: str, table: Mapping[str, object], known: Sequence[str]) -> None:
    for name in table:
        if name not in known:
            raise UserError(f"{where}: unknown setting {name!r}; {_suggest(name, known)}")


def _suggest(name: str, known: Sequence[str]) -> str:
    close = get_close_matches(name, known, 1)
    if close:
        return f"did you mean {close[0]!r}?"
    sections = [f"it belongs in [{section}]" for section, config in SECTIONS.items() if name in settings_of(config)]
    return sections[0] if sections else f"known settings: {', '.join(sorted(known))}"


def find_file(flag: str | None, environ: Mapping[str, str]) -> SettingsFile:
    """Read the file that --config or TINTYPE_CONFIG names, otherwise ./tintype.toml if it exists."""
    named = flag or environ.get("TINTYPE_CONFIG")
    if named:
        return read_file(parse_path(named))
    return read_file(Path(NAME)) if Path(NAME).is_file() else SettingsFile()
