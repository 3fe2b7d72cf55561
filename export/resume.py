"""What an export that was interrupted leaves for the next: the components that were written and verified.

`OUT.partial/export.json` says of which source, with which options and versions they are. Whoever exports the same again
goes on there; anything else begins anew.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from .manifest import STATE, hashes
from .verify import Check

if TYPE_CHECKING:
    from pathlib import Path

    from .source import Source

# Another version of any of these may write other graphs.
WRITERS = ("tintype", "torch", "diffusers", "transformers", "onnx")


def key_of(source: Source, options: dict[str, Any]) -> str:
    """Return what tells this export from another: source, options and versions, as a SHA-256."""
    versions = {name: version(name) for name in WRITERS}
    said = json.dumps([source.fingerprint(), options, versions], sort_keys=True)
    return hashlib.sha256(said.encode()).hexdigest()


@dataclass(slots=True)
class Remains:
    """The folder of an export under way, and which of its components are done."""

    folder: Path
    key: str
    done: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def open(cls, folder: Path, key: str) -> Remains:
        """Take what the same export left in `folder`, or empty it."""
        try:
            left = json.loads((folder / STATE).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            left = {}
        if left.get("key") == key:
            return cls(folder, key, left["done"])
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        return cls(folder, key)

    def has(self, component: str) -> bool:
        """Whether a component is there as it was when it was right; what is left of any other is removed."""
        kept = self.done.get(component)
        if kept and hashes(self.folder / component) == kept["files"]:
            return True
        shutil.rmtree(self.folder / component, ignore_errors=True)
        return False

    def check(self, component: str) -> Check | None:
        """Return the check that a component passed, if it had to."""
        said = self.done[component]["check"]
        return Check(**said) if said else None

    def add(self, component: str, check: Check | None) -> None:
        """Note that a component is written, and right if that was checked."""
        said = check.as_json() if check else None
        self.done[component] = {"files": hashes(self.folder / component), "check": said}
        (self.folder / STATE).write_text(json.dumps({"key": self.key, "done": self.done}), encoding="utf-8")

    def close(self) -> None:
        """Forget: what is in the folder is an export."""
        (self.folder / STATE).unlink(missing_ok=True)
