"""Find and check the source of an export: a folder in diffusers' layout, or a Hugging Face repository.

All checks that need no weights are here, so that an export fails before it reads any. One error lists all faults of a
folder, by file.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .console import quiet
from .errors import ExportRefusal
from .families import Family, family_of, has_part
from .manifest import file_hashes

if TYPE_CHECKING:
    from collections.abc import Iterator

INDEX = "model_index.json"
# OWNER/NAME, as the hub allows them.
HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")
CHECKPOINT_SUFFIXES = (".safetensors", ".ckpt", ".pt", ".bin")
LICENSE = re.compile(r"^license:[ \t]*([^\s#]+)[ \t]*$", re.MULTILINE)
WEIGHTS = (
    "diffusion_pytorch_model.safetensors",
    "model.safetensors",
    "diffusion_pytorch_model.bin",
    "pytorch_model.bin",
)
# Required files by the prefix of a part's folder name: one file of each group must be present.
REQUIRED_FILES: dict[str, tuple[tuple[str, ...], ...]] = {
    "tokenizer": (("merges.txt", "spiece.model", "tokenizer.model", "tokenizer.json"),),
    "scheduler": (("scheduler_config.json",),),
    "text_encoder": (("config.json",), WEIGHTS),
    "unet": (("config.json",), WEIGHTS),
    "transformer": (("config.json",), WEIGHTS),
    "vae": (("config.json",), WEIGHTS),
}
SHARD_INDEX = ".index.json"
# A safetensors file begins with the length of its header, 8 bytes; the header gives the position of the file's end.
HEADER_LENGTH = 8


@dataclass(frozen=True, slots=True)
class Source:
    """An exportable pipeline: its folder or hub id, its family, and the licence that its model card names.

    `absent` names the optional parts that it lacks: a text encoder and its tokenizer.
    """

    location: str
    family: Family
    pipeline: str
    license: str = ""
    absent: tuple[str, ...] = ()

    def fingerprint(self) -> str:
        """Return text that identifies the contents: the hashes of a folder's files, or a repository's commit."""
        folder = Path(self.location)
        return json.dumps(file_hashes(folder)) if folder.is_dir() else _download(self.location, INDEX).parent.name

    @property
    def name(self) -> str:
        """The last part of the location: the default name of the model."""
        return Path(self.location).resolve().name if Path(self.location).is_dir() else self.location.split("/")[-1]


def is_hub_id(location: str) -> bool:
    """Whether `location` has the form of a hub id and is not a local file or folder."""
    return bool(HUB_ID.fullmatch(location)) and not Path(location).exists()


def find_source(location: str) -> Source:
    """Return the source at `location`. Raises ExportRefusal, with a message that names what is valid."""
    path = Path(location).expanduser()
    if location and path.is_dir():
        return _make_source(str(path), _local_index(path), _read(path / "README.md"))
    if path.is_file():
        raise ExportRefusal(f"{location} is {_file_kind(path)}, not a folder with a {INDEX}; {_advice(path)}")
    if is_hub_id(location):
        return _make_source(location, _hub_index(location), _hub_card(location))
    raise ExportRefusal(f"{location!r} is neither a folder nor a hub id such as owner/name")


def _make_source(location: str, index: dict[str, Any], card: str) -> Source:
    pipeline = str(index.get("_class_name", ""))
    if pipeline.startswith("ORT") or _has_graphs(Path(location)):
        raise ExportRefusal(f"{location} already holds ONNX graphs: tintype serves it as it is")
    found = LICENSE.search(card)
    family = family_of(index)
    _check_parts(location, index, family)
    missing = sorted(part for part in family.optional if not has_part(index, part))
    absent = (*missing, *(part.replace("text_encoder", "tokenizer") for part in missing))
    return Source(location, family, pipeline, found[1].strip("\"'") if found else "", absent)


def _check_parts(location: str, index: dict[str, Any], family: Family) -> None:
    """Refuse a source with missing parts or files; the message lists all of them."""
    required = [part for part in family.parts if part not in family.optional]
    faults = [f"{INDEX} names no {part}" for part in required if not has_part(index, part)]
    if Path(location).is_dir():
        parts = [part for part in index if not part.startswith("_") and has_part(index, part)]
        faults += [fault for part in parts for fault in find_faults(Path(location) / part)]
    if faults:
        raise ExportRefusal(f"{location} is incomplete: {'; '.join(faults)}")


def find_faults(folder: Path) -> list[str]:
    """Return what is missing or damaged in a part's folder; parts that no export reads have no faults."""
    groups = next((groups for name, groups in REQUIRED_FILES.items() if folder.name.startswith(name)), None)
    if groups is None:
        return []
    if not folder.is_dir():
        return [f"{folder.name}/ is missing"]
    return [fault for group in groups for fault in _missing(folder, group)] + list(_damaged(folder))


