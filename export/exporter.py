"""Run one export: read, write and verify each part, write the manifest, then move the folder into place.

All files are written to `OUT.partial`, which is renamed to OUT at the end. So OUT is always complete, and an earlier
OUT is kept until then. An interrupted export continues where it stopped.
"""

from __future__ import annotations

import json
import shutil
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from tintype.service.numerics import Diffusion, InvalidChoice

from . import manifest, model_folder, preview, verify
from .adapters.fuse import AdapterFusion, FusedAdapter
from .components import registry
from .console import ProgressLog, format_bytes, quiet
from .errors import ExportRefusal, VerificationError
from .graph import weights
from .graph.component_graph import ComponentGraph
from .graph.precision import PRECISIONS
from .graph.tracing import float16_weights
from .pipeline import PipelineReader, count_weights, round_to_half
from .resume import PartialExport, export_key

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from .components.component import Component
    from .preview import Array, PreviewFit
    from .source import Source

# Side of the images on which the preview is fitted, in pixels, and the least in cells.
PREVIEW_PIXELS, PREVIEW_CELLS = 256, 16
DECODER = "vae_decoder"


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportOptions:
    """Settings of an export.

    `name` is the model's name in the service, `precision` a row of `PRECISIONS`, `target` cpu or gpu. `verify` compares
    each component with its source, and `image` one whole image. With `adapters` the graphs take adapters (LoRA), see
    `graph.adapter_inputs`. The adapters in `fuse` become part of the weights.
    """

    name: str
    precision: str = "fp32"
    target: str = "cpu"
    verify: bool = True
    image: bool = True
    adapters: bool = False
    fuse: tuple[FusedAdapter, ...] = ()

    def key(self) -> dict[str, Any]:
        """Return all settings except `image`; an interrupted export continues only with equal ones."""
        fused = [chosen.key() for chosen in self.fuse]
        return asdict(replace(self, image=True, fuse=())) | {"fuse": fused}


@dataclass(frozen=True, slots=True)
class ExportResult:
    """The result of an export: the manifest, its size on disk in bytes, and the passed checks."""

    manifest: dict[str, Any]
    size: int
    checks: tuple[verify.Check, ...]


def run(source: Source, out: Path, options: ExportOptions, progress: ProgressLog) -> ExportResult:
    """Export `source` to the folder `out`, replacing what is there.

    Raises:
        ExportRefusal: the source cannot be exported, or the disk lacks space. `out` is unchanged; only verified
            components are left in `out`.partial.
        VerificationError: a check failed. `out` is unchanged; the files are left in `out`.partial.
    """
    partial = out.with_name(out.name + ".partial")
    with progress.stage("looking for finished components") as notes:
        unfinished = PartialExport.open(partial, export_key(source, options.key()))
        notes.extend(f"kept {component}" for component in unfinished.done)
    try:
        return _ExportRun(source, unfinished, options, progress).run(out)
    except ExportRefusal:
        if not unfinished.done:
            shutil.rmtree(partial, ignore_errors=True)
        raise


