"""Link a shared exported model to a folder that a test may change."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path


def link_model(folder: Path, link: Path, **keys: Any) -> Path:
    """Make the folder `link` with links to the parts of the model in `folder`, except adapters, and return it.

    Its manifest has a native size of 128 x 128 and the entries `keys`.
    """
    link.mkdir(parents=True)
    for part in (part for part in folder.iterdir() if part.name != "loras"):
        (link / part.name).symlink_to(part.resolve())
    manifest = json.loads((link / "tintype.json").read_text())
    (link / "tintype.json").unlink()
    (link / "tintype.json").write_text(json.dumps(manifest | {"native_sizes": [[128, 128]]} | keys))
    return link
