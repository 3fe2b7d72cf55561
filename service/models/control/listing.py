"""Which ControlNets and IP-Adapters of a model's folder can be used, and why others cannot."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..adapters.adapters import IMAGE_ADAPTERS
from ..files import ModelFileError, read_json
from ..weights.published_files import PICKLES, weight_files
from . import files

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    Problem = Callable[[Path, Mapping[str, Any]], str]

log = logging.getLogger(__name__)

UNET = "UNet2DConditionModel"
WEIGHTS = (".safetensors", ".onnx", *PICKLES)


@dataclass(frozen=True, slots=True)
class Listing:
    """The names of ControlNets and IP-Adapters, sorted; `skipped` are paths in the folder with the reason."""

    controls: tuple[str, ...]
    image_adapters: tuple[str, ...]
    skipped: Mapping[str, str]

    def log_skipped(self, model: str) -> None:
        """Log a warning for each entry that is skipped."""
        for path, reason in self.skipped.items():
            log.warning("model %s: %s is skipped: %s", model, path, reason)


def listing(folder: Path, denoiser: Mapping[str, Any]) -> Listing:
    """Return what a model's folder has for a denoiser of this configuration; fields that it lacks are not compared."""
    found: dict[str, tuple[str, ...]] = {}
    skipped: dict[str, str] = {}
    for kind, problem in ((files.FOLDER, control_problem), (IMAGE_ADAPTERS, image_adapter_problem)):
        problems = {path.name: problem(path, denoiser) for path in _entries(folder / kind)}
        found[kind] = tuple(name for name, reason in problems.items() if not reason)
        skipped |= {f"{kind}/{name}": reason for name, reason in problems.items() if reason}
    return Listing(found[files.FOLDER], found[IMAGE_ADAPTERS], skipped)


def control_problem(path: Path, denoiser: Mapping[str, Any]) -> str:
    """Return why a ControlNet cannot be used with a denoiser of this configuration, "" if it can."""
    if not _is_folder(path):
        return "it must be a folder with config.json and weights, as published in diffusers' layout; it is a file"
    try:
        file = files.find(path.parents[1], path.name)
        if not (path / "model.onnx").is_file():
            weight_files(path)
    except ModelFileError as error:
        return str(error)
    own, kind = denoiser.get("_class_name") or file.kind.denoiser, file.kind
    if own != kind.denoiser:
        return f"it was made for a {kind.denoiser}; this model's denoiser is a {own}"
    return next(_differences(file.config, denoiser, kind.shared), "")


def image_adapter_problem(path: Path, denoiser: Mapping[str, Any]) -> str:
    """Return why an IP-Adapter cannot be used with a denoiser of this configuration, "" if it can."""
    if not _is_folder(path):
        return f"it must be a folder with a .safetensors file and {files.ENCODER}; it is a file"
    try:
        read_json(path / files.ENCODER / "config.json")
        weight_files(path / files.ENCODER)
    except ModelFileError as error:
        return str(error)
    if (count := len(list(path.glob("*.safetensors")))) != 1:
        return f"it must have one .safetensors file; it has {count}"
    own = denoiser.get("_class_name") or UNET
    return "" if own == UNET else f"it was made for a {UNET}; this model's denoiser is a {own}"


def _entries(folder: Path) -> Iterator[Path]:
    """Yield the folders and the files of weights in a folder, sorted by name."""
    paths = sorted(folder.glob("*"))
    return (path for path in paths if path.name[0] != "." and (_is_folder(path) or path.suffix in WEIGHTS))


def _is_folder(path: Path) -> bool:
    """Return whether a path is a folder, or may not be entered, which reading it then reports."""
    try:
        return path.is_dir()
    except OSError:
        return True


def _differences(own: Mapping[str, Any], denoiser: Mapping[str, Any], names: tuple[str, ...]) -> Iterator[str]:
    """Yield a message for each field that both configurations have with different values."""
    for name in names:
        its, models = _single(own.get(name)), _single(denoiser.get(name))
        if None not in (its, models) and its != models:
            yield f"it was made for another model: its {name} is {its}, this model's is {models}"


def _single(value: Any) -> Any:
    """Return the element of a list whose elements are equal; any other value unchanged."""
    return value[0] if isinstance(value, list) and value and all(each == value[0] for each in value) else value
