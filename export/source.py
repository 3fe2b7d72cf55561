"""Where a pipeline comes from: a folder in diffusers' layout, or a repository on the Hugging Face hub.

Everything that can be known before weights are read is judged here.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .errors import Refused
from .families import Family, family_of, there
from .faults import faults_of
from .manifest import hashes
from .quiet import quiet

INDEX = "model_index.json"
# OWNER/NAME, as the hub allows them.
HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")
CHECKPOINT = (".safetensors", ".ckpt", ".pt", ".bin")
LICENSE = re.compile(r"^license:[ \t]*([^\s#]+)[ \t]*$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Source:
    """A pipeline that can be exported: a folder or a hub id, its family, and its licence where its card tells one.

    `absent` are what it does without: an optional text encoder and its tokenizer.
    """

    location: str
    family: Family
    pipeline: str
    license: str = ""
    absent: tuple[str, ...] = ()

    def fingerprint(self) -> str:
        """Return what changes when the source does: the hashes of a folder's files, or the commit of a repository."""
        folder = Path(self.location)
        return json.dumps(hashes(folder)) if folder.is_dir() else _download(self.location, INDEX).parent.name

    @property
    def name(self) -> str:
        """The last part of the location: what the model is called if nobody says otherwise."""
        return Path(self.location).resolve().name if Path(self.location).is_dir() else self.location.split("/")[-1]


def on_hub(location: str) -> bool:
    """Whether `location` has the form of a hub id, and no file or folder is there."""
    return bool(HUB_ID.fullmatch(location)) and not Path(location).exists()


def find(location: str) -> Source:
    """Look at `location` and return what is there. Raises Refused, with what would be right."""
    path = Path(location).expanduser()
    if location and path.is_dir():
        return _described(str(path), _local_index(path), _read(path / "README.md"))
    if path.is_file():
        raise Refused(f"{location} is {_kind_of(path)}, not a folder with a {INDEX}; {_advice(path)}")
    if on_hub(location):
        return _described(location, _hub_json(location), _hub_card(location))
    raise Refused(f"{location!r} is neither a folder nor a hub id such as owner/name")


def _described(location: str, index: dict[str, Any], card: str) -> Source:
    pipeline = str(index.get("_class_name", ""))
    if pipeline.startswith("ORT") or _has_graphs(Path(location)):
        raise Refused(f"{location} holds ONNX graphs already: tintype serves it as it is")
    found = LICENSE.search(card)
    family = family_of(index)
    _check_parts(location, index, family)
    missing = sorted(part for part in family.optional if not there(index, part))
    absent = (*missing, *(part.replace("text_encoder", "tokenizer") for part in missing))
    return Source(location, family, pipeline, found[1].strip("\"'") if found else "", absent)


def _check_parts(location: str, index: dict[str, Any], family: Family) -> None:
    """Refuse what lacks a part that its family needs, or files of a part, and name all of it."""
    needed = [part for part in family.parts if part not in family.optional]
    faults = [f"{INDEX} names no {part}" for part in needed if not there(index, part)]
    if Path(location).is_dir():
        parts = [part for part in index if not part.startswith("_") and there(index, part)]
        faults += [fault for part in parts for fault in faults_of(Path(location) / part)]
    if faults:
        raise Refused(f"{location} is incomplete: {'; '.join(faults)}")


def _has_graphs(folder: Path) -> bool:
    return any((folder / part / "model.onnx").is_file() for part in ("unet", "transformer"))


def _local_index(folder: Path) -> dict[str, Any]:
    if not (folder / INDEX).is_file():
        raise Refused(f"{folder} has no {INDEX}: it is not a pipeline in diffusers' layout")
    return _parsed(f"{folder / INDEX}", _read(folder / INDEX))


def _hub_json(repository: str) -> dict[str, Any]:
    return _parsed(f"{repository}/{INDEX}", _read(_download(repository, INDEX)))


def _parsed(name: str, text: str) -> dict[str, Any]:
    try:
        index = json.loads(text)
    except ValueError as error:
        raise Refused(f"{name} is not JSON: {error}") from None
    if not isinstance(index, dict):
        raise Refused(f"{name} must hold a JSON object")
    return index


def _hub_card(repository: str) -> str:
    try:
        return _read(_download(repository, "README.md"))
    except Refused:
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
        problem = "must be asked for: accept its terms on the hub, then run `hf auth login`"
    except RepositoryNotFoundError:
        problem = "is no folder here, and does not exist on the hub, or is private (then run `hf auth login`)"
    except LocalEntryNotFoundError:
        problem = "is no folder here, and can't be fetched: the hub does not answer"
    except EntryNotFoundError:
        problem = f"has no {name}: it is not a pipeline in diffusers' layout"
    except OSError as error:
        problem = f"can't be fetched: {error}".splitlines()[0]
    raise Refused(f"{repository} {problem}")


def _read(path: Path) -> str:
    return path.read_text(encoding="utf-8") if path.is_file() else ""


def _kind_of(path: Path) -> str:
    return "a single-file checkpoint" if path.suffix in CHECKPOINT else "a file"


def _advice(path: Path) -> str:
    if path.suffix not in CHECKPOINT:
        return "name the folder"
    return "convert it first: diffusers' from_single_file(...).save_pretrained(FOLDER)"
