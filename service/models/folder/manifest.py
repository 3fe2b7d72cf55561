"""What a model's folder contains, as values, without loading a graph."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from ..files import component_bytes
from ..pipeline import adapters
from ..text import embeddings

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from ..family import Family
    from ..spec import ModelSpec
    from .configs import PipelineConfig

GRAPH = "model.onnx"
ABSENT = [None, None]  # library and class of a component that model_index.json says is missing


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """A folder's model: its spec, and the values that loading needs.

    `second` is the model of a second stage, a refiner, for timesteps below `second_below`.
    `widened` weights take twice the bytes in memory: float16 becomes float32, and int8 is repacked for matrix products.
    `files` maps paths in the folder to their SHA-256, as far as tintype.json lists them.
    """

    folder: Path
    spec: ModelSpec
    family: Family
    config: PipelineConfig
    files: Mapping[str, str]
    widened: bool = False
    second: Manifest | None = None
    second_below: float = 0.0

    def has(self, component: str) -> bool:
        """Return whether the folder holds a component's graph."""
        return self.graph(component).is_file()

    @property
    def components(self) -> tuple[str, ...]:
        """Return the folders of all graphs that are loaded at once: required ones, and optional encoders."""
        encoders = self.family.text_encoders
        optional = (encoder.encoder for encoder in encoders if encoder.optional and self.has(encoder.encoder))
        return (*optional, *self.family.required_graphs)

    def graph(self, component: str) -> Path:
        """Return the path of a component's graph."""
        return self.folder / component / GRAPH

    def component_bytes(self, component: str) -> int:
        """Return the bytes of a component's graph and its external data."""
        return component_bytes(self.folder / component)

    def relisted(self) -> Manifest:
        """Return this manifest with the adapters and embeddings that the folder holds now."""
        return replace(self, spec=replace(self.spec, **list_additions(self.folder)))


def list_additions(folder: Path) -> dict[str, Any]:
    """Return the fields of a ModelSpec for files that may be added after the export."""
    return {
        "loras": adapters.names(folder),
        "embeddings": embeddings.names(folder),
        "pickled": embeddings.pickled_files(folder),
    }


def missing_files(folder: Path, family: Family, listed: Mapping[str, str], index: Mapping[str, Any]) -> Iterator[str]:
    """Yield a message for each file that is missing.

    Args:
        folder: The model's folder.
        family: Its family, which requires graphs and tokenizer files.
        listed: The files that tintype.json lists, all of which are required.
        index: model_index.json. An optional encoder is required if it is named there and not null, because without it
            images are different.
    """
    required = {f"{component}/{GRAPH}" for component in family.required_graphs} | listed.keys()
    yield from (f"{path} is missing" for path in sorted(required) if not (folder / path).is_file())
    for encoder in family.text_encoders:
        graph = f"{encoder.encoder}/{GRAPH}"
        if not encoder.optional or (folder / graph).is_file():
            names = encoder.tokenizer_kind.missing(folder / encoder.tokenizer)
            files = (f"{encoder.tokenizer}/{name}" for name in names)
            yield from (f"{path} is missing" for path in files if path not in listed)
        elif index.get(encoder.encoder, ABSENT) != ABSENT and graph not in listed:
            yield f"{graph} is missing; for a model without it, model_index.json must hold [null, null] for it"
