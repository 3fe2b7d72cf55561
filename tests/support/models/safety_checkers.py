"""Folders of small safety checkers: both kinds refuse images that are red on average."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from PIL import Image

from tintype.service.models.graph_writer import FLOAT, INT64, GraphWriter

if TYPE_CHECKING:
    from pathlib import Path

SIDE = 16  # pixels
CLIP: dict[str, Any] = {
    "crop_size": {"height": SIDE, "width": SIDE},
    "do_center_crop": True,
    "image_mean": [0.5, 0.5, 0.5],
    "image_std": [0.5, 0.5, 0.5],
    "resample": 3,
    "size": {"shortest_edge": SIDE},
}
VIT: dict[str, Any] = {
    "image_mean": [0.5, 0.5, 0.5],
    "image_std": [0.5, 0.5, 0.5],
    "resample": 2,
    "size": {"height": SIDE, "width": SIDE},
}
LABELS = ("normal", "nsfw")
RED, BLUE = Image.new("RGB", (48, 32), "red"), Image.new("RGB", (48, 32), "blue")


def write_checker(folder: Path) -> Path:
    """Write diffusers' kind of checker, with its files where a model's folder has them, and return its folder."""
    g = GraphWriter("safety_checker", 17)
    redness = _redness(g, g.input("clip_input", FLOAT, ("batch", 3, "height", "width")))
    images = g.input("images", FLOAT, ("batch", "rows", "columns", 3))
    g.output("out_images", g.apply("Identity", images), FLOAT, ("batch", "rows", "columns", 3))
    concepts = g.apply("Squeeze", g.apply("Greater", redness, g.constant([0.0])), g.constant([1], INT64))
    g.output("has_nsfw_concepts", concepts, "bool", ("batch",))
    _write(folder / "feature_extractor" / "preprocessor_config.json", CLIP)
    return _write_graph(folder / "safety_checker", g)


def write_classifier(folder: Path, labels: tuple[str, ...] = LABELS, **config: Any) -> Path:
    """Write an image classifier, as optimum exports it, and return its folder: the last label is for red images."""
    g = GraphWriter("classifier", 17)
    redness = _redness(g, g.input("pixel_values", FLOAT, ("batch", 3, SIDE, SIDE)))
    factors = g.constant([[0.0] * (len(labels) - 1) + [4.0]])
    g.output("logits", g.apply("MatMul", redness, factors), FLOAT, ("batch", len(labels)))
    own = {"id2label": {str(place): label for place, label in enumerate(labels)}, **config}
    _write(folder / "config.json", own)
    _write(folder / "preprocessor_config.json", VIT)
    return _write_graph(folder, g)


def _redness(g: GraphWriter, pixels: str) -> str:
    """Return by how much red exceeds the other colours on average [n, 1], -2 to 2."""
    means = g.apply("ReduceMean", pixels, axes=(2, 3), keepdims=0)
    return g.apply("MatMul", means, g.constant([[1.0], [-0.5], [-0.5]]))


def _write_graph(folder: Path, g: GraphWriter) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.onnx").write_bytes(g.content())
    return folder


def _write(path: Path, content: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))
