"""A folder of templates: write them with their index, and compare them with templates that were made again."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from tintype.service.models.files import ModelFileError
from tintype.service.models.templates.archive import SUFFIX, pack, stored
from tintype.service.models.templates.catalogue import INDEX, Template, read_index

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from .making import MadeTemplate


def write(folder: Path, made: Mapping[str, MadeTemplate], *, replace: bool = False) -> int:
    """Write templates, by name, to a folder and add them to its index; return the bytes of their archives.

    With `replace` the folder then has no others. Otherwise a template replaces those with the same key.
    """
    folder.mkdir(parents=True, exist_ok=True)
    new = [_entry(folder, name, template) for name, template in made.items()]
    keys = [(each.kind, each.config) for each in new]
    old = [each for each in _existing(folder) if each.name not in made and (each.kind, each.config) not in keys]
    size = 0
    for entry, template in zip(new, made.values(), strict=True):
        content = pack([content for _, content in template.variants])
        _write(entry.path, content)
        size += len(content)
    entries = new if replace else [*old, *new]
    _write(folder / INDEX, index_text(entries).encode())
    kept = {entry.path for entry in entries}
    for path in set(folder.glob(f"*{SUFFIX}")) - kept:
        path.unlink()
    return size


def compare(folder: Path, name: str, made: MadeTemplate) -> list[str]:
    """Return the differences between a folder's template and the one that was made again, as messages."""
    template = next((each for each in _existing(folder) if each.name == name), None)
    if template is None:
        return [f"{name} is missing in {folder / INDEX}"]
    if template.as_json() != _entry(folder, name, made).as_json():
        return [f"{name} differs from its entry in {folder / INDEX}"]
    try:
        return [f"{name} differs: {variant}" for variant, content in made.variants if template.read(variant) != content]
    except ModelFileError as error:
        return [f"{name}: {error}"]


def _existing(folder: Path) -> tuple[Template, ...]:
    return read_index(folder) if (folder / INDEX).exists() else ()


def _entry(folder: Path, name: str, made: MadeTemplate) -> Template:
    config: dict[str, Any] = json.loads(json.dumps(dict(made.config.fields)))
    variants = tuple(stored(variant, content) for variant, content in made.variants)
    return Template(folder, name, made.config.kind, config, variants, made.parameters, made.tensors)


def index_text(templates: list[Template]) -> str:
    """Return the index of templates: one field of a configuration and one variant a line, sorted by name."""
    entries = ",\n".join("\n".join(_lines(each.as_json())) for each in sorted(templates, key=lambda each: each.name))
    return f'{{"templates": [\n{entries}\n]}}\n'


def _lines(entry: dict[str, Any]) -> Iterator[str]:
    """Yield the lines of an entry: each field on one, and lists of objects over several."""
    yield "  {"
    for key, value in entry.items():
        comma = "" if key == list(entry)[-1] else ","
        if key == "variants":
            rows = ",\n".join(f"      {json.dumps(variant)}" for variant in value)
            yield f'    "{key}": [\n{rows}\n    ]{comma}'
        elif key == "config":
            rows = ",\n".join(f"      {json.dumps(field)}: {json.dumps(each)}" for field, each in value.items())
            yield f'    "{key}": {{\n{rows}\n    }}{comma}'
        else:
            yield f"    {json.dumps(key)}: {json.dumps(value)}{comma}"
    yield "  }"


def _write(path: Path, content: bytes) -> None:
    """Replace a file at once, so that it is never half written."""
    temporary = path.with_name(path.name + ".partial")
    temporary.write_bytes(content)
    temporary.replace(path)