class _ExportRun:
    """One running export: the pipeline, at first without weights, and the folder of its graphs."""

    def __init__(self, source: Source, partial: PartialExport, options: ExportOptions, progress: ProgressLog) -> None:
        self.source, self.partial, self.options, self.progress = source, partial, options, progress
        self.folder = partial.folder
        self.precision = PRECISIONS[options.precision]
        with progress.stage(f"reading {source.location}") as notes:
            self.reader = PipelineReader(source)
            self.pipeline = self.reader.read_outline()
            notes.append(self._check_source())
            parts = {part: getattr(self.pipeline, part) for part in self.reader.parts if part != "vae"}
            self.fusion = AdapterFusion(options.fuse, parts)

    def run(self, out: Path) -> ExportResult:
        """Write the missing components, and move the folder into place."""
        model_folder.write_companions(self.pipeline, self.reader.folder, self.folder)
        _read_diffusion(self.folder)
        checks = [self._check_tokenizers(), *(check for part in self.reader.parts for check in self._export_part(part))]
        description = self._write_manifest()
        checks.append(self._check_image())
        self.partial.close()
        shutil.rmtree(out, ignore_errors=True)
        self.folder.rename(out)
        return ExportResult(description, _size_on_disk(out), tuple(check for check in checks if check))

    def _check_source(self) -> str:
        """Check parts, configuration and disk space before any weights are read; return the number of weights."""
        for part in self.reader.parts:
            self._components(part)
        manifest.describe(self.pipeline, self.source.family, self.source.name)
        counts = {part: count_weights(getattr(self.pipeline, part)) for part in self.reader.parts}
        remaining = sum(
            count for part, count in counts.items() if not self.partial.done.keys() >= {*self._folders(part)}
        )
        _check_space(self.folder, remaining * self.precision.bytes_per_weight)
        return ", ".join(f"{part} {count / 1e6:.1f} M" for part, count in counts.items()) + " weights"

    def _components(self, part: str) -> tuple[Component, ...]:
        return registry.components(self.pipeline, self.source.family, part)

    def _folders(self, part: str) -> list[str]:
        return [component.folder for component in self._components(part)]

    def _export_part(self, part: str) -> list[verify.Check | None]:
        """Write the missing components of a part; its weights are in memory only during the call."""
        folders = self._folders(part)
        if all(self.partial.has_unchanged(folder) for folder in folders):
            return [self.partial.check(folder) for folder in folders]
        with self._with_weights(part):
            return [self._export_component(component) for component in self._components(part)]

    @contextmanager
    def _with_weights(self, part: str) -> Iterator[None]:
        """Read a part of the pipeline with its weights, and release them at the end."""
        outline = getattr(self.pipeline, part)
        with self.progress.stage(f"reading {part}") as notes:
            module = self.reader.read_part(part)
            notes.extend(self.fusion.fuse(part, module))
            notes.extend(self._round_weights(module))
        setattr(self.pipeline, part, module)
        try:
            yield
        finally:
            setattr(self.pipeline, part, outline)

    def _round_weights(self, *modules: torch.nn.Module) -> list[str]:
        """Round the weights if the precision requires it; return a line for the progress log."""
        if not self.precision.rounds_weights(self.options.target):
            return []
        return [f"rounded to float16; largest change of a weight: {max(map(round_to_half, modules)):.1g}"]

    def _export_component(self, component: Component) -> verify.Check | None:
        if self.partial.has_unchanged(component.folder):
            return self.partial.check(component.folder)
        path = self.folder / component.folder / model_folder.GRAPH
        path.parent.mkdir()
        with self.progress.stage(f"exporting {component.folder}") as notes:
            model_folder.save_config(component.module, path.parent)
            notes.append(format_bytes(self._write_graph(component, path)))
            check = self._check_component(component, path)
            notes.extend([str(check)] if check else [])
        self.partial.add(component.folder, check)
        return check

    def _write_graph(self, component: Component, path: Path) -> int:
        half = self.precision.computes_float16(self.options.target, component)
        with float16_weights(component.module) if half else nullcontext():
            graph = ComponentGraph.trace(component, half=half)
            model = graph.with_inputs(adapters=self.options.adapters)
            store = self.precision.store_for(half=half)
            return weights.write(model, component.module.state_dict(), path, store=store)

    def _check_tokenizers(self) -> verify.Check | None:
        with quiet():
            check = verify.check_tokenizers(self.pipeline, self.folder)
        return _require_passed(check, self.folder) if self.options.verify else None

    def _check_component(self, component: Component, path: Path) -> verify.Check | None:
        if not self.options.verify:
            return None
        limit = self.precision.component_limit(self.options.target)
        return _require_passed(verify.check_component(component, path, limit), self.folder)

    def _write_manifest(self) -> dict[str, Any]:
        with self.progress.stage("fitting previews") as notes:
            fitted = self._fit_preview()
            notes.append(f"error {fitted.error:.3f}, spread of the colours {fitted.spread:.3f} (RMS, 0 to 1)")
        with self.progress.stage(f"writing {manifest.MANIFEST}"):
            description = manifest.describe(
                self.pipeline,
                self.source.family,
                self.source.name,
                name=self.options.name,
                precision=self.options.precision,
                target=self.options.target,
                license=self.source.license,
                preview=fitted.as_json(),
            )
            manifest.write(self.folder, description)
        return description

    def _fit_preview(self) -> PreviewFit:
        """Fit the linear preview of latents to the images that the autoencoder decodes."""
        with self._with_weights("vae"):
            decoder = next(each for each in self._components("vae") if each.folder == DECODER)
            if self.source.family.served.vae.normalized:
                return _fit_preview(decoder)
            return _fit_preview(
                decoder, *_latent_factors(decoder.module.config, _read_diffusion(self.folder).data_deviation)
            )

    def _check_image(self) -> verify.Check | None:
        if not self.options.image or not verify.can_compare_images(self.source.pipeline):
            return None
        with self.progress.stage("comparing an image with diffusers") as notes:
            limit = self.precision.image_limit(self.options.target)
            kind, prompt = type(self.pipeline), verify.prompt_with_added_tokens(self.pipeline)
            check = verify.check_image(self._whole_pipeline, kind, self.source.family, self.folder, limit, prompt)
            notes.append(str(check))
        return _require_passed(check, self.folder)

    def _whole_pipeline(self) -> Any:
        pipeline = self.reader.read_whole()
        for part in self.reader.parts:
            list(self.fusion.fuse(part, getattr(pipeline, part)))
        self._round_weights(*(getattr(pipeline, part) for part in self.reader.parts))
        return pipeline


def _read_diffusion(folder: Path) -> Diffusion:
    """Read the written scheduler configuration. Raises ExportRefusal if no sampler of the service supports it."""
    path = folder / "scheduler" / "scheduler_config.json"
    try:
        return Diffusion.from_config(json.loads(path.read_text("utf-8")))
    except InvalidChoice as error:
        raise ExportRefusal(f"{path.parent.name}/{path.name}: {error}") from None


def _check_space(folder: Path, needed: int) -> None:
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise ExportRefusal(
            f"not enough disk space at {folder.parent}: {format_bytes(needed)} needed, {format_bytes(free)} free"
        )


def _require_passed(check: verify.Check, folder: Path) -> verify.Check:
    if not check.passed:
        raise VerificationError(f"{check}: differs from its source; the files are in {folder}")
    return check


def _latent_factors(vae: Any, deviation: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Return scale and shift that lead to the latents of an autoencoder; samplers divide latents by `deviation`."""
    scale = torch.tensor(vae.get("latents_std") or 1.0).reshape(-1, 1, 1) * deviation / vae.scaling_factor
    return scale, torch.tensor(vae.get("latents_mean") or vae.get("shift_factor") or 0.0).reshape(-1, 1, 1)


def _fit_preview(decoder: Component, scale: Any = 1, shift: Any = 0) -> PreviewFit:
    """Fit the preview of latents to the images that `decoder` makes of latents * scale + shift."""
    ((name, latents),) = decoder.inputs.items()

    def decode(latents: Array) -> Array:
        (pixels,) = decoder({name: torch.from_numpy(latents) * scale + shift}).values()
        return np.clip(pixels.numpy() / 2 + 0.5, 0, 1)

    size = max(PREVIEW_PIXELS // decoder.downscale, PREVIEW_CELLS)
    return preview.fit(decode, int(latents.axes[1]), size=size)


def _size_on_disk(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
