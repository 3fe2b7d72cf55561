"""Where settings come from: flags first, then `TINTYPE_*` variables, then `tintype.toml`, then defaults."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, TypeVar

from ..errors import UserError
from .definitions import SECTIONS, Config, Setting, default_data, settings_of
from .file import File, find_file

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from .values import Kind

C = TypeVar("C", bound=Config)


@dataclass(frozen=True, slots=True)
class Sources:
    """Everything that was said, in order of precedence. Flags are None where they were not given."""

    flags: Mapping[str, Any] = field(default_factory=dict)
    environ: Mapping[str, str] = field(default_factory=dict)
    file: File = field(default_factory=File)

    @classmethod
    def gather(cls, flags: Mapping[str, Any]) -> Sources:
        """What the command line, the environment and the file say. Raises UserError for a wrong file."""
        return cls(flags, os.environ, find_file(flags.get("config"), os.environ))

    def config(self, section: str, **fixed: Any) -> Any:
        """The settings of one section, `fixed` ones before all others. Raises UserError for a wrong value."""
        config = SECTIONS[section]
        settings = {name: setting for name, setting in settings_of(config).items() if name not in fixed}
        values = {name: self._value(section, setting) for name, setting in settings.items()}
        return build(config, values | fixed)

    def value(self, section: str, name: str) -> Any:
        """One setting, read. Raises UserError."""
        return self._value(section, settings_of(SECTIONS[section])[name])

    def _value(self, section: str, setting: Setting) -> Any:
        for said in self._said(section, setting):
            return said
        return default_data() if setting.name == "data" else setting.default

    def _said(self, section: str, setting: Setting) -> Iterator[Any]:
        flag = self.flags.get(setting.name)
        if flag is not None:
            read = setting.kind.from_text if isinstance(flag, str) else setting.kind.from_toml
            yield _read(setting.flag, flag, setting.kind, read)
        if self.environ.get(setting.env):
            yield _read(setting.env, self.environ[setting.env], setting.kind, setting.kind.from_text)
        found = self.file.find(section, setting.name)
        if found is not None:
            yield self.file.locate(_read(*found, setting.kind, setting.kind.from_toml))


def build(config: type[C], values: Mapping[str, Any]) -> C:
    """Make a configuration, whose own checks may refuse it. Raises UserError."""
    try:
        return config(**values)
    except ValueError as error:
        raise UserError(str(error)) from error


def _read(where: str, value: Any, kind: Kind, read: Callable[[Any], Any]) -> Any:
    try:
        return read(value)
    except ValueError:
        raise UserError(f"{where} wants {kind.wants}, not {value!r}") from None


def stray_variables(environ: Mapping[str, str]) -> list[str]:
    """One warning for each variable that looks like a misspelt one of ours.

    Others are left alone: Kubernetes, for one, sets `TINTYPE_PORT` where a Service is called tintype.
    """
    known = {setting.env for setting in settings_of(*SECTIONS.values()).values()} | {"TINTYPE_CONFIG"}
    names = [name for name in environ if name.startswith("TINTYPE_") and name not in known]
    close = {name: get_close_matches(name[8:], [env[8:] for env in sorted(known)], 1, 0.8) for name in names}
    return [f"{name} is not read; did you mean TINTYPE_{match[0]}?" for name, match in close.items() if match]
