"""Whether a model's folder has the files that it needs, and whether they are those that were exported."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from ..family import Family

GRAPH = "model.onnx"
ABSENT = [None, None]  # library and class of a part that an index says is not there


def missing(folder: Path, family: Family, listed: Mapping[str, str], index: Mapping[str, Any]) -> Iterator[str]:
    """Yield a fault for each file that must be there, by the family's, the manifest's or the index's word, and is not.

    An `index` that names an optional part, and not null for it, wants it: other pictures come without.
    """
    needed = {f"{part}/{GRAPH}" for part in family.graphs} | listed.keys()
    yield from (f"{path} is missing" for path in sorted(needed) if not (folder / path).is_file())
    for part in family.text:
        if not part.optional or (folder / part.encoder / GRAPH).is_file():
            files = (f"{part.tokenizer}/{name}" for name in part.kind.missing(folder / part.tokenizer))
            yield from (f"{path} is missing" for path in files if path not in listed)
        elif index.get(part.encoder, ABSENT) != ABSENT and f"{part.encoder}/{GRAPH}" not in listed:
            yield f"{part.encoder}/{GRAPH} is missing; the index of a model without it says [null, null] of it"


def graphs(family: Family) -> tuple[str, ...]:
    """Return the folders of all graphs that a model may hold in memory."""
    vae = family.vae
    return (*(part.encoder for part in family.text), family.denoiser.folder, vae.decoder, vae.encoder, vae.exact)


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
