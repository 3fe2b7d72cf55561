"""The files of a safety checker: a graph that says which finished images are refused.

A model's own checker is `safety_checker/model.onnx` in its folder, as in diffusers' exports of Stable Diffusion 1.x,
or a folder that tintype.json names. A setting names the checker of models without one. Two kinds of graph are known by
their inputs: diffusers' safety checker, and an image classifier, whose `config.json` names the labels.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import isfinite
from typing import TYPE_CHECKING, Any, NamedTuple

from PIL import Image

from ..files import ModelFileError, read_json
from ..graph_source import OnnxFile

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from ..loading_options import SafetyOptions

GRAPH, FOLDER = "model.onnx", "safety_checker"
PREPROCESSOR, FEATURE_EXTRACTOR = "preprocessor_config.json", "feature_extractor"
SIDES = (16, 1024)  # pixels
MISSING = (
    f"{FOLDER}/{GRAPH} is missing, and the setting --safety-checks requires it; --safety-checker names a folder for "
    "models without it"
)


class SafetyEntry(NamedTuple):
    """The checker that tintype.json names: its folder, relative to the model's, labels and threshold."""

    folder: str
    labels: tuple[str, ...] | None = None
    threshold: float | None = None


@dataclass(frozen=True, slots=True)
class Preprocessing:
    """How an image becomes a graph's input, as transformers' image processors do it.

    The shorter side is resized to `shortest`, or the image to `size` (width, height); then its middle of `crop`
    (width, height) is cut out. Levels are multiplied by `factor`; then `mean` is subtracted, and the result divided by
    `deviation`.
    """

    shortest: int | None
    size: tuple[int, int] | None
    crop: tuple[int, int] | None
    resample: Image.Resampling
    factor: float
    mean: tuple[float, ...]
    deviation: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class SafetyFiles:
    """A safety checker: its graph, and how its input is made and its output read.

    `identity` are the size and the time of modification of the graph's file, in nanoseconds.
    A classifier refuses an image if one of the labels in `refused`, by their places, has at least the probability
    `threshold`. `labels` is empty for diffusers' safety checker; `several` labels may apply to one image.
    """

    graph: OnnxFile
    identity: tuple[int, int]
    preprocessing: Preprocessing
    labels: tuple[str, ...] = ()
    refused: tuple[int, ...] = ()
    threshold: float = 0.5
    several: bool = False


def find_safety_checker(folder: Path, values: Mapping[str, Any], options: SafetyOptions | None) -> SafetyFiles | None:
    """Return the checker of the model in `folder`: its own, or that of the settings; None without `options`.

    `values` are those of the model's tintype.json.

    Raises:
        ModelFileError: there is none, or a file is missing or wrong.
    """
    if options is None:
        return None
    entry: SafetyEntry | None = values.get("safety_checker")
    own = folder / (entry.folder if entry else FOLDER)
    if (own / GRAPH).is_file():
        labels = options.labels if entry is None or entry.labels is None else entry.labels
        threshold = options.threshold if entry is None or entry.threshold is None else entry.threshold
        return _read(own, folder / FEATURE_EXTRACTOR, labels, threshold)
    if entry:
        raise ModelFileError(f"{entry.folder}/{GRAPH} is missing; the safety_checker in tintype.json requires it")
    if options.checker is None:
        raise ModelFileError(MISSING)
    return read_safety_checker(options)


def read_safety_checker(options: SafetyOptions) -> SafetyFiles:
    """Return the checker of the settings, in the folder `options.checker`. Raises ModelFileError."""
    assert options.checker is not None, "the caller has checked it"  # noqa: S101
    if not (options.checker / GRAPH).is_file():
        raise ModelFileError(f"--safety-checker must be a folder with {GRAPH}; {options.checker} has none")
    beside = options.checker.parent / FEATURE_EXTRACTOR
    return _read(options.checker, beside, options.labels, options.threshold)


