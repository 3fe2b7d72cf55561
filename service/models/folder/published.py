"""A folder of published weights in diffusers' layout: `unet/diffusion_pytorch_model.safetensors`, `vae/`, and so on.

Its graphs are templates that the weights fill. The VAE's two graphs share the folder `vae`. Adapters and embeddings are
in the folder itself; those of a snapshot in a hub cache, which the hub's tools manage, are elsewhere.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from ..adapters.adapters import are_enabled
from ..checkpoint.elsewhere import vae_component
from ..files import ModelFileError, read_json
from ..templates.filling import Component, fill_components
from ..templates.keys import CLASSES, shown
from ..weights.pieces import ComponentWeights
from ..weights.published_files import weight_files
from .layout import ABSENT, INDEX
from .names import model_name, repository_id

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from ..family import Family, TextEncoderSpec
    from ..graph_source import GraphSource
    from ..loading_options import LoadingOptions

VAE = "vae"


class PublishedFolder:
    """The layout of a folder with published weights.

    Raises:
        ModelFileError: model_index.json is damaged, or the VAE of the options cannot be used.
    """

    def __init__(self, folder: Path, options: LoadingOptions) -> None:
        self.name, self._root, self._options = model_name(folder), folder, options
        additions = options.additions if repository_id(folder) else None
        self.folder = additions / self.name if additions else folder
        self._index = read_json(folder / INDEX)

    def json(self, path: str, *, optional: bool = False) -> dict[str, Any]:
        """Return the JSON object in a file; both graphs of the VAE share one. Raises ModelFileError."""
        component, _, name = path.partition("/")
        if component.startswith(f"{VAE}_"):
            return dict(self._vae(component).config)
        return read_json(self._root / component / name if name else self._root / path, optional=optional)

    def has(self, family: Family, component: str) -> bool:
        """Return whether the folder has a component."""
        if component == family.vae.decoder_fp32:
            return False
        part = VAE if component.startswith(f"{VAE}_") else family.part_of(component)
        if part == VAE and self._options.vae:
            return True
        return self._index.get(part, ABSENT) != ABSENT and (self._root / part).is_dir()

    def missing(self, family: Family, listed: Mapping[str, str], index: Mapping[str, Any]) -> Iterator[str]:  # noqa: ARG002
        """Yield a message for each component and tokenizer file that is missing."""
        for component in family.required_graphs:
            if not self.has(family, component):
                part = VAE if component == family.vae.decoder else component
                known = index.get(part, ABSENT) != ABSENT
                yield f"{part}/ is missing" if known else f"{INDEX} names no {part}"
        for encoder in family.text_encoders:
            if index.get(encoder.encoder, ABSENT) != ABSENT:
                names = encoder.tokenizer_kind.missing(self._root / encoder.tokenizer)
                yield from (f"{encoder.tokenizer}/{name} is missing" for name in names)

    def graphs(self, family: Family) -> dict[str, GraphSource]:
        """Return the graphs of all components.

        Raises:
            ModelFileError: components have no template, or their weights do not fit it; each is named.
        """
        variants = {encoder.encoder: encoder.variant for encoder in family.text_encoders}
        names = (component for component in family.graphs if self.has(family, component))
        find = partial(self._component, family)
        return fill_components(names, find, self._options, adapters=are_enabled(self.folder), variants=variants)

    def tokenizer(self, encoder: TextEncoderSpec) -> Path:
        """Return the folder of a text encoder's tokenizer."""
        return self._root / encoder.tokenizer

    def _component(self, family: Family, component: str) -> Component:
        if component.startswith(f"{VAE}_"):
            return self._vae(component)
        part = family.part_of(component)
        return self._read(part) if part == component else self._read(part).vision()

    def _vae(self, half: str) -> Component:
        if self._options.vae is None:
            return self._read(VAE)
        own = read_json(self._root / VAE / "config.json", optional=True)
        found = vae_component(self._options.vae, half, own, self._options.precision)
        if found is None:
            raise ModelFileError(f"--vae {self._options.vae} has no {half.removeprefix(f'{VAE}_')}")
        return found

    def _read(self, part: str) -> Component:
        named = self._index.get(part, ABSENT)
        if not isinstance(named, list) or len(named) != 2 or not isinstance(named[1], str):
            raise ModelFileError(f"{INDEX}: {part} must be [library, class]; got {named!r}")
        folder = self._root / part
        weights = ComponentWeights(weight_files(folder, self._options.precision))
        config = read_json(folder / "config.json")
        if named[0] == "diffusers":
            _check_class(part, named[1], config.get("_class_name"))
        return Component(named[1], config, weights)


def _check_class(part: str, named: str, own: object) -> None:
    """Raise ModelFileError if a configuration names another class than model_index.json, or than its Flax version."""
    name = str(own or named).removeprefix("Flax")
    if CLASSES.get(name, name) != CLASSES.get(named, named):
        raise ModelFileError(f"{part}/config.json: _class_name must be {named}, as in {INDEX}; got {shown(own)}")
