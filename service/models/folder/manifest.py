"""What a model consists of, as values, without loading a graph."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from ..adapters import adapters, embeddings
from ..control import files as control_files
from ..control.listing import listing
from ..loading_options import DEFAULTS
from ..templates.filled_template import with_adapters

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from ..family import Family
    from ..graph_source import GraphSource
    from ..loading_options import LoadingOptions
    from ..spec import ModelSpec
    from .configs import PipelineConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """A model: its spec, and the values that loading needs.

    `folder` has its adapters and embeddings. `graphs` are those of all components, and `tokenizers` the folders of the
    text encoders' tokenizers, by the names in the family. `memory_bytes` is the size of all weights in memory.
    `options` are those of its loading, for the ControlNets in its folder; `denoiser` is the denoiser's configuration.
    `second` is the model of a second stage, a refiner, for timesteps below `second_below`.
    `files` maps paths in the folder to their SHA-256, as far as tintype.json lists them.
    """

    folder: Path
    spec: ModelSpec
    family: Family
    config: PipelineConfig
    graphs: Mapping[str, GraphSource]
    tokenizers: Mapping[str, Path]
    files: Mapping[str, str]
    memory_bytes: int = 0
    options: LoadingOptions = DEFAULTS
    denoiser: Mapping[str, Any] = field(default_factory=dict)
    second: Manifest | None = None
    second_below: float = 0.0

    @property
    def components(self) -> tuple[str, ...]:
        """Return the components that are loaded at once: required ones, and optional encoders."""
        encoders = self.family.text_encoders
        optional = (each.encoder for each in encoders if each.optional and each.encoder in self.graphs)
        return (*optional, *self.family.required_graphs)

    @property
    def stages(self) -> tuple[Manifest, ...]:
        """Return this manifest, and that of the second stage."""
        return (self, self.second) if self.second else (self,)

    @property
    def sources(self) -> tuple[GraphSource, ...]:
        """Return the graphs of all stages, those that are loaded later included."""
        return tuple(graph for stage in self.stages for graph in stage.graphs.values())

    def relisted(self) -> Manifest:
        """Return this manifest with what the folder holds now: adapters, embeddings, ControlNets and IP-Adapters.

        Graphs made from templates take adapters, from their next load on, if there is a folder for them.
        """
        enabled = adapters.are_enabled(self.folder)
        additions = list_additions(self.spec.name, self.folder, self.denoiser)
        graphs = {component: with_adapters(source, enabled=enabled) for component, source in self.graphs.items()}
        return replace(self, graphs=graphs, spec=replace(self.spec, **additions))


def list_additions(name: str, folder: Path, denoiser: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of a ModelSpec for files that may be added after the export.

    Each ControlNet and IP-Adapter that cannot be used with this denoiser is logged, with the model's name.
    """
    found = listing(folder, denoiser)
    found.log_skipped(name)
    return {
        "loras": adapters.names(folder),
        "embeddings": embeddings.names(folder),
        "controls": found.controls,
        "control_modes": control_files.modes(folder, found.controls),
        "image_adapters": found.image_adapters,
        "pickled": embeddings.pickled_files(folder),
    }
