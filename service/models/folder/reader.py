"""Reading a model without loading it; all faults are collected and reported together.

A model is an ONNX folder, a folder of published weights, or a single file; `layouts` tells them apart. Values come from
`tintype.json`, otherwise from the components' configurations, otherwise from the family. So a folder without
`tintype.json` can be read as well.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TypeVar

from ...errors import ModelBroken
from ...numerics import Diffusion, InvalidChoice, make_table, max_steps, resolve
from ..control import files as control_files
from ..families.distilled import ModelFacts
from ..families.table import FAMILIES, by_pipeline, known_pipelines
from ..files import ModelFileError, sha256
from ..loading_options import DEFAULTS
from ..spec import INPAINTING, TEXT_TO_IMAGE, Defaults, ModelSpec
from ..templates.cards import precision_of
from ..text import added_tokens
from .configs import CONFIG_FIELDS, ConfigFiles
from .layout import ABSENT, INDEX, SCHEDULER
from .layouts import open_layout
from .manifest import Manifest, list_additions
from .names import model_name
from .presets import model_presets
from .safety_files import find_safety_checker
from .tintype_json import TINTYPE_JSON, read_fields, read_tintype_json

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from ..family import Distilled, Family, TextEncoderSpec
    from ..graph_source import GraphSource
    from ..loading_options import LoadingOptions
    from .layout import Layout


T = TypeVar("T")


def read_manifest(path: Path, options: LoadingOptions = DEFAULTS, *, is_second: bool = False) -> Manifest:
    """Read a model's folder or file. A second stage (`is_second`) cannot have one itself.

    Raises:
        ModelBroken: it cannot be served; `faults` names each problem.
    """
    try:
        return _ModelReader(open_layout(path, options), options, is_second=is_second).manifest()
    except ModelFileError as error:
        raise ModelBroken(model_name(path), [str(error)]) from error
    except OSError as error:  # a folder that may not be entered
        fault = f"{error.filename or path} cannot be read: {error.strerror or error}"
        raise ModelBroken(model_name(path), [fault]) from error


def verify(folder: Path) -> list[str]:
    """Return the differences between the files and the sums in tintype.json, [] if there are none. Reads all files."""
    try:
        files = read_manifest(folder).files
    except ModelBroken as error:
        return list(error.faults)
    if not files:
        return [f"{TINTYPE_JSON} lists no sums to compare with"]
    return [f"{path} is not the exported file" for path, sum_ in files.items() if sha256(folder / path) != sum_]


class _ModelReader:
    """Reads one model; collects faults and raises them together."""

    def __init__(self, layout: Layout, options: LoadingOptions, *, is_second: bool) -> None:
        self.layout, self.options, self.is_second = layout, options, is_second
        self.own, self.faults = read_tintype_json(layout.folder)
        self.name: str = self.own.get("name", layout.name)

    def manifest(self) -> Manifest:
        family, listed = self._family(), self.own.get("files", {})
        self.faults += self.layout.missing(family, listed, self._json(INDEX, optional=True))
        configs, diffusion = self._config_files(family), self._diffusion(family)
        self.faults += [*configs.length_faults(family), *configs.factor_faults(family)]
        defaults = self._defaults(family, diffusion, configs) if diffusion else None
        if self.faults or not diffusion or not defaults:
            raise ModelBroken(self.name, list(dict.fromkeys(self.faults)))
        graphs = self._or_broken(lambda: self.layout.graphs(family))
        spec = self._spec(family, diffusion, defaults, configs, graphs)
        second, below = self._second_stage(spec)
        second_bytes = (second.spec.weights_bytes, second.memory_bytes) if second else (0, 0)
        return Manifest(
            folder=self.layout.folder,
            spec=replace(spec, weights_bytes=spec.weights_bytes + second_bytes[0]),
            graphs=graphs,
            tokenizers={encoder.tokenizer: self.layout.tokenizer(encoder) for encoder in family.text_encoders},
            memory_bytes=sum(graph.weights_bytes for graph in graphs.values())
            + second_bytes[1]
            + control_files.memory_bytes(self.layout.folder),
            options=self.options,
            denoiser=self._denoiser_config(family),
            second=second,
            second_below=below,
            family=family,
            config=replace(
                configs.pipeline_config(family, diffusion.data_deviation),
                fast_tokenizers=self._fast_tokenizers(family),
            ),
            files=listed,
        )

    def _or_broken(self, read: Callable[[], T]) -> T:
        """Return what `read` returns. Raises ModelBroken for a file that cannot be used."""
        try:
            return read()
        except ModelFileError as error:
            raise ModelBroken(self.name, [str(error)]) from error

    def _family(self) -> Family:
        """Return the family that tintype.json or model_index.json names.

        Raises:
            ModelBroken: there is none; nothing else can be checked without it.
        """
        if name := self.own.get("family"):
            family = FAMILIES.get(name)
            fault = f"{TINTYPE_JSON}: family must be one of {', '.join(FAMILIES)}, not {name!r}"
        else:
            index = self._json(INDEX)
            class_name = index.get("_class_name")
            family = by_pipeline(str(class_name), [name for name, class_ in index.items() if class_ == ABSENT])
            supported = ", ".join(known_pipelines())
            fault = f"{INDEX}: pipeline {class_name!r} is not supported; supported are {supported}"
        if family is None:
            raise ModelBroken(self.name, self.faults or [fault])
        return family

    def _config_files(self, family: Family) -> ConfigFiles:
        encoders = family.text_encoders
        return ConfigFiles(
            self.own,
            self._config(INDEX),
            self._config(f"{family.denoiser.folder}/config.json"),
            self._config(f"{family.vae.decoder}/config.json"),
            [self._config(f"{encoder.encoder}/config.json", encoder) for encoder in encoders],
            [self._config(f"{encoder.tokenizer}/{added_tokens.CONFIG}", encoder) for encoder in encoders],
            self._distilled(family),
        )

    def _denoiser_config(self, family: Family) -> dict[str, Any]:
        return self._json(f"{family.denoiser.folder}/config.json", optional=True)

    def _distilled(self, family: Family) -> Distilled | None:
        """Return the defaults of a model that is distilled to few steps; None for others."""
        denoiser = self._denoiser_config(family)
        index = self._json(INDEX, optional=True)
        names = (self.name, *(str(each.get("_name_or_path", "")) for each in (index, denoiser)))
        scheduler = self._json(SCHEDULER, optional=True)
        return family.distilled_for(ModelFacts(denoiser=denoiser, scheduler=scheduler, index=index, names=names))

    def _fast_tokenizers(self, family: Family) -> tuple[bool, ...]:
        """Return for each text encoder whether its tokenizer is fast, by its class or transformers 5's mark."""
        return tuple(self._is_fast(encoder.tokenizer) for encoder in family.text_encoders)

    def _is_fast(self, tokenizer: str) -> bool:
        name = self._json(INDEX, optional=True).get(tokenizer)
        named = isinstance(name, list) and bool(name) and str(name[-1]).endswith("Fast")
        return named or self._json(f"{tokenizer}/{added_tokens.CONFIG}", optional=True).get("backend") == "tokenizers"

    def _config(self, path: str, encoder: TextEncoderSpec | None = None) -> dict[str, Any]:
        """Read the known fields of a configuration; it may be missing if there is a tintype.json."""
        content = self._json(path, optional=bool(self.own) or bool(encoder and encoder.optional))
        values, faults = read_fields({k: v for k, v in content.items() if v is not None}, CONFIG_FIELDS, path)
        self.faults += faults
        return values

    def _diffusion(self, family: Family) -> Diffusion | None:
        earlier, config = len(self.faults), self._json(SCHEDULER)
        if len(self.faults) > earlier:
            return None
        if "prediction" in self.own:
            config["prediction_type"] = self.own["prediction"]
        try:
            diffusion = Diffusion.from_config(config)
            shift, distilled = replace(diffusion.shift, by_steps=family.shift_by_steps), self._distilled(family)
            if distilled and distilled.shift is not None:
                shift = replace(shift, mu=(distilled.shift, distilled.shift))
            return replace(diffusion, shift=shift)
        except (InvalidChoice, TypeError, ValueError) as error:
            self.faults.append(f"{SCHEDULER}: {error}")
            return None

    def _defaults(self, family: Family, diffusion: Diffusion, configs: ConfigFiles) -> Defaults | None:
        own, usual, size = self.own.get("defaults", {}), configs.distilled or family, configs.native_sizes(family)[0]
        try:
            sampler, schedule = resolve(diffusion, own.get("sampler"), own.get("schedule"))
            steps = own.get("steps", min(usual.steps, max_steps(diffusion, sampler)))
            # Defaults that have no table would fail in a request.
            make_table(diffusion, steps, sampler=sampler, schedule=schedule, image_tokens=1)
        except InvalidChoice as error:
            self.faults.append(f"{TINTYPE_JSON if own else SCHEDULER}: defaults: {error}")
            return None
        return Defaults(
            steps=steps,
            guidance_scale=own.get("guidance_scale", usual.guidance_scale),
            guidance_rescale=own.get("guidance_rescale", 0.0),
            strength=own.get("strength", family.strength),
            sampler=sampler,
            schedule=schedule,
            width=size[0],
            height=size[1],
        )

    def _spec(
        self,
        family: Family,
        diffusion: Diffusion,
        defaults: Defaults,
        configs: ConfigFiles,
        graphs: Mapping[str, GraphSource],
    ) -> ModelSpec:
        files = {file for graph in graphs.values() for file in graph.files}
        newest = max(file.stat().st_mtime for file in graphs[family.denoiser.folder].files)
        inpaints = self._inpaints(family, configs)
        precision = self.own.get("precision") or precision_of(graphs[family.denoiser.folder])
        optional, safety = ("license", "description"), None if self.is_second else self.options.safety
        return ModelSpec(
            name=self.name,
            family=family.name,
            diffusion=diffusion,
            defaults=defaults,
            batched_timestep=self.own.get("batched_timestep", False),
            inpaints=inpaints,
            precision=precision,
            weights_bytes=sum(file.stat().st_size for file in files),
            created=datetime.fromtimestamp(newest, UTC),
            capabilities=self._capabilities(family, inpaints=inpaints),
            clip_layer=self.own.get("clip_layer", family.clip_layer),
            references=family.references if self._has_image_encoder(family) else None,
            latent_to_rgb=self.own.get("preview"),
            safety=self._or_broken(lambda: find_safety_checker(self.layout.folder, self.own, safety)),
            **list_additions(self.name, self.layout.folder, self._denoiser_config(family)),
            **configs.spec_fields(family),
            **model_presets(self.own, defaults),
            **{key: self.own[key] for key in optional if key in self.own},
        )

    def _second_stage(self, spec: ModelSpec) -> tuple[Manifest | None, float]:
        """Return the model of the last noise levels, and the timestep below which it is called.

        Raises:
            ModelBroken: it cannot be served, or has other latents than this model.
        """
        refiner = self.own.get("refiner")
        if refiner is None:
            return None, 0.0
        if self.is_second:
            raise ModelBroken(self.name, [f"{TINTYPE_JSON}: refiner: a second stage cannot have one itself"])
        try:
            second = read_manifest(self.layout.folder / refiner.folder, self.options, is_second=True)
        except ModelBroken as error:
            raise ModelBroken(self.name, [f"{TINTYPE_JSON}: refiner: {fault}" for fault in error.faults]) from error
        own, its = ((one.latent_channels, one.downscale, one.inpaints) for one in (spec, second.spec))
        if own != its:
            problem = f"must have latents of {own[0]} channels and {own[1]} pixels, not {its[0]} and {its[1]}"
            raise ModelBroken(self.name, [f"{TINTYPE_JSON}: refiner {refiner.folder} {problem}"])
        return second, round(spec.diffusion.train_steps * refiner.share)

    def _inpaints(self, family: Family, configs: ConfigFiles) -> bool:
        try:
            inpaints = configs.inpaints(family)
        except ModelFileError as error:
            raise ModelBroken(self.name, [f"{family.denoiser.folder}/config.json: in_channels {error}"]) from error
        if inpaints and not self._has_image_encoder(family):
            problem = f"the {family.vae.encoder} is missing; an inpainting model requires it"
            raise ModelBroken(self.name, [problem])
        return inpaints

    def _has_image_encoder(self, family: Family) -> bool:
        return self.layout.has(family, family.vae.encoder)

    def _capabilities(self, family: Family, *, inpaints: bool) -> frozenset[str]:
        """Return the capabilities of the family; without an image encoder, only text to image."""
        if inpaints:
            return frozenset({INPAINTING})
        if not self._has_image_encoder(family):
            return family.capabilities & {TEXT_TO_IMAGE}
        only_edits = family.references and family.references.required
        return family.capabilities - {TEXT_TO_IMAGE} if only_edits else family.capabilities

    def _json(self, path: str, *, optional: bool = False) -> dict[str, Any]:
        try:
            return self.layout.json(path, optional=optional)
        except ModelFileError as error:
            self.faults.append(str(error))
            return {}
