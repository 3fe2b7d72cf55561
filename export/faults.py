"""What is missing or damaged in a source folder, told before anything is read: each fault by its file."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

# What a part holds by the beginning of its folder's name: one file of each group must be there.
WEIGHTS = (
    "diffusion_pytorch_model.safetensors",
    "model.safetensors",
    "diffusion_pytorch_model.bin",
    "pytorch_model.bin",
)
NEEDED: dict[str, tuple[tuple[str, ...], ...]] = {
    "tokenizer": (("merges.txt", "spiece.model", "tokenizer.model", "tokenizer.json"),),
    "scheduler": (("scheduler_config.json",),),
    "text_encoder": (("config.json",), WEIGHTS),
    "unet": (("config.json",), WEIGHTS),
    "transformer": (("config.json",), WEIGHTS),
    "vae": (("config.json",), WEIGHTS),
}
INDEX = ".index.json"
# A safetensors file begins with the length of its header, and ends where the header says.
LENGTH = 8


def faults_of(folder: Path) -> list[str]:
    """Return what is wrong with the folder of a part; parts that no export reads are not judged."""
    groups = next((groups for name, groups in NEEDED.items() if folder.name.startswith(name)), None)
    if groups is None:
        return []
    if not folder.is_dir():
        return [f"{folder.name}/ is missing"]
    return [fault for group in groups for fault in _lacking(folder, group)] + list(_damaged(folder))


def _lacking(folder: Path, group: tuple[str, ...]) -> Iterator[str]:
    indices = [folder / (name + INDEX) for name in group]
    if not any((folder / name).is_file() for name in group) and not any(index.is_file() for index in indices):
        variants = any(folder.glob(f"*{group[0].rpartition('.')[2]}"))
        yield f"{folder.name}/ has no {' or '.join(group)}" + (" (only a variant of it)" if variants else "")


def _damaged(folder: Path) -> Iterator[str]:
    for path in sorted(folder.glob("*.json")):
        yield from _not_json(path)
    for path in sorted(folder.glob("*.safetensors")):
        yield from _cut_off(path)


def _not_json(path: Path) -> Iterator[str]:
    name = f"{path.parent.name}/{path.name}"
    try:
        said = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        yield f"{name} is not JSON: {error}"
        return
    if path.name.endswith(INDEX):
        shards = sorted(set(said.get("weight_map", {}).values()))
        yield from (
            f"{name} names {shard}, which is missing" for shard in shards if not (path.parent / shard).is_file()
        )


def _cut_off(path: Path) -> Iterator[str]:
    name, size = f"{path.parent.name}/{path.name}", path.stat().st_size
    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(LENGTH), "little")
            header = json.loads(file.read(length)) if length < size else {}
        ends = [entry["data_offsets"][1] for key, entry in header.items() if key != "__metadata__"]
    except (ValueError, KeyError, TypeError, AttributeError, MemoryError):
        ends = []
    expected = LENGTH + length + max(ends, default=0)
    if not ends or size < expected:
        yield f"{name} is cut off or no safetensors file ({size} bytes)"
