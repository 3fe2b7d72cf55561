"""Resume an interrupted export: keep the components that were written and verified.

`OUT.partial/export.json` records the finished components, and a hash of source, options and versions. An export with
the same hash continues there; any other starts again.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from .manifest import STATE, file_hashes
from .verify import Check

if TYPE_CHECKING:
    from pathlib import Path

    from .source import Source

# Packages of which another version may write other graphs.
WRITERS = ("tintype", "torch", "diffusers", "transformers", "onnx")


def export_key(source: Source, options: dict[str, Any]) -> str:
    """Return a SHA-256 of source, options and versions, which identifies this export."""
    versions = {name: version(name) for name in WRITERS}
    text = json.dumps([source.fingerprint(), options, versions], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


@dataclass(slots=True)
class PartialExport:
    """The folder of an unfinished export, and its finished components."""

    folder: Path
    key: str
    done: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def open(cls, folder: Path, key: str) -> PartialExport:
        """Return what an export with the same `key` left in `folder`; otherwise empty the folder."""
        try:
            left = json.loads((folder / STATE).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            left = {}
        if left.get("key") == key:
            return cls(folder, key, left["done"])
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        return cls(folder, key)

    def has_unchanged(self, component: str) -> bool:
        """Whether a component is finished and its files are unchanged; otherwise its folder is removed."""
        finished = self.done.get(component)
        if finished and file_hashes(self.folder / component) == finished["files"]:
            return True
        shutil.rmtree(self.folder / component, ignore_errors=True)
        return False

    def check(self, component: str) -> Check | None:
        """Return the check that a component passed, or None if it was not verified."""
        fields = self.done[component]["check"]
        return Check(**fields) if fields else None

    def add(self, component: str, check: Check | None) -> None:
        """Record a written component, with the check that it passed."""
        fields = check.as_json() if check else None
        self.done[component] = {"files": file_hashes(self.folder / component), "check": fields}
        (self.folder / STATE).write_text(json.dumps({"key": self.key, "done": self.done}), encoding="utf-8")

    def close(self) -> None:
        """Remove the record: the folder is a complete export."""
        (self.folder / STATE).unlink(missing_ok=True)
