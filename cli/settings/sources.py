"""The sources of settings, in order of precedence: flags, `TINTYPE_*` variables, `tintype.toml`, defaults."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass, field
from difflib import get_close_matches
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from tintype.v1.settings import Settings

from ..errors import UserError
from .definitions import SECTIONS, Setting, default_data, section_of, settings_of
from .file import SettingsFile, find_file, resolve_paths
from .values import HubModel

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from .values import ValueType

V = TypeVar("V")
Config = TypeVar("Config", bound=Settings)


DEFAULT = "default"
# Settings that name models, and what they need of a model on the hub; empty for all.
PARTS = {"models": "", "vae": "vae", "text_encoders": "text_encoders"}
SAFETY = ("safety_checks", "safety_checker")  # settings by which models on the hub come with their safety checkers


@dataclass(frozen=True, slots=True)
class Found:
    """The value of a setting, and its source: a flag, a variable, PATH:LINE of a file, or DEFAULT.

    `problem` says why the source's value is invalid; `value` is None then.
    """

    value: object
    source: str
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Sources:
    """All sources of settings. A flag that is not given is None."""

    flags: Mapping[str, object] = field(default_factory=dict)
    environ: Mapping[str, str] = field(default_factory=dict)
    file: SettingsFile = field(default_factory=SettingsFile)

    @classmethod
    def gather(cls, flags: Mapping[str, Any]) -> Sources:
        """Return the command line, the environment and the file. Raises UserError for an invalid file."""
        return cls(flags, os.environ, find_file(flags.get("config"), os.environ))

    def config(self, config: type[Config], **fixed: object) -> Config:
        """Return the configuration of one server, with the values of `fixed` instead of those of the sources.

        Models on the hub are downloaded, unless they are in its cache.

        Raises UserError.
        """
        names = [name for name in settings_of(config) if name not in fixed]
        return build_config(config, self.values(config, names) | fixed)

    def partial(self, config: type[Config], *names: str) -> Config:
        """Return a configuration with only these settings from the sources. Raises UserError."""
        return build_config(config, self.values(config, names))

    def values(self, config: type[Settings], names: Iterable[str]) -> dict[str, object]:
        """Return the values of some settings, models as paths. Raises UserError."""
        section, settings = section_of(config), settings_of(config)
        found = {name: self._find(section, settings[name]).value for name in names}
        models = [name for name in found if name in PARTS]
        safety = bool(models) and any(self._find(section, settings[name]).value for name in SAFETY if name in settings)
        return found | {name: self._as_paths(found[name], PARTS[name], safety=safety) for name in models}

    def _as_paths(self, value: object, part: str, *, safety: bool) -> object:
        """Replace hub ids by the paths of their snapshots, of which `part` is downloaded if necessary.

        With `safety` whole models are downloaded with their safety checkers.

        Raises:
            UserError: it cannot be downloaded, or a path that does not exist is probably meant as a hub id.
        """
        if isinstance(value, tuple):
            return tuple(self._as_paths(item, part, safety=safety) for item in value)
        if isinstance(value, Path) and not os.path.lexists(value):
            import_module("tintype.cli.available").check_missing(value)
        if not isinstance(value, HubModel):
            return value
        quiet = bool(self.flags.get("quiet"))
        return import_module("tintype.cli.pull").resolve_model(value.text, part=part, safety=safety, quiet=quiet)

    def find_all(self, config: type[Settings]) -> dict[str, Found]:
        """Return the value of every setting of a server with its source. Downloads nothing; raises nothing."""
        return {name: self._try(section_of(config), setting) for name, setting in settings_of(config).items()}

    def _try(self, section: str, setting: Setting) -> Found:
        try:
            return self._find(section, setting)
        except UserError as error:
            return Found(None, DEFAULT, str(error))

    def _find(self, section: str, setting: Setting) -> Found:
        for found in self._by_precedence(section, setting):
            return found
        return Found(default_data() if setting.name == "data" else setting.default, DEFAULT)

    def _by_precedence(self, section: str, setting: Setting) -> Iterator[Found]:
        """Yield the values of a setting from each source that has one, in order of precedence."""
        type_ = setting.type
        flag = self.flags.get(setting.name)
        if isinstance(flag, str):
            yield _given(setting.flag, flag, type_, type_.from_text)
        elif flag is not None:
            yield _given(setting.flag, flag, type_, type_.from_toml)
        if self.environ.get(setting.env):
            yield _given(setting.env, self.environ[setting.env], type_, type_.from_text)
        in_file = self.file.find(section, setting.name)
        if in_file is not None:
            value = _read_value(in_file.where, in_file.value, type_, type_.from_toml)
            yield Found(self.file.resolve(value), in_file.source)


def _given(where: str, value: V, type_: ValueType[object], read: Callable[[V], object]) -> Found:
    """Return the value of a flag or variable; relative paths start at the current folder."""
    return Found(resolve_paths(_read_value(where, value, type_, read), Path()), where)


def build_config(config: type[Config], values: Mapping[str, Any]) -> Config:
    """Return a configuration. Its own checks may reject the values. Raises UserError."""
    try:
        return config(**values)
    except ValueError as error:
        raise UserError(str(error)) from error


def _read_value(where: str, value: V, type_: ValueType[object], read: Callable[[V], object]) -> object:
    try:
        return read(value)
    except UserError as error:
        raise UserError(f"{where}: {error}") from error
    except ValueError:
        raise UserError(f"{where} must be {type_.expected}; got {value!r}") from None


def unknown_variables(environ: Mapping[str, str]) -> list[str]:
    """Return one warning for each environment variable that looks like a misspelled setting.

    Other variables are ignored: Kubernetes sets `TINTYPE_PORT` for a Service named tintype.
    """
    known = {setting.env for setting in settings_of(*SECTIONS.values()).values()} | {"TINTYPE_CONFIG"}
    names = [name for name in environ if name.startswith("TINTYPE_") and name not in known]
    close = {name: get_close_matches(name[8:], [env[8:] for env in sorted(known)], 1, 0.8) for name in names}
    return [f"unknown variable {name}; did you mean TINTYPE_{match[0]}?" for name, match in close.items() if match]


def warn_of_unknown_variables() -> None:
    """Write a warning to stderr for each misspelled variable."""
    for line in unknown_variables(os.environ):
        sys.stderr.write(f"tintype: {line}\n")
