"""The settings file, `tintype.toml`: shared settings at the top, then sections such as `[service]`.

Every command that reads the file checks all names in it; values are checked when they are needed. Relative paths are
relative to the file's folder.
"""

from __future__ import annotations

import os
import re
import stat
import sys
import tomllib
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import UserError
from .definitions import SECRETS, SECTIONS, SHARED, settings_of
from .values import HubModel, parse_path

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

NAME = "tintype.toml"


@dataclass(frozen=True, slots=True)
class SettingsFile:
    """A settings file: the shared settings and those of each section. Names are checked, values are not.

    `lines` are the line numbers of settings, by section ("" for the shared ones) and name, as far as they were found.
    """

    path: Path | None = None
    shared: Mapping[str, object] = field(default_factory=dict)
    sections: Mapping[str, Mapping[str, object]] = field(default_factory=dict)
    lines: Mapping[tuple[str, str], int] = field(default_factory=dict)

    def find(self, section: str, name: str) -> FileValue | None:
        """Return the TOML value of a setting. The section takes precedence over the shared settings."""
        if name in self.sections.get(section, {}):
            return self._value(self.sections[section][name], section, name)
        if name in SHARED and name in self.shared:
            return self._value(self.shared[name], "", name)
        return None

    def _value(self, value: object, section: str, name: str) -> FileValue:
        line = self.lines.get((section, name))
        where = f"{self.path}: [{section}] {name}" if section else f"{self.path}: {name}"
        return FileValue(value, where, f"{self.path}:{line}" if line else str(self.path))

    def resolve(self, value: object) -> object:
        """Resolve relative paths against the file's folder."""
        return resolve_paths(value, self.path.parent if self.path else Path())


@dataclass(frozen=True, slots=True)
class FileValue:
    """A TOML value, the name of its setting for messages, and the place in the file: PATH:LINE."""

    value: object
    where: str
    source: str


def resolve_paths(value: object, folder: Path) -> object:
    """Resolve relative paths against a folder; a hub id that is a path there becomes that path."""
    if isinstance(value, tuple):
        return tuple(resolve_paths(item, folder) for item in value)
    if isinstance(value, HubModel):
        return value.or_path(folder)
    return folder / value if isinstance(value, Path) else value


def read_file(path: Path) -> SettingsFile:
    """Read a settings file and check its names.

    Raises:
        UserError: the file is unreadable, is not valid TOML, or has an unknown name.
    """
    try:
        text = path.read_text(encoding="utf-8")
        shared: dict[str, object] = tomllib.loads(text)
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
    return SettingsFile(path, shared, sections, _line_numbers(text))


def _line_numbers(text: str) -> dict[tuple[str, str], int]:
    """Return the line of each setting, by section and name. Values of several lines may hide some."""
    found: dict[tuple[str, str], int] = {}
    section = ""
    for number, line in enumerate(text.splitlines(), 1):
        header = re.match(r"\s*\[([\w.]+)\]", line)
        section, _, table = header[1].partition(".") if header else (section, "", "")
        name = table or (match[1] if (match := re.match(r"\s*([\w]+)\s*[=.]", line)) else "")
        found.setdefault((section, name), number)
    return found


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
