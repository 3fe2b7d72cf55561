"""Findings: values with a text for people, grouped in sections, as aligned text or as JSON."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

Json: TypeAlias = "bool | int | float | str | Sequence[Json] | Mapping[str, Json] | None"
MAX_NAME = 24  # characters of a name that the column of values is aligned to


@dataclass(frozen=True, slots=True)
class Finding:
    """One value by name.

    `text` is the value for people (default: the value). `problem` says why nothing can be served because of it and what
    to do; `note` is advice.
    """

    name: str
    value: Json
    text: str = ""
    problem: str = ""
    note: str = ""


@dataclass(frozen=True, slots=True)
class Section:
    """Findings under a title. `key` is the section's name in JSON, in the object `group` if it is set."""

    key: str
    title: str
    findings: Sequence[Finding]
    group: str = ""

    @property
    def problems(self) -> list[str]:
        """The problems of all findings."""
        return [line for finding in self.findings for line in finding.problem.splitlines()]

    @property
    def json(self) -> dict[str, Json]:
        """The values by name, and the problems and notes."""
        notes = [finding.note for finding in self.findings if finding.note]
        values = {finding.name.replace(" ", "_"): finding.value for finding in self.findings}
        return values | {"problems": self.problems, "notes": notes}


def format_text(sections: Iterable[Section]) -> str:
    """Return sections as indented lines with aligned values; problems are marked with `!`, notes with `-`."""
    return "\n".join("\n".join([section.title, *_lines(section.findings)]) + "\n" for section in sections)


def _lines(findings: Sequence[Finding]) -> Iterator[str]:
    width = min(max((len(finding.name) for finding in findings), default=0), MAX_NAME)
    for finding in findings:
        text = finding.text or ("" if finding.value is None else str(finding.value))
        yield f"  {finding.name.ljust(width)}  {text}".rstrip()
        indent = " " * (width + 4)
        yield from (f"{indent}! {line}" for line in finding.problem.splitlines())
        yield from (f"{indent}- {line}" for line in finding.note.splitlines())


def format_json(sections: Iterable[Section]) -> str:
    """Return sections as a JSON object of objects; problems and notes of a section are lists in it."""
    content: dict[str, Json] = {}
    groups: dict[str, dict[str, Json]] = {}
    for section in sections:
        place = groups.setdefault(section.group, {}) if section.group else content
        place[section.key] = section.json
    return json.dumps({**content, **groups}, indent=2, ensure_ascii=False)
