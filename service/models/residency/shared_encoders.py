"""Text encoders of equal content in several models, which are then one component in memory.

Many models have the same text encoder: Z-Image and Z-Image-Turbo, all of Stable Diffusion 3.5. Files are equal if they
are one file, or if they are contents of the hub's cache of one name, which is a digest, or if they have the same size,
head and samples: to read all bytes would take as long as to load them. The head of a safetensors file has the names,
shapes and places of all tensors.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections import defaultdict
from functools import lru_cache
from typing import TYPE_CHECKING

from ..weights.tensor_files import FileIdentity

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable, Iterator
    from pathlib import Path

    from ..folder.manifest import Manifest
    from ..graph_source import GraphSource
    from .slot import Slot

HEAD = 2**20  # bytes; the heads of published files have 50 kB to 500 kB
SAMPLES, SAMPLE = 512, 4096  # number and bytes; they take 10 ms from an SSD, and 5 s from a cold disk
BLOBS = "blobs"  # folder of the hub's cache
SHA256 = re.compile(r"[0-9a-f]{64}")


def find_shared(slots: Iterable[Slot]) -> None:
    """Set `shared` of all slots. Files are read only if others of the same sizes would become the same graph."""
    slots = list(slots)
    found: dict[Slot, dict[tuple[Path, ...], str]] = defaultdict(dict)
    alike: dict[tuple[Hashable, tuple[int, ...]], list[tuple[Slot, GraphSource]]] = defaultdict(list)
    for slot in slots:
        for source in _text_encoders(slot.manifest):
            alike[source.choices, _sizes(source)].append((slot, source))
    for group in (group for (_, sizes), group in alike.items() if sizes and len(group) > 1):
        digests = [_digest(source) for _, source in group]
        for (slot, source), digest in zip(group, digests, strict=True):
            if digest and digests.count(digest) > 1:
                found[slot][source.files] = digest
    for slot in slots:
        slot.shared = found[slot]


def _text_encoders(manifest: Manifest | None) -> Iterator[GraphSource]:
    for stage in manifest.stages if manifest else ():
        names = (encoder.encoder for encoder in stage.family.text_encoders)
        yield from (stage.graphs[name] for name in names if name in stage.graphs)


def _sizes(source: GraphSource) -> tuple[int, ...]:
    """Return the sizes of a component's files; () if one is missing."""
    try:
        return tuple(path.stat().st_size for path in source.files)
    except OSError:
        return ()


def _digest(source: GraphSource) -> str:
    """Return the digest of a component's files; "" if one is missing."""
    try:
        digests = [_digest_of(path.resolve()) for path in source.files]
    except OSError:
        return ""
    return hashlib.sha256("".join(digests).encode()).hexdigest()


def _digest_of(path: Path) -> str:
    if path.parent.name == BLOBS and SHA256.fullmatch(path.name):
        return path.name
    return _sampled_digest(path, FileIdentity.of(path))


@lru_cache(1024)
def _sampled_digest(path: Path, identity: FileIdentity) -> str:
    """Return the SHA-256 of a file's size, its head and samples that are spread evenly. Raises OSError."""
    digest = hashlib.sha256(str(identity.size).encode())
    last = max(identity.size - SAMPLE, 0)
    with path.open("rb", buffering=0) as file:
        digest.update(file.read(HEAD))
        for number in range(SAMPLES + 1):
            file.seek(last * number // SAMPLES, os.SEEK_SET)
            digest.update(file.read(SAMPLE))
    return digest.hexdigest()
