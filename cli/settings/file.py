"""The settings file, `tintype.toml`: shared settings on top, then the sections `[service]` and `[gateway]`.

Names are checked when it is read, whoever reads it; values when they are needed. Relative paths start at its folder.
"""

from __future__ import annotations

import os
import stat
import sys
import tomllib
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import UserError
from .definitions import SECRET, SECTIONS, SHARED, settings_of
from .values import parse_path

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

NAME = "tintype.toml"


@dataclass(frozen=True, slots=True)
class File:
    """A settings file that was read: its tables are checked for unknown names; its values are not read yet."""

    path: Path | None = None
    tables: Mapping[str, Any] = field(default_factory=dict)

    def find(self, section: str, name: str) -> tuple[str, Any] | None:
        """Where a setting stands and its TOML value; the section's own goes before the shared one."""
        if name in self.tables.get(section, {}):
            return f"{self.path}: [{section}] {name}", self.tables[section][name]
        if name in SHARED and name in self.tables:
            return f"{self.path}: {name}", self.tables[name]
        return None

    def locate(self, value: Any) -> Any:
        """Start relative paths at the folder of the file."""
        folder = self.path.parent if self.path else Path()
        if isinstance(value, tuple):
            return tuple(self.locate(item) for item in value)
        return folder / value if isinstance(value, Path) else value


def read_file(path: Path) -> File:
    """Read and check a settings file. Raises UserError: unreadable, not TOML, or a name that nothing has."""
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"can't read the settings in {path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is no TOML: {error}") from error
    _check_names(str(path), tables, [*SHARED, *SECTIONS])
    for section, config in SECTIONS.items():
        if not isinstance(tables.get(section, {}), dict):
            raise UserError(f"{path}: {section} is a section: write [{section}] and its settings below")
        _check_names(f"{path}: [{section}]", tables.get(section, {}), list(settings_of(config)))
    _warn_of_secrets(path, tables)
    return File(path, tables)


def _warn_of_secrets(path: Path, tables: Mapping[str, Any]) -> None:
    """Warn if other users can read a file that holds a key."""
    parts = [tables, *(tables.get(part, {}) for part in SECTIONS)]
    held = [name for name in SECRET if any(name in part for part in parts)]
    if held and os.name == "posix" and path.stat().st_mode & stat.S_IROTH:
        sys.stderr.write(f"tintype: other users can read {held[0]} in {path}: run `chmod 600 {path}`\n")


def _check_names(where: str, table: Mapping[str, Any], known: Sequence[str]) -> None:
    for name in table:
        if name not in known:
            raise UserError(f"{where} has no setting {name!r}; {_suggestion(name, known)}")


def _suggestion(name: str, known: Sequence[str]) -> str:
    close = get_close_matches(name, known, 1)
    if close:
        return f"did you mean {close[0]!r}?"
    home = [f"it belongs below [{section}]" for section, config in SECTIONS.items() if name in settings_of(config)]
    return home[0] if home else f"there are: {', '.join(sorted(known))}"


def find_file(flag: str | None, environ: Mapping[str, str]) -> File:
    """Read the file that --config or TINTYPE_CONFIG names, else ./tintype.toml where there is one."""
    named = flag or environ.get("TINTYPE_CONFIG")
    if named:
        return read_file(parse_path(named))
    return read_file(Path(NAME)) if Path(NAME).is_file() else File()
