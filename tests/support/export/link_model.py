"""Link a shared exported model to a folder that a test may change."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path


def link_model(folder: Path, link: Path, **keys: Any) -> Path:
    """Return `link`, with links to the files of `folder` except adapters; its manifest has small sizes and `keys`."""
    link.mkdir(parents=True)
    for part in (part for part in folder.iterdir() if part.name != "loras"):
        (link / part.name).symlink_to(part.resolve())
    manifest = json.loads((link / "tintype.json").read_text())
    (link / "tintype.json").unlink()
    (link / "tintype.json").write_text(json.dumps(manifest | {"native_sizes": [[128, 128]]} | keys))
    return link
