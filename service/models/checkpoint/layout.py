"""A single file as a model: its components, and what comes from other folders."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..adapters.adapters import are_enabled
from ..families.table import by_pipeline
from ..files import ModelFileError, label, read_json
from ..folder.layout import ABSENT, INDEX, SCHEDULER
from ..folder.tintype_json import read_tintype_json
from ..templates.filling import fill_components
from .components import VAE_HALVES, denoiser, has_half, has_projection, text_encoder, vae
from .elsewhere import TOKENIZERS, find_encoder, folder_component, tokenizer_folder, vae_component, with_projection
from .header import read_header
from .published_values import model_index, prediction_type, scheduler_config, vae_values
from .recognition import Architecture, recognize

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from ..family import Family, TextEncoderSpec
    from ..graph_source import GraphSource
    from ..loading_options import LoadingOptions
    from ..templates.filling import Component

CLIP_CLASSES = ("CLIPTextModel", "CLIPTextModelWithProjection")
OPTIONAL = {(Architecture.SD3, "text_encoder_3")}  # zeros replace its output
ENCODERS_PLACE = "a model's folder that has the text encoders and tokenizers"


class CheckpointLayout:
    """The layout of a single file; its name is the file's.

    Raises:
        ModelFileError: the file is damaged, or not a model that is served; or a folder that the options name is.
    """

    def __init__(self, path: Path, options: LoadingOptions) -> None:
        self.name, self._options = path.stem, options
        self.folder = (options.additions or path.parent) / self.name
        self._file = recognize(read_header(path))
        own = read_tintype_json(self.folder)[0]
        self._prediction = own.get("prediction") or prediction_type(self._file)
        self._index = model_index(self._file)
        self._components: dict[str, Component] = {}
        self._tokenizers: dict[str, Path] = {}
        self._find_denoiser()
        self._find_encoders()
        self._find_vision()
        self._find_vae()

    def json(self, path: str, *, optional: bool = False) -> dict[str, Any]:
        """Return the configuration that a model's folder would have at a path. Raises ModelFileError."""
        folder, _, name = path.rpartition("/")
        if path == INDEX:
            return dict(self._index)
        if path == SCHEDULER:
            return scheduler_config(self._file, self._prediction, guided=self._guided)
        if name == "config.json" and folder in self._components:
            return dict(self._components[folder].config)
        if folder in self._tokenizers:
            return read_json(self._tokenizers[folder] / name, optional=optional)
        if optional or folder in (*self._index, *VAE_HALVES):  # `missing` names what is required and absent
            return {}
        raise ModelFileError(f"{label(self._file.path)} has no {folder or path}")

    def has(self, _: Family, component: str) -> bool:
        """Return whether the file, or a folder that the options name, has a component."""
        return component in self._components

    def missing(self, family: Family, listed: Mapping[str, str], index: Mapping[str, Any]) -> Iterator[str]:  # noqa: ARG002
        """Yield a message that names what is missing, and the settings that name a folder with it."""
        lacking = [component for component in family.required_graphs if component not in self._components]
        for encoder in family.text_encoders:
            if encoder.encoder in self._components:
                folder = self._tokenizers.get(encoder.tokenizer)
                lacking += [encoder.tokenizer] * bool(not folder or encoder.tokenizer_kind.missing(folder))
        if lacking:
            yield f"{label(self._file.path)} has no {', '.join(lacking)}: {self._ways(lacking)}"

    def graphs(self, family: Family) -> dict[str, GraphSource]:
        """Return the graphs of all components.

        Raises:
            ModelFileError: components have no template, or their weights do not fit it; each is named.
        """
        find, variants = self._components.get, {encoder.encoder: encoder.variant for encoder in family.text_encoders}
        return fill_components(family.graphs, find, self._options, adapters=are_enabled(self.folder), variants=variants)

    def tokenizer(self, encoder: TextEncoderSpec) -> Path:
        """Return the folder of a text encoder's tokenizer."""
        return self._tokenizers.get(encoder.tokenizer, TOKENIZERS / "clip")

    @property
    def _guided(self) -> bool:
        return bool(self._components[self._denoiser_folder].config.get("guidance_embeds"))

    @property
    def _denoiser_folder(self) -> str:
        return "unet" if "unet" in self._index else "transformer"

    def _find_denoiser(self) -> None:
        self._components[self._denoiser_folder] = denoiser(self._file, self._prediction)

    def _find_encoders(self) -> None:
        for component in ("text_encoder", "text_encoder_2", "text_encoder_3"):
            class_name = self._index.get(component, ABSENT)[1]
            if not class_name:
                continue
            place = self._add_encoder(component, class_name)
            tokenizer = tokenizer_folder(component)
            if component not in self._components and (self._file.architecture, component) in OPTIONAL:
                self._index |= {component: ABSENT, tokenizer: ABSENT}
            elif place and self._options.text_encoders:
                self._tokenizers[tokenizer] = self._options.text_encoders / tokenizer_folder(place)
            elif class_name in CLIP_CLASSES:
                padded = tokenizer == "tokenizer_2" or self._file.architecture is Architecture.SD2
                self._tokenizers[tokenizer] = TOKENIZERS / ("clip_zero_padded" if padded else "clip")

    def _find_vision(self) -> None:
        """Add the graphs that read images for text encoders, which have their weights."""
        family = by_pipeline(self._index["_class_name"])
        for encoder in family.text_encoders if family else ():
            if encoder.vision and encoder.encoder in self._components:
                self._components[encoder.vision] = self._components[encoder.encoder].vision()

    def _add_encoder(self, component: str, class_name: str) -> str | None:
        """Add a text encoder, and return the subfolder of the options' folder that its tokenizer comes from."""
        inside, folder = component in self._file.encoders, self._options.text_encoders
        if inside:
            found = text_encoder(self._file, component, class_name)
            left_out = class_name.endswith("WithProjection") and not has_projection(self._file, component)
            self._components[component] = with_projection(found, self._options.cache) if left_out else found
        if folder is None or (inside and class_name in CLIP_CLASSES):
            return None
        place = find_encoder(folder, component, class_name)
        if place and not inside:
            self._components[component] = folder_component(folder / place, self._options.precision, class_name)
        return place

    def _find_vae(self) -> None:
        header, prefix, values = self._file.header, self._file.vae, vae_values(self._file)
        for half in VAE_HALVES:
            if self._options.vae:
                found = vae_component(self._options.vae, half, values, self._options.precision)
            else:
                inside = prefix is not None and has_half(header, prefix, half)
                found = vae(header, str(prefix), values) if inside else None
            if found:
                self._components[half] = found

    def _ways(self, lacking: list[str]) -> str:
        """Return which settings name folders with what is missing, and what the folders of `options` lack."""
        vae = [name for name in lacking if name in VAE_HALVES]
        text = [name for name in lacking if name not in VAE_HALVES]
        settings = (
            ("--text-encoders", self._options.text_encoders, text, ENCODERS_PLACE),
            ("--vae", self._options.vae, vae, "a folder or file that has the VAE"),
        )
        ways = []
        for flag, place, names, what in settings:
            lack = f"{flag} {place} lacks {', '.join(map(self._described, names))}; " if place else ""
            ways += [f"{lack}set {flag} to {what}"] * bool(names)
        return " and ".join(ways)

    def _described(self, component: str) -> str:
        """Return the name of a component or tokenizer, a text encoder's with its class."""
        class_name = self._index.get(component, ABSENT)[1]
        return f"{component} ({class_name})" if class_name and component.startswith("text_encoder") else component
