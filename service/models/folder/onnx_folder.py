"""A folder of ONNX graphs in the layout of diffusers and optimum: `model_index.json`, one folder for each component.

Folders of diffusers' legacy exporter, and of Olive, have no configurations of components. A file that is missing is
derived: configurations from the graphs, the family from the denoiser's inputs, the scheduler from the family. The log
names what was derived, and tintype.json overrides it.
"""

from __future__ import annotations

import logging
from functools import cached_property
from typing import TYPE_CHECKING, Any

from ..families.table import FAMILIES, by_pipeline
from ..files import read_json
from ..graph_source import OnnxFile
from .graph_config import decoder_config, denoiser_config, encoder_config, index_of
from .graph_facts import read_facts
from .layout import ABSENT, INDEX, SCHEDULER
from .names import model_name
from .tintype_json import read_tintype_json
from .usual_schedulers import usual_scheduler

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from ..family import Family, TextEncoderSpec
    from ..graph_source import GraphSource
    from .graph_facts import GraphFacts

log = logging.getLogger(__name__)

CONFIG = "/config.json"
DENOISERS = ("unet", "transformer")
GRAPH = "model.onnx"
# Pairs of `precision` and `target` whose weights take twice the bytes in memory: float16 becomes float32, and int8 is
# repacked for matrix products.
WIDENED = {("fp16-weights", None), ("fp16", "cpu"), ("int8", "cpu")}


class OnnxFolder:
    """The layout of a folder with a `model.onnx` for each component."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.name = folder, model_name(folder)
        self._derived: dict[str, dict[str, Any] | None] = {}

    def json(self, path: str, *, optional: bool = False) -> dict[str, Any]:
        """Return the JSON object in a file; if it is missing, what can be derived.

        Raises:
            ModelFileError: it is missing and cannot be derived, or it is not a JSON object.
        """
        if not (self.folder / path).exists():
            if path not in self._derived:
                self._derived[path] = self._derive(path)
            if (derived := self._derived[path]) is not None:
                return dict(derived)
        return read_json(self.folder / path, optional=optional)

    def _derive(self, path: str) -> dict[str, Any] | None:
        """Return what a missing file would hold; None if it is not derived. Raises ModelFileError."""
        if path == SCHEDULER:
            return self._usual_scheduler()
        if path == INDEX:
            return None if self._own.get("family") else self._index()
        component = path.removesuffix(CONFIG)
        if not path.endswith(CONFIG) or not self.graph(component).is_file():
            return None
        derived = self._component_config(component)
        values = ", ".join(f"{key} {len(v) if isinstance(v, list) else v}" for key, v in derived.items())
        log.info("%s: %s is missing; %s/%s gives %s", self.name, path, component, GRAPH, values or "nothing")
        return derived

    def _component_config(self, component: str) -> dict[str, Any]:
        if self._denoiser and component == self._denoiser[0]:
            return denoiser_config(self._denoiser[1])
        facts = read_facts(self.graph(component))
        return encoder_config(facts) if component.startswith("text_encoder") else decoder_config(facts)

    def _index(self) -> dict[str, Any] | None:
        """Return model_index.json as the graphs have it; None without a denoiser."""
        if self._denoiser is None:
            return None
        component, facts = self._denoiser
        index = index_of(component, facts, [path.parent.name for path in self.folder.glob(f"*/{GRAPH}")])
        log.info("%s: %s is missing; the graphs are those of %s", self.name, INDEX, index["_class_name"])
        return index

    def _usual_scheduler(self) -> dict[str, Any] | None:
        """Return the settings that are usual for the family, with the class that model_index.json names."""
        index = self.json(INDEX, optional=True)
        absent = [name for name, class_ in index.items() if class_ == ABSENT]
        family = FAMILIES.get(self._own.get("family", "")) or by_pipeline(str(index.get("_class_name")), absent)
        if family is None:
            return None
        guided = self._denoiser is not None and "guidance" in self._denoiser[1].inputs
        config, named = usual_scheduler(family, guided=guided), index.get("scheduler")
        if isinstance(named, list) and named and isinstance(named[-1], str):
            config["_class_name"] = named[-1]
        values = ", ".join(f"{key} {value}" for key, value in config.items())
        log.warning("%s: %s is missing; using what is usual for %s: %s", self.name, SCHEDULER, family.name, values)
        return config

    @cached_property
    def _own(self) -> dict[str, Any]:
        return read_tintype_json(self.folder)[0]

    @cached_property
    def _denoiser(self) -> tuple[str, GraphFacts] | None:
        """The denoiser's folder and its graph's facts; None if there is none. Raises ModelFileError."""
        found = (component for component in DENOISERS if self.graph(component).is_file())
        component = next(found, None)
        return (component, read_facts(self.graph(component))) if component else None

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
        widening = 2 if (self._own.get("precision"), self._own.get("target")) in WIDENED else 1
        return {
            component: OnnxFile(self.graph(component), widening)
            for component in family.graphs
            if self.has(family, component)
        }

    def tokenizer(self, encoder: TextEncoderSpec) -> Path:
        """Return the folder of a text encoder's tokenizer."""
        return self.folder / encoder.tokenizer