def _read(folder: Path, feature_extractor: Path, labels: tuple[str, ...], threshold: float) -> SafetyFiles:
    own = folder / PREPROCESSOR
    path = own if own.is_file() else feature_extractor / PREPROCESSOR
    try:
        preprocessing = _preprocessing(read_json(path))
    except ModelFileError as error:
        raise ModelFileError(f"safety checker {folder.name}: {error}") from error
    config = read_json(folder / "config.json", optional=True)
    names, graph, status = _names(config), OnnxFile(folder / GRAPH), (folder / GRAPH).stat()
    identity = status.st_size, status.st_mtime_ns
    if not names:
        return SafetyFiles(graph, identity, preprocessing)
    several = config.get("problem_type") == "multi_label_classification"
    refused = _refused(names, labels)
    return SafetyFiles(graph, identity, preprocessing, names, refused, threshold, several)


def _names(config: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the labels of a classifier in the order of its outputs; none for diffusers' safety checker."""
    if "id2label" not in config or "special_care_embeds_weights" in config or "vision_config" in config:
        return ()
    labels = config["id2label"]
    places = [str(place) for place in range(len(labels))] if isinstance(labels, dict) else []
    if not places or set(labels) != set(places) or not all(isinstance(each, str) for each in labels.values()):
        raise ModelFileError("config.json: id2label must map 0, 1, … to the names of labels")
    return tuple(labels[place] for place in places)


def _refused(names: tuple[str, ...], labels: tuple[str, ...]) -> tuple[int, ...]:
    """Return the places of the labels to refuse. Raises ModelFileError if a label is unknown, or there is none."""
    wanted = {each.casefold() for each in labels}
    unknown = sorted(wanted - {each.casefold() for each in names})
    if unknown or not wanted:
        problem = f"has no label {unknown[0]!r}" if unknown else "refuses no label"
        known = f"its labels are {', '.join(names)}: name those to refuse with --safety-labels"
        raise ModelFileError(f"config.json: the safety checker {problem}; {known}")
    return tuple(place for place, name in enumerate(names) if name.casefold() in wanted)


def _preprocessing(config: Mapping[str, Any]) -> Preprocessing:
    """Return the values of a preprocessor_config.json. Raises ModelFileError."""
    crops = config.get("do_center_crop", False)
    shortest, size = _size(config.get("size"), square=not crops) if config.get("do_resize", True) else (None, None)
    normalizes = config.get("do_normalize", True)
    mean = _triple(config, "image_mean") if normalizes else (0.0, 0.0, 0.0)
    deviation = _triple(config, "image_std") if normalizes else (1.0, 1.0, 1.0)
    if not all(deviation):
        raise ModelFileError(f"{PREPROCESSOR}: image_std must not hold 0: pixels are divided by it")
    rescale = _number("rescale_factor", config.get("rescale_factor", 1 / 255))
    try:
        resample = Image.Resampling(config.get("resample", Image.Resampling.BILINEAR))
    except ValueError as error:
        raise ModelFileError(f"{PREPROCESSOR}: resample must be 0 to 5, not {config['resample']!r}") from error
    return Preprocessing(
        shortest,
        size,
        _sides("crop_size", config.get("crop_size")) if crops else None,
        resample,
        rescale if config.get("do_rescale", True) else 1.0,
        mean,
        deviation,
    )


def _size(value: Any, *, square: bool) -> tuple[int | None, tuple[int, int] | None]:
    """Return the length of the shorter side, or a size; a number is a square's side, or that of the shorter one."""
    if isinstance(value, dict) and "shortest_edge" in value:
        return _side("size", value["shortest_edge"]), None
    if isinstance(value, int) and not square:
        return _side("size", value), None
    return None, _sides("size", value)


def _sides(key: str, value: Any) -> tuple[int, int]:
    if isinstance(value, dict):
        return _side(key, value.get("width")), _side(key, value.get("height"))
    return _side(key, value), _side(key, value)


def _side(key: str, value: Any) -> int:
    low, high = SIDES
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        raise ModelFileError(f"{PREPROCESSOR}: {key} must be {low} to {high} pixels, not {value!r}")
    return value


def _triple(config: Mapping[str, Any], key: str) -> tuple[float, ...]:
    value = config.get(key)
    if not isinstance(value, list) or len(value) != 3:
        raise ModelFileError(f"{PREPROCESSOR}: {key} must hold three numbers, not {value!r}")
    return tuple(_number(key, each) for each in value)


def _number(key: str, value: Any) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool) or not isfinite(value):
        raise ModelFileError(f"{PREPROCESSOR}: {key} must hold numbers, not {value!r}")
    return float(value)
