"""The safety checker of a model is found and read without loading it; errors say what would be right."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from PIL import Image

from tests.support.models.safety_checkers import CLIP, LABELS, SIDE, VIT, write_checker, write_classifier
from tintype.service.errors import ModelBroken
from tintype.service.models.folder.reader import read_manifest
from tintype.service.models.folder.safety_files import Preprocessing, read_safety_checker
from tintype.service.models.loading_options import DEFAULTS, LoadingOptions, SafetyOptions

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

HALVES = (0.5, 0.5, 0.5)
CHECKED = replace(DEFAULTS, safety=SafetyOptions())


def checked_by(folder: Path, **changes: Any) -> LoadingOptions:
    """Return the options that check images with the checker in a folder."""
    return replace(DEFAULTS, safety=SafetyOptions(folder, **changes))


def test_own_checkers_are_read_if_images_are_checked(folder: Path) -> None:
    """A folder's own checker is used if the setting is on; without the setting it is ignored, even if it is broken."""
    own = write_checker(folder)
    safety = read_manifest(folder, CHECKED).spec.safety
    assert safety is not None
    assert safety.graph.path == own / "model.onnx"
    crop = (SIDE, SIDE)
    expected = Preprocessing(SIDE, None, crop, Image.Resampling.BICUBIC, 1 / 255, HALVES, HALVES)
    assert safety.preprocessing == expected
    (folder / "feature_extractor" / "preprocessor_config.json").write_text("{")
    assert read_manifest(folder).spec.safety is None
    with pytest.raises(ModelBroken, match=r"preprocessor_config\.json is not JSON"):
        read_manifest(folder, CHECKED)


def test_models_without_a_checker(folder: Path, tmp_path: Path) -> None:
    """They get that of the settings; without one they cannot be served, as their images would not be checked."""
    with pytest.raises(ModelBroken, match=r"safety_checker/model.onnx is missing.*--safety-checker names"):
        read_manifest(folder, CHECKED)
    general = write_classifier(tmp_path / "nsfw")
    safety = read_manifest(folder, checked_by(general)).spec.safety
    assert safety is not None
    assert (safety.graph.path.parent, safety.labels, safety.refused) == (general, LABELS, (1,))
    own = write_checker(folder)
    safety = read_manifest(folder, checked_by(general)).spec.safety
    assert safety is not None
    assert safety.graph.path.parent == own


def test_tintype_json_names_a_checker(
    folder: Path, edit: Callable[[Path, Callable[[dict[str, Any]], object]], None]
) -> None:
    """Its folder, labels and threshold take precedence over the settings."""
    write_classifier(folder / "checks", ("calm", "Gore", "nsfw"))
    entry = {"folder": "checks", "labels": ["gore", "NSFW"], "threshold": 0.25}
    edit(folder / "tintype.json", lambda content: content.update(safety_checker=entry))
    safety = read_manifest(folder, CHECKED).spec.safety
    assert safety is not None
    assert (safety.refused, safety.threshold, safety.several) == ((1, 2), 0.25, False)
    entry["folder"] = "missing"
    edit(folder / "tintype.json", lambda content: content.update(safety_checker=entry))
    with pytest.raises(ModelBroken, match=r"missing/model\.onnx is missing"):
        read_manifest(folder, CHECKED)


@pytest.mark.parametrize(
    ("entry", "fault"),
    [
        ("checks", "safety_checker must be an object, not 'checks'"),
        ({}, "safety_checker must hold folder"),
        ({"folder": "x", "labels": []}, "labels must be a list of at least one label"),
        ({"folder": "x", "threshold": 2}, "threshold must be 0 to 1, not 2"),
    ],
)
def test_wrong_entries_in_tintype_json(
    folder: Path, edit: Callable[[Path, Callable[[dict[str, Any]], object]], None], entry: Any, fault: str
) -> None:
    """A wrong entry is a fault of the folder."""
    edit(folder / "tintype.json", lambda content: content.update(safety_checker=entry))
    with pytest.raises(ModelBroken, match=fault):
        read_manifest(folder)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        (VIT, Preprocessing(None, (16, 16), None, Image.Resampling.BILINEAR, 1 / 255, HALVES, HALVES)),
        # Older feature extractors, whose sides are numbers.
        (
            CLIP | {"size": 20, "crop_size": 16},
            Preprocessing(20, None, (16, 16), Image.Resampling.BICUBIC, 1 / 255, HALVES, HALVES),
        ),
        (
            VIT | {"size": 24, "do_rescale": False, "do_normalize": False},
            Preprocessing(None, (24, 24), None, Image.Resampling.BILINEAR, 1.0, (0.0,) * 3, (1.0,) * 3),
        ),
        (
            {"do_resize": False, "do_normalize": False},
            Preprocessing(None, None, None, Image.Resampling.BILINEAR, 1 / 255, (0.0,) * 3, (1.0,) * 3),
        ),
    ],
)
def test_preprocessing(tmp_path: Path, changes: dict[str, Any], expected: Preprocessing) -> None:
    """Old and new forms of preprocessor_config.json are read."""
    folder = write_classifier(tmp_path / "nsfw")
    (folder / "preprocessor_config.json").write_text(json.dumps(changes))
    assert read_safety_checker(SafetyOptions(folder)).preprocessing == expected


@pytest.mark.parametrize(
    ("name", "content", "fault"),
    [
        ("preprocessor_config.json", VIT | {"size": 9999}, "size must be 16 to 1024 pixels, not 9999"),
        ("preprocessor_config.json", VIT | {"size": {"width": 16}}, "size must be 16 to 1024 pixels, not None"),
        ("preprocessor_config.json", VIT | {"image_mean": [1, 2]}, "image_mean must hold three numbers"),
        ("preprocessor_config.json", VIT | {"image_std": [0, 1, 1]}, "image_std must not hold 0"),
        ("preprocessor_config.json", VIT | {"resample": 9}, "resample must be 0 to 5, not 9"),
        ("preprocessor_config.json", VIT | {"rescale_factor": "x"}, "rescale_factor must hold numbers, not 'x'"),
        ("config.json", {"id2label": {"0": "a", "2": "b"}}, "id2label must map 0, 1"),
        ("config.json", {"id2label": ["nsfw"]}, "id2label must map 0, 1"),
        ("config.json", {"id2label": {"0": "sfw"}}, "has no label 'nsfw'; its labels are sfw: .*--safety-labels"),
    ],
)
def test_wrong_files_of_a_checker(folder: Path, tmp_path: Path, name: str, content: Any, fault: str) -> None:
    """The fault names the file, the key, the value, and what would be right."""
    general = write_classifier(tmp_path / "nsfw")
    (general / name).write_text(json.dumps(content))
    with pytest.raises(ModelBroken, match=fault):
        read_manifest(folder, checked_by(general))


def test_settings_of_a_checker(folder: Path, tmp_path: Path) -> None:
    """A folder without a graph, and settings that refuse no label, are faults."""
    with pytest.raises(ModelBroken, match=r"--safety-checker must be a folder with model\.onnx"):
        read_manifest(folder, checked_by(tmp_path))
    general = write_classifier(tmp_path / "nsfw")
    with pytest.raises(ModelBroken, match="refuses no label; its labels are normal, nsfw"):
        read_manifest(folder, checked_by(general, labels=()))