def _missing(folder: Path, group: tuple[str, ...]) -> Iterator[str]:
    indices = [folder / (name + SHARD_INDEX) for name in group]
    if not any((folder / name).is_file() for name in group) and not any(index.is_file() for index in indices):
        variants = any(folder.glob(f"*{group[0].rpartition('.')[2]}"))
        yield f"{folder.name}/ has no {' or '.join(group)}" + (" (only a variant of it)" if variants else "")


def _damaged(folder: Path) -> Iterator[str]:
    for path in sorted(folder.glob("*.json")):
        yield from _json_faults(path)
    for path in sorted(folder.glob("*.safetensors")):
        yield from _safetensors_faults(path)


def _json_faults(path: Path) -> Iterator[str]:
    name = f"{path.parent.name}/{path.name}"
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        yield f"{name} is not valid JSON: {error}"
        return
    if not path.name.endswith(SHARD_INDEX):
        return
    try:
        shards = sorted({str(shard) for shard in content["weight_map"].values()})
    except (KeyError, TypeError, AttributeError):
        yield f"{name} has no table of shards (weight_map)"
        return
    yield from (f"{name} names {shard}, which is missing" for shard in shards if not (path.parent / shard).is_file())


def _safetensors_faults(path: Path) -> Iterator[str]:
    name, size = f"{path.parent.name}/{path.name}", path.stat().st_size
    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(HEADER_LENGTH), "little")
            header = json.loads(file.read(length)) if length < size else {}
        ends = [entry["data_offsets"][1] for key, entry in header.items() if key != "__metadata__"]
    except (ValueError, KeyError, TypeError, AttributeError, MemoryError):
        ends = []
    expected = HEADER_LENGTH + length + max(ends, default=0)
    if not ends or size < expected:
        yield f"{name} is truncated or not a safetensors file ({size} bytes)"


def _has_graphs(folder: Path) -> bool:
    return any((folder / part / "model.onnx").is_file() for part in ("unet", "transformer"))


def _local_index(folder: Path) -> dict[str, Any]:
    if not (folder / INDEX).is_file():
        raise ExportRefusal(f"{folder} has no {INDEX}: it is not a pipeline in diffusers' layout")
    return _parse_index(f"{folder / INDEX}", _read(folder / INDEX))


def _hub_index(repository: str) -> dict[str, Any]:
    return _parse_index(f"{repository}/{INDEX}", _read(_download(repository, INDEX)))


def _parse_index(name: str, text: str) -> dict[str, Any]:
    try:
        index = json.loads(text)
    except ValueError as error:
        raise ExportRefusal(f"{name} is not valid JSON: {error}") from None
    if not isinstance(index, dict):
        raise ExportRefusal(f"{name} must hold a JSON object")
    return index


def _hub_card(repository: str) -> str:
    try:
        return _read(_download(repository, "README.md"))
    except ExportRefusal:
        return ""


def _download(repository: str, name: str) -> Path:
    from huggingface_hub import hf_hub_download  # noqa: PLC0415 - only for sources on the hub
    from huggingface_hub.errors import (  # noqa: PLC0415
        EntryNotFoundError,
        GatedRepoError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
    )

    try:
        with quiet():
            return Path(hf_hub_download(repository, name))
    except GatedRepoError:
        problem = "is a gated repository: accept its terms on the hub, then run `hf auth login`"
    except RepositoryNotFoundError:
        problem = "is not a local folder, and does not exist on the hub or is private (then run `hf auth login`)"
    except LocalEntryNotFoundError:
        problem = "is not a local folder, and cannot be downloaded: the hub does not answer"
    except EntryNotFoundError:
        problem = f"has no {name}: it is not a pipeline in diffusers' layout"
    except OSError as error:
        problem = f"cannot be downloaded: {error}".splitlines()[0]
    raise ExportRefusal(f"{repository} {problem}")


def _read(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""


def _file_kind(path: Path) -> str:
    return "a single-file checkpoint" if path.suffix in CHECKPOINT_SUFFIXES else "a file"


def _advice(path: Path) -> str:
    if path.suffix not in CHECKPOINT_SUFFIXES:
        return "pass the folder"
    return "convert it first: diffusers' from_single_file(...).save_pretrained(FOLDER)"
