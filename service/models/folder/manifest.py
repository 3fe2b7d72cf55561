"""A model's folder on disk, read into values without loading it; or every single thing that is wrong with it.

A folder is in the layout of diffusers and optimum: `model_index.json`, one folder for each component with `model.onnx`
and `config.json`, `tokenizer/`, `scheduler/`. What `tintype.json` says comes first, then what the components'
configurations say, then what holds for the family; so a folder without `tintype.json` works as well.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from ...errors import ModelBroken
from ...numerics import Diffusion, InvalidChoice, make_table, max_steps, resolve
from ..files import ModelFileError, read_json, weight
from ..pipeline import lora
from ..spec import INPAINTING, TEXT_TO_IMAGE, Defaults, ModelSpec, Size
from ..text import embeddings
from .checks import GRAPH, graphs, missing, sha256
from .configs import CONFIGS, Configs, Traits
from .families import FAMILIES, by_pipeline, known_pipelines
from .presets import presets
from .tintype_json import MANIFEST, read_settings, read_table

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from ..family import Family, TextPart

INDEX = "model_index.json"
SCHEDULER = "scheduler/scheduler_config.json"
# Precisions, and who computes with them.
WIDENED = {("fp16-weights", None), ("fp16", "cpu"), ("int8", "cpu")}


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """What a folder says of its model, and what loading it needs beyond the spec.

    `second` is the model that takes over, a refiner, for timesteps below `second_below`.
    `widened` weights take twice the bytes in memory: float16 becomes the float32 that is computed, and int8 is packed
    anew for matrix products.
    `files` maps paths in the folder to their SHA-256, as far as the manifest names them.
    """

    folder: Path
    spec: ModelSpec
    family: Family
    traits: Traits
    files: Mapping[str, str]
    widened: bool = False
    second: Manifest | None = None
    second_below: float = 0.0

    def has(self, component: str) -> bool:
        """Whether the folder holds a component's graph."""
        return self.graph(component).is_file()

    @property
    def components(self) -> tuple[str, ...]:
        """The folders of all graphs that are loaded at once: those needed, and optional encoders that are there."""
        optional = (part.encoder for part in self.family.text if part.optional and self.has(part.encoder))
        return (*optional, *self.family.graphs)

    def graph(self, component: str) -> Path:
        """Return the path of a component's graph."""
        return self.folder / component / GRAPH

    def weight(self, component: str) -> int:
        """Return the bytes of a component's graph, with weights that are stored beside it."""
        return weight(self.folder / component)

    def relisted(self) -> Manifest:
        """Return the same spec with the folder's present adapters and embeddings."""
        return replace(self, spec=replace(self.spec, **listed(self.folder)))


def listed(folder: Path) -> dict[str, Any]:
    """Return a ModelSpec's fields that list files added after the export."""
    return {
        "loras": lora.names(folder),
        "embeddings": embeddings.names(folder),
        "pickled": embeddings.pickled(folder),
    }


def read(folder: Path, *, second: bool = False) -> Manifest:
    """Read a model's folder; as a `second` stage it has none itself.

    Raises:
        ModelBroken: it can't be served; `faults` names each thing that is wrong.
    """
    return _Reader(folder, second=second).manifest()


def verify(folder: Path) -> list[str]:
    """Compare all files with the sums in the manifest, which takes as long as reading them; [] if all is well."""
    try:
        files = read(folder).files
    except ModelBroken as error:
        return list(error.faults)
    if not files:
        return [f"{MANIFEST} names no sums to compare with"]
    return [
        f"{path} is not the file that was exported" for path, sum_ in files.items() if sha256(folder / path) != sum_
    ]


