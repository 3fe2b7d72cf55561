"""The templates that are installed, and the search for the one that fits a component's configuration."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..files import ModelFileError, label, read_json
from .archive import MAX_BYTES, SUFFIX, StoredVariant, Variant, unpack
from .fields import SHAPING
from .keys import NoTemplate, shaping, shown

if TYPE_CHECKING:
    from collections.abc import Mapping

DATA = Path(__file__).parent / "data"
INDEX = "index.json"
MAX_INDEX = 2**24  # bytes
NAME = re.compile(r"\w[\w.-]*")
SHA256 = re.compile(r"[0-9a-f]{64}")
# Fields in a message.
MAX_FIELDS = 6


@dataclass(frozen=True, slots=True)
class Template:
    """A graph without weights, in an archive of `folder`.

    - `config` has the fields of a configuration that shape the graph (`keys.shaping`).
    - `parameters` is the number of its weights, and `tensors` that of the tensors that hold them.
    """

    folder: Path
    name: str
    kind: str
    config: Mapping[str, Any]
    variants: tuple[StoredVariant, ...]
    parameters: int
    tensors: int

    @property
    def path(self) -> Path:
        """The archive."""
        return self.folder / (self.name + SUFFIX)

    def read(self, variant: Variant) -> bytes:
        """Return a variant as a serialized ONNX model.

        Some graphs have no float16 variant, and some take no adapters: then the variant without is returned.

        Raises:
            ModelFileError: the archive is missing or damaged.
        """
        existing = [each.variant for each in self.variants]
        half = variant.half and any(each.half for each in existing)
        adapters = variant.adapters and any(each.adapters for each in existing)
        return unpack(self.path, self.variants, existing.index(Variant(half, adapters)))

    def as_json(self) -> dict[str, Any]:
        """Return the entry of the index."""
        return {
            "name": self.name,
            "kind": self.kind,
            "config": dict(self.config),
            "variants": [each.as_json() for each in self.variants],
            "parameters": self.parameters,
            "tensors": self.tensors,
        }


def find(kind: str, config: Mapping[str, Any], extra: Path | None = None) -> Template:
    """Return the template of a component with this `config`; the folder `extra` is searched first.

    Raises:
        NoTemplate: a field of the configuration is unknown, or no template fits.
        ModelFileError: a field has a value of the wrong type, or an index is damaged.
    """
    wanted = shaping(kind, config)
    templates = [*(read_index(extra) if extra else ()), *installed()]
    alike = [template for template in templates if template.kind == kind]
    fitting = (template for template in alike if template.config == wanted)
    if found := next(fitting, None):
        return found
    raise NoTemplate(_no_template(kind, wanted, alike))


@cache
def installed() -> tuple[Template, ...]:
    """Return the templates that tintype has.

    Raises:
        ModelFileError: the installation is damaged.
    """
    return read_index(DATA)


def read_index(folder: Path) -> tuple[Template, ...]:
    """Return the templates of a folder.

    Raises:
        ModelFileError: it has no index, or a damaged one.
    """
    path = folder / INDEX
    if path.is_file() and path.stat().st_size > MAX_INDEX:
        raise ModelFileError(f"{label(path)} must have at most {MAX_INDEX} bytes")
    try:
        return tuple(_template(folder, entry) for entry in read_json(path)["templates"])
    except (KeyError, TypeError, ValueError) as error:
        if isinstance(error, ModelFileError):
            raise
        raise ModelFileError(f"{label(path)} is not an index of templates: {error}") from error


def _template(folder: Path, entry: Mapping[str, Any]) -> Template:
    name, kind, config = entry["name"], entry["kind"], entry["config"]
    if not NAME.fullmatch(name) or kind not in SHAPING or not isinstance(config, dict):
        raise ValueError(f"{name!r} of kind {kind!r}")
    variants = tuple(map(_variant, entry["variants"]))
    _check_variants(name, [each.variant for each in variants])
    return Template(folder, name, kind, config, variants, int(entry["parameters"]), int(entry["tensors"]))


def _check_variants(name: str, variants: list[Variant]) -> None:
    """Check that the variants are in order: float32 before float16, each without and with adapters or only without."""
    halves, adapters = (sorted({each[axis] for each in variants}) for axis in (0, 1))
    complete = [Variant(half, each) for half in halves for each in adapters]
    if variants != complete or variants[:1] != [Variant()]:
        raise ValueError(f"{name}: the variants must be float32, then float16, each without and with adapters")


def _variant(entry: Mapping[str, Any]) -> StoredVariant:
    size, digest = entry["bytes"], entry["sha256"]
    if not isinstance(size, int) or not 0 < size <= MAX_BYTES or not SHA256.fullmatch(digest):
        raise ValueError(f"a variant of {size!r} bytes with the SHA-256 {digest!r}")
    return StoredVariant(Variant(bool(entry["half"]), bool(entry["adapters"])), size, digest)


def _no_template(kind: str, wanted: Mapping[str, Any], alike: list[Template]) -> str:
    """Return the message for a configuration that no template fits, with the nearest one."""
    if not alike:
        return f"there is no template of kind {kind}"
    nearest = min(alike, key=lambda template: len(_differences(wanted, template.config)))
    found = _differences(wanted, nearest.config)
    values = ((field, repr(wanted[field]), repr(nearest.config.get(field))) for field in found[:MAX_FIELDS])
    differing = [f"{field} is {shown(own)}, not {shown(its)}" for field, own, its in values]
    rest = [f"{len(found) - MAX_FIELDS} more fields"] if len(found) > MAX_FIELDS else []
    return f"no template fits; the nearest is {nearest.name}, but {', '.join([*differing, *rest])}"


def _differences(wanted: Mapping[str, Any], config: Mapping[str, Any]) -> list[str]:
    return [field for field, value in wanted.items() if value != config.get(field)]
