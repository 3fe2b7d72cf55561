"""A folder of ONNX graphs in the layout of diffusers and optimum: `model_index.json`, one folder for each component."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..files import read_json
from ..graph_source import OnnxFile
from .layout import ABSENT
from .names import model_name
from .tintype_json import read_tintype_json

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from ..family import Family, TextEncoderSpec
    from ..graph_source import GraphSource

GRAPH = "model.onnx"
# Pairs of `precision` and `target` whose weights take twice the bytes in memory: float16 becomes float32, and int8 is
# repacked for matrix products.
WIDENED = {("fp16-weights", None), ("fp16", "cpu"), ("int8", "cpu")}


class OnnxFolder:
    """The layout of a folder with a `model.onnx` for each component."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.name = folder, model_name(folder)

    def json(self, path: str, *, optional: bool = False) -> dict[str, Any]:
        """Return the JSON object in a file. Raises ModelFileError."""
        return read_json(self.folder / path, optional=optional)

    def has(self, _: Family, component: str) -> bool:
        """Return whether the folder has a component's graph."""
        return self.graph(component).is_file()

    def graph(self, component: str) -> Path:
        """Return the path of a component's graph."""
        return self.folder / component / GRAPH

    def missing(self, family: Family, listed: Mapping[str, str], index: Mapping[str, Any]) -> Iterator[str]:
        """Yield a message for each file that is missing.

        An optional encoder is required if model_index.json names it and it is not null, because images are different
        without it.
        """
        required = {f"{component}/{GRAPH}" for component in family.required_graphs} | listed.keys()
        yield from (f"{path} is missing" for path in sorted(required) if not (self.folder / path).is_file())
        for encoder in family.text_encoders:
            graph = f"{encoder.encoder}/{GRAPH}"
            if not encoder.optional or (self.folder / graph).is_file():
                names = encoder.tokenizer_kind.missing(self.folder / encoder.tokenizer)
                files = (f"{encoder.tokenizer}/{name}" for name in names)
                yield from (f"{path} is missing" for path in files if path not in listed)
            elif index.get(encoder.encoder, ABSENT) != ABSENT and graph not in listed:
                yield f"{graph} is missing; for a model without it, model_index.json must hold [null, null] for it"

    def graphs(self, family: Family) -> dict[str, GraphSource]:
        """Return the graphs of all components that the folder has."""
        own, _ = read_tintype_json(self.folder)
        widening = 2 if (own.get("precision"), own.get("target")) in WIDENED else 1
        return {
            component: OnnxFile(self.graph(component), widening)
            for component in family.graphs
            if self.has(family, component)
        }

    def tokenizer(self, encoder: TextEncoderSpec) -> Path:
        """Return the folder of a text encoder's tokenizer."""
        return self.folder / encoder.tokenizer