class _Reader:
    """One reading of one folder: collects faults as it goes, and raises them together."""

    def __init__(self, folder: Path, *, second: bool) -> None:
        self.folder, self.second = folder, second
        if not folder.is_dir():
            problem = f"{folder} is not a folder" if folder.exists() else f"there is no folder {folder}"
            raise ModelBroken(folder.name, [problem])
        if not any((folder / name).exists() for name in (INDEX, MANIFEST)):
            problem = f"{folder} holds neither {INDEX} nor {MANIFEST}: it is not an exported model"
            raise ModelBroken(folder.name, [problem])
        self.own, self.faults = read_settings(folder)
        self.name: str = self.own.get("name", folder.name)

    def manifest(self) -> Manifest:
        family = self._family()
        if not any((self.folder / part / GRAPH).exists() for part in family.graphs):
            raise ModelBroken(self.name, [f"no component has a {GRAPH}: export it first, by `tintype export`"])
        self.faults += missing(self.folder, family, self.own.get("files", {}), self._json(INDEX, optional=True))
        configs, diffusion = self._configs(family), self._diffusion()
        self.faults += configs.length_faults(family)
        defaults = self._defaults(family, diffusion, configs.native_sizes(family)[0]) if diffusion else None
        if self.faults or not diffusion or not defaults:
            raise ModelBroken(self.name, list(dict.fromkeys(self.faults)))
        spec = self._spec(family, diffusion, defaults, configs)
        second, below = self._second(spec)
        more = second.spec.weights_bytes if second else 0
        return Manifest(
            folder=self.folder,
            spec=replace(spec, weights_bytes=spec.weights_bytes + more),
            second=second,
            second_below=below,
            family=family,
            traits=replace(configs.traits(family), fast=self._fast(family)),
            files=self.own.get("files", {}),
            widened=(self.own.get("precision"), self.own.get("target")) in WIDENED,
        )

    def _family(self) -> Family:
        """Find the family in the manifest or the index; without one nothing else can be judged."""
        if name := self.own.get("family"):
            family, fault = FAMILIES.get(name), f"{MANIFEST}: family must be one of {', '.join(FAMILIES)}, not {name!r}"
        else:
            index = self._json(INDEX)
            class_name = index.get("_class_name")
            family = by_pipeline(str(class_name), [part for part, kind in index.items() if kind == [None, None]])
            known = ", ".join(known_pipelines())
            fault = f"{INDEX}: pipeline {class_name!r} is not served here; served are {known}"
        if family is None:
            raise ModelBroken(self.name, self.faults or [fault])
        return family

    def _configs(self, family: Family) -> Configs:
        return Configs(
            self.own,
            self._config(INDEX),
            self._config(f"{family.denoiser.folder}/config.json"),
            self._config(f"{family.vae.decoder}/config.json"),
            [self._config(f"{part.encoder}/config.json", part) for part in family.text],
            [self._config(f"{part.tokenizer}/tokenizer_config.json", part) for part in family.text],
        )

    def _fast(self, family: Family) -> tuple[bool, ...]:
        """Return for each text encoder whether its tokenizer class is fast.

        The index names the classes.
        """
        index = self._json(INDEX, optional=True)
        named = (index.get(part.tokenizer) for part in family.text)
        return tuple(isinstance(name, list) and bool(name) and str(name[-1]).endswith("Fast") for name in named)

    def _config(self, path: str, part: TextPart | None = None) -> dict[str, Any]:
        """Read what counts of a configuration; a manifest may stand in for a missing one."""
        content = self._json(path, optional=bool(self.own) or bool(part and part.optional))
        values, faults = read_table({k: v for k, v in content.items() if v is not None}, CONFIGS, path)
        self.faults += faults
        return values

    def _diffusion(self) -> Diffusion | None:
        known, config = len(self.faults), self._json(SCHEDULER)
        if len(self.faults) > known:
            return None
        if "prediction" in self.own:
            config["prediction_type"] = self.own["prediction"]
        try:
            return Diffusion.from_config(config)
        except (InvalidChoice, TypeError, ValueError) as error:
            self.faults.append(f"{SCHEDULER}: {error}")
            return None

    def _defaults(self, family: Family, diffusion: Diffusion, size: Size) -> Defaults | None:
        own = self.own.get("defaults", {})
        try:
            sampler, schedule = resolve(diffusion, own.get("sampler"), own.get("schedule"))
            steps = own.get("steps", min(family.steps, max_steps(diffusion, sampler)))
            make_table(diffusion, steps, sampler=sampler, schedule=schedule, image_tokens=1)  # or a request would fail
        except InvalidChoice as error:
            self.faults.append(f"{MANIFEST if own else SCHEDULER}: defaults: {error}")
            return None
        return Defaults(
            steps=steps,
            guidance_scale=own.get("guidance_scale", family.guidance_scale),
            guidance_rescale=own.get("guidance_rescale", 0.0),
            sampler=sampler,
            schedule=schedule,
            width=size[0],
            height=size[1],
        )

    def _spec(self, family: Family, diffusion: Diffusion, defaults: Defaults, configs: Configs) -> ModelSpec:
        graph = self.folder / family.denoiser.folder / GRAPH
        inpaints = self._inpaints(family, configs)
        optional = ("precision", "license", "description")
        return ModelSpec(
            name=self.name,
            family=family.name,
            diffusion=diffusion,
            defaults=defaults,
            batched_timestep=self.own.get("batched_timestep", False),
            inpaints=inpaints,
            weights_bytes=sum(weight(self.folder / part) for part in graphs(family)),
            created=datetime.fromtimestamp(graph.stat().st_mtime, UTC),
            capabilities=self._capabilities(family, inpaints=inpaints),
            latent_to_rgb=self.own.get("preview"),
            **listed(self.folder),
            **configs.spec(family),
            **presets(self.own, defaults),
            **{key: self.own[key] for key in optional if key in self.own},
        )

    def _second(self, spec: ModelSpec) -> tuple[Manifest | None, float]:
        """Read the model that takes over for the last share of the levels; its latents must be this one's."""
        asked = self.own.get("refiner")
        if asked is None:
            return None, 0.0
        if self.second:
            raise ModelBroken(self.name, [f"{MANIFEST}: refiner: a second stage can't have one itself"])
        try:
            second = read(self.folder / asked.folder, second=True)
        except ModelBroken as error:
            raise ModelBroken(self.name, [f"{MANIFEST}: refiner: {fault}" for fault in error.faults]) from error
        mine, its = ((one.latent_channels, one.downscale, one.inpaints) for one in (spec, second.spec))
        if mine != its:
            problem = f"has latents of {its[0]} channels and {its[1]} pixels, not {mine[0]} and {mine[1]}"
            raise ModelBroken(self.name, [f"{MANIFEST}: refiner {asked.folder} {problem}"])
        return second, round(spec.diffusion.train_steps * asked.share)

    def _inpaints(self, family: Family, configs: Configs) -> bool:
        try:
            inpaints = configs.inpaints(family)
        except ModelFileError as error:
            raise ModelBroken(self.name, [f"{family.denoiser.folder}/config.json: in_channels {error}"]) from error
        if inpaints and not self._encodes(family):
            problem = f"{family.vae.encoder}/{GRAPH} is missing, without which nothing is repainted"
            raise ModelBroken(self.name, [problem])
        return inpaints

    def _encodes(self, family: Family) -> bool:
        return (self.folder / family.vae.encoder / GRAPH).is_file()

    def _capabilities(self, family: Family, *, inpaints: bool) -> frozenset[str]:
        """Return what the family can do, as far as the folder is complete: an image encoder may be left out."""
        if inpaints:
            return frozenset({INPAINTING})
        return family.capabilities if self._encodes(family) else family.capabilities & {TEXT_TO_IMAGE}

    def _json(self, path: str, *, optional: bool = False) -> dict[str, Any]:
        try:
            return read_json(self.folder / path, optional=optional)
        except ModelFileError as error:
            self.faults.append(str(error))
            return {}
