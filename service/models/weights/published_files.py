"""The files with a component's published weights: which ones a folder has, and which of several precisions to read."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from ..files import ModelFileError, label, read_json
from ..loading_options import Precision
from ..safetensors import printable

if TYPE_CHECKING:
    from pathlib import Path

STEMS = ("diffusion_pytorch_model", "model")  # of weights as diffusers and as transformers name them
FULL, HALF = ("", "fp32", "bf16", "fp16"), ("fp16", "bf16", "", "fp32")
"""Variants in order of preference: without a name the weights are usually float32. Others, such as fp8, come last."""
NAMED = re.compile(rf"(?:{'|'.join(STEMS)})\.(\w+)\.safetensors", re.ASCII)
PICKLES = (".bin", ".ckpt", ".pt", ".pth", ".msgpack", ".h5")
MAX_SHARDS = 1000


def weight_files(folder: Path, precision: Precision = Precision.AUTO) -> tuple[Path, ...]:
    """Return a component's safetensors files: one, or all shards of an index.

    A folder may have several variants. The full precision is read, unless `precision` is fp16.

    Raises:
        ModelFileError: there are none, or an index is damaged.
    """
    for variant in (*(HALF if precision is Precision.FP16 else FULL), *_named_variants(folder)):
        for stem in STEMS:
            if files := _variant_files(folder, stem, variant):
                return files
    raise ModelFileError(_reason(folder))


def _named_variants(folder: Path) -> list[str]:
    """Return the variants that single files of a folder name, without averaged weights (`non_ema`)."""
    found = filter(None, (NAMED.fullmatch(path.name) for path in folder.glob("*.safetensors")))
    return sorted({match[1] for match in found if "ema" not in match[1]})


def _variant_files(folder: Path, stem: str, variant: str) -> tuple[Path, ...]:
    """Return the files of one variant; () if there are none.

    Repositories write the variant of shards before or after the shard's number, and in the index's name.
    """
    mark = f".{variant}" if variant else ""
    single = folder / f"{stem}{mark}.safetensors"
    if single.is_file():
        return (single,)
    names = (f"{stem}.safetensors.index{mark}.json", f"{stem}{mark}.safetensors.index.json")
    index = next((folder / name for name in names if (folder / name).is_file()), None)
    return _shards(index) if index else ()


def _shards(index: Path) -> tuple[Path, ...]:
    names = read_json(index).get("weight_map")
    if not isinstance(names, dict) or not names or not all(isinstance(name, str) for name in names.values()):
        raise ModelFileError(f"{label(index)}: weight_map must be an object of file names")
    shards = sorted(set(names.values()))
    if len(shards) > MAX_SHARDS:
        raise ModelFileError(f"{label(index)}: weight_map must name at most {MAX_SHARDS} files; got {len(shards)}")
    outside = next((name for name in shards if not re.fullmatch(r"[^/\\.][^/\\]*\.safetensors", name)), None)
    if outside is not None:
        raise ModelFileError(
            f"{label(index)}: weight_map must name .safetensors files in its folder; got {printable(outside)}"
        )
    missing = [name for name in shards if not (index.parent / name).is_file()]
    if missing:
        raise ModelFileError(f"{label(index)} names {printable(missing[0])}, which is missing")
    return tuple(index.parent / name for name in shards)


def _reason(folder: Path) -> str:
    """Return why a folder has no readable weights."""
    if not folder.is_dir():
        return f"{folder.name}/ is missing"
    pickles = sorted(path.name for path in folder.iterdir() if path.suffix in PICKLES)
    if pickles:
        return (
            f"{folder.name}/ has its weights only as {pickles[0]}, a format that can run code when it is read; "
            "tintype reads .safetensors only"
        )
    return f"{folder.name}/ has no {' or '.join(f'{stem}.safetensors' for stem in STEMS)}"
